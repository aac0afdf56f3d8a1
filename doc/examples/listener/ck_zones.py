"""A listener: Designate says which DNS zones exist, and what is changed in them."""

from collections.abc import Iterable

from oslo_config import cfg

from cloudkitty import listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, text

# What a notification says of the life of a zone. An update says all that is known of it.
STAGES = {'create': 'begin', 'update': 'change', 'delete': 'end'}


class ZoneListener(listener.BaseListener):
    """Reads `dns.zone.*` and `dns.recordset.*`."""

    GROUP = 'listener_zones'
    OPTS = [
        cfg.ListOpt('free', default=[], help='Projects whose zones cost nothing, by id.'),
    ]
    EXCHANGES = ('designate',)
    # Whole types; all others are not even looked at.
    EVENT_TYPES = (
        r'dns\.zone\.(?:create|update|delete)',
        r'dns\.recordset\.(?:create|update|delete)',
    )

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        # An error if there is no project: the notification is recorded as refused, and why.
        scope_id = listener.owner(payload)
        if scope_id in self.options.free:
            return
        _, subject, action = notification.event_type.split('.')
        if subject == 'recordset':
            # An amount; a notification that comes twice counts once.
            yield listener.amount(
                notification,
                'dns.changes',
                'change',
                1,
                scope_id=scope_id,
                resource_id=text(payload, 'zone_id'),
                attributes={'record': first(payload, 'type')},
            )
            return
        # That something exists; if its begin is lost, a later word tells when it was born.
        yield listener.state(
            notification,
            'dns.zone',
            'zone',
            1,
            life=STAGES[action],
            scope_id=scope_id,
            resource_id=text(payload, 'id'),
            born=instant(payload, 'created_at'),
            attributes={'display_name': first(payload, 'name'), 'type': first(payload, 'type')},
        )
