"""Pollsters of a node: Nova instances on it, from libvirt."""

import abc
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import libvirt
from cloudkitty.clients.libvirt import Domain, Hypervisor
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import BasePollster, Clock, Listing


class LibvirtPollster(BasePollster):
    """Base of the pollsters that query libvirt."""

    GROUP = 'pollster_libvirt'
    OPTS = [
        cfg.StrOpt(
            'uri',
            default=libvirt.URI,
            help='How to reach libvirt, such as qemu:///system. Rights to read are enough.',
        ),
    ]
    DISCOVERY = libvirt.NAME

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._hypervisor = _hypervisor(self.options.uri)

    def is_enabled(self) -> bool:
        """Return False if another hypervisor is configured, or libvirt cannot be reached."""
        if self.conf.agent.hypervisor != libvirt.NAME:
            self.reason = f'[agent]hypervisor is {self.conf.agent.hypervisor}'
            return False
        try:
            self._hypervisor.check()
        except errors.SourceUnreachable as exc:
            self.reason = str(exc)
            return False
        return True

    def discover(self) -> Listing:
        """Return the instances; those that are missing may have moved to another node."""
        return Listing(self._hypervisor.domains())

    def poll(self, resources: Sequence[Domain], now: Clock) -> Iterator[Counter]:
        """Yield the counters of measure() for each instance.

        :raises CollectError: some of them could not be measured.
        """
        failed, last = 0, ''
        for domain in resources:
            try:
                yield from list(self.measure(domain, now))
            # One failing instance must not hide the others; libvirt's errors derive from this.
            except Exception as exc:
                if not libvirt.is_gone(exc):
                    failed, last = failed + 1, f'{domain.id}: {exc}'
        if failed:
            raise errors.CollectError(
                collector=libvirt.NAME, reason=f'{failed} machines not measured, such as {last}'
            )

    @abc.abstractmethod
    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        """Return the counters of an instance."""


@functools.cache
def _hypervisor(uri: str) -> Hypervisor:
    """Return the one connection of all pollsters."""
    return Hypervisor(uri)


def sample(domain: Domain, name: str, kind: str, unit: str, volume: int, at: int) -> Counter:
    """Return a counter of an instance."""
    return _counter(domain, name, kind, unit, volume, domain.id, at, domain.attributes)


def device_sample(
    domain: Domain, name: str, kind: str, unit: str, volume: int, *, at: int, device: str, id: str
) -> Counter:
    """Return a counter of a device of an instance.

    :param id: resource of the counter, as Ceilometer names it.
    """
    attributes = {**domain.attributes, 'instance_id': domain.id, 'device': device}
    return _counter(domain, name, kind, unit, volume, id, at, attributes)


def state(domain: Domain, name: str, unit: str, volume: int, at: int) -> Counter:
    """Return a counter for the existence of an instance, with a quantity.

    Services know more of its attributes, so attributes that they reported are kept.
    """
    return sample(domain, name, facts.STATE, unit, volume, at)._replace(
        life='seen', born=domain.created_at
    )


def _counter(
    domain: Domain,
    name: str,
    kind: str,
    unit: str,
    volume: int,
    resource_id: str,
    at: int,
    attributes: Mapping[str, Any],
) -> Counter:
    return Counter(
        name,
        kind,
        unit,
        Decimal(volume),
        domain.project_id,
        domain.user_id,
        resource_id,
        at,
        attributes,
    )
