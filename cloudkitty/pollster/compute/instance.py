"""Instances on a node."""

from collections.abc import Iterable

from cloudkitty.clients.libvirt import Domain
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import Clock
from cloudkitty.pollster.compute import LibvirtPollster, state


class InstancePollster(LibvirtPollster):
    """Existence of instances, and the number of CPUs of their flavors."""

    METERS = STATES = ('instance', 'vcpus')

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        at = now()
        yield state(domain, 'instance', 'instance', 1, at)
        yield state(domain, 'vcpus', 'vcpu', domain.flavor.vcpus, at)
