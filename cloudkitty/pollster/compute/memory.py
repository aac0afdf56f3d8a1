"""Memory of instances: size, and memory in use."""

from collections.abc import Iterable

from cloudkitty.clients.libvirt import Domain
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import Clock
from cloudkitty.pollster.compute import LibvirtPollster, sample, state


class MemoryPollster(LibvirtPollster):
    """Memory of the flavor, MiB."""

    METERS = STATES = ('memory',)

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        yield state(domain, 'memory', 'MiB', domain.flavor.memory, now())


class MemoryUsagePollster(LibvirtPollster):
    """Memory in use, MiB, of machines whose system tells libvirt."""

    METERS = ('memory.usage',)

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        if not domain.is_running:
            return
        found = domain.handle.memoryStats()
        free = found.get('usable', found.get('unused'))
        if free is not None and 'available' in found:
            used = (found['available'] - free) // 1024
            yield sample(domain, 'memory.usage', facts.GAUGE, 'MiB', used, now())
