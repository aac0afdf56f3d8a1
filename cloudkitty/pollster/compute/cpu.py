"""CPU time of instances."""

from collections.abc import Iterable

from cloudkitty.clients.libvirt import Domain
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import Clock
from cloudkitty.pollster.compute import LibvirtPollster, sample


class CpuPollster(LibvirtPollster):
    """Nanoseconds of CPU time since the instance was started."""

    METERS = ('cpu',)

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        if domain.is_running:
            time_ns = domain.handle.info()[4]
            yield sample(domain, 'cpu', facts.CUMULATIVE, 'ns', time_ns, now())
