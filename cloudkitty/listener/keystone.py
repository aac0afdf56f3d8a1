"""Keystone projects."""

from collections.abc import Iterable

from cloudkitty import listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, member, text

_STAGES = {'created': 'begin', 'updated': 'change', 'deleted': 'end'}


class KeystoneListener(listener.BaseListener):
    """Existence of projects; both formats of notifications, basic and cadf."""

    EXCHANGES = ('keystone',)
    EVENT_TYPES = (r'identity\.project\.(?:created|updated|deleted)',)

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        project_id = text({'id': first(payload, 'resource_info')}, 'id')
        yield listener.state(
            notification,
            'project',
            'project',
            listener.ONE,
            life=_STAGES[notification.event_type.rpartition('.')[2]],
            scope_id=project_id,
            resource_id=project_id,
            user_id=member(payload, 'initiator', 'id'),
            attributes={},
        )
