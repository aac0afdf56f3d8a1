"""Octavia load balancers."""

from collections.abc import Iterable

from cloudkitty import listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, member, text

_STAGES = {'create': 'begin', 'update': 'change', 'delete': 'end'}


class OctaviaListener(listener.BaseListener):
    """Existence of load balancers."""

    EXCHANGES = ('octavia',)
    EVENT_TYPES = (r'octavia\.loadbalancer\.(?:create|update|delete)\.end',)

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        yield listener.state(
            notification,
            'loadbalancer',
            'loadbalancer',
            listener.ONE,
            life=_STAGES[notification.event_type.split('.')[2]],
            scope_id=listener.owner(payload),
            # The worker sends the first, the documentation has the second.
            resource_id=text({'id': first(payload, 'loadbalancer_id', 'id')}, 'id'),
            born=instant(payload, 'created_at'),
            attributes={
                'display_name': first(payload, 'name'),
                'provider': first(payload, 'provider'),
                'flavor_id': first(payload, 'flavor_id'),
                'availability_zone': first(payload, 'availability_zone'),
                'vip_address': member(payload, 'vip', 'ip_address')
                or first(payload, 'vip_address'),
            },
        )
