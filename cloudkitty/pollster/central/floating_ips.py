"""Neutron floating IPs."""

from collections.abc import Iterable

from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster.central import ONE, Item, ListPollster


class FloatingIPPollster(ListPollster):
    """Existence of floating IPs, whether or not they are in use."""

    METERS = STATES = ('ip.floating',)
    SERVICE = 'network'
    VERSION = 'v2.0'

    def items(self) -> Iterable[Item]:
        return self.client.pages('floatingips', {'limit': '1000'}, 'floatingips')

    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        yield self.state(
            item,
            'ip.floating',
            'ip',
            ONE,
            at,
            floating_ip_address=item.get('floating_ip_address'),
            floating_network_id=item.get('floating_network_id'),
            status=item.get('status'),
        )
