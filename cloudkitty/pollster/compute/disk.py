"""Disks of instances: sizes, requests and bytes."""

from collections.abc import Iterable

from cloudkitty.clients.libvirt import Domain
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import Clock
from cloudkitty.pollster.compute import LibvirtPollster, device_sample, state

# In the order of libvirt's blockStats().
_COUNTERS = (
    ('disk.device.read.requests', 'request'),
    ('disk.device.read.bytes', 'B'),
    ('disk.device.write.requests', 'request'),
    ('disk.device.write.bytes', 'B'),
)
_CAPACITY = 'disk.device.capacity'


class RootDiskPollster(LibvirtPollster):
    """Disks of the flavor, GiB."""

    METERS = STATES = ('disk.root.size', 'disk.ephemeral.size')

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        at = now()
        yield state(domain, 'disk.root.size', 'GiB', domain.flavor.disk, at)
        yield state(domain, 'disk.ephemeral.size', 'GiB', domain.flavor.ephemeral, at)


class DiskDevicePollster(LibvirtPollster):
    """Requests and bytes of each disk since the machine was started, and its capacity."""

    METERS = (*(name for name, _ in _COUNTERS), _CAPACITY)

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        if not domain.is_running:
            return
        for disk in domain.disks:
            of_disk = {'device': disk, 'id': f'{domain.id}-{disk}'}
            counts = domain.handle.blockStats(disk)
            at = now()
            for (name, unit), count in zip(_COUNTERS, counts, strict=False):
                # libvirt returns -1 for unknown values.
                if count >= 0:
                    yield device_sample(
                        domain, name, facts.CUMULATIVE, unit, count, at=at, **of_disk
                    )
            capacity = domain.handle.blockInfo(disk)[0]
            yield device_sample(domain, _CAPACITY, facts.GAUGE, 'B', capacity, at=now(), **of_disk)
