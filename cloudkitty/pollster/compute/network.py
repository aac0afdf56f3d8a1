"""Network traffic of instances."""

from collections.abc import Iterable

from cloudkitty.clients.libvirt import Domain
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import Clock
from cloudkitty.pollster.compute import LibvirtPollster, device_sample

# Name, unit, and place in the answer of libvirt's interfaceStats().
_COUNTERS = (
    ('network.incoming.bytes', 'B', 0),
    ('network.incoming.packets', 'packet', 1),
    ('network.outgoing.bytes', 'B', 4),
    ('network.outgoing.packets', 'packet', 5),
)


class NetworkPollster(LibvirtPollster):
    """Bytes and packets of each interface since it was made."""

    METERS = tuple(name for name, _, _ in _COUNTERS)

    def measure(self, domain: Domain, now: Clock) -> Iterable[Counter]:
        if not domain.is_running:
            return
        for interface in domain.interfaces:
            counts = domain.handle.interfaceStats(interface)
            at = now()
            for name, unit, place in _COUNTERS:
                if counts[place] >= 0:
                    yield device_sample(
                        domain,
                        name,
                        facts.CUMULATIVE,
                        unit,
                        counts[place],
                        at=at,
                        device=interface,
                        id=f'{domain.name}-{domain.id}-{interface}',
                    )
