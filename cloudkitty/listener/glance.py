"""Glance images."""

from collections.abc import Iterable

from cloudkitty import listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, text

_STAGES = {
    'image.upload': 'begin',
    'image.activate': 'change',
    'image.update': 'change',
    'image.delete': 'end',
}
# In these there is data.
STORED = ('active', 'deactivated', 'deleted', 'pending_delete')


class GlanceListener(listener.BaseListener):
    """Sizes of images in bytes, from when they have data; and downloaded bytes."""

    EXCHANGES = ('glance',)
    EVENT_TYPES = (*(name.replace('.', r'\.') for name in _STAGES), r'image\.send')

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        if notification.event_type == 'image.send':
            yield _download(notification)
            return
        size, status = first(payload, 'size'), first(payload, 'status')
        # A new image has no size; one that belongs to no project cannot be charged to one.
        if size is None or status not in STORED or first(payload, 'owner') is None:
            return
        yield listener.state(
            notification,
            'image.size',
            'B',
            size,
            life=_STAGES[notification.event_type],
            scope_id=text(payload, 'owner'),
            resource_id=text(payload, 'id'),
            born=instant(payload, 'created_at'),
            attributes={
                'name': first(payload, 'name'),
                'visibility': first(payload, 'visibility'),
                'disk_format': first(payload, 'disk_format'),
            },
        )


def _download(told: Notification) -> Counter:
    payload = told.payload
    return listener.amount(
        told,
        'image.download',
        'B',
        first(payload, 'bytes_sent'),
        scope_id=text(payload, 'receiver_tenant_id'),
        resource_id=text(payload, 'image_id'),
        user_id=first(payload, 'receiver_user_id'),
        attributes={'owner_id': first(payload, 'owner_id')},
    )
