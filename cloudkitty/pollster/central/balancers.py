"""Octavia load balancers."""

from collections.abc import Iterable

from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster.central import ONE, Item, ListPollster


class LoadBalancerPollster(ListPollster):
    """Existence of load balancers."""

    METERS = STATES = ('loadbalancer',)
    SERVICE = 'load-balancer'
    VERSION = 'v2'

    def items(self) -> Iterable[Item]:
        return self.client.pages('lbaas/loadbalancers', {'limit': '1000'}, 'loadbalancers')

    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        yield self.state(
            item,
            'loadbalancer',
            'loadbalancer',
            ONE,
            at,
            display_name=item.get('name'),
            provider=item.get('provider'),
            flavor_id=item.get('flavor_id'),
            availability_zone=item.get('availability_zone'),
            vip_address=item.get('vip_address'),
        )
