"""Requests to Swift, from notifications of ceilometermiddleware."""

from collections.abc import Iterable

from cloudkitty import errors, listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, member, text

METERS = {
    'storage.api.request': 'request',
    'storage.objects.incoming.bytes': 'B',
    'storage.objects.outgoing.bytes': 'B',
}
MEASUREMENTS_MAX = 20


class SwiftListener(listener.BaseListener):
    """Number of requests, and incoming and outgoing bytes, by account."""

    EXCHANGES = ('swift',)
    EVENT_TYPES = (r'objectstore\.http\.request',)

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        measurements = first(payload, 'measurements')
        if not isinstance(measurements, list) or len(measurements) > MEASUREMENTS_MAX:
            raise errors.InvalidInput(
                reason=f'measurements must be a list of at most {MEASUREMENTS_MAX}'
            )
        # A caller without a token has no project: the account pays.
        account = text(payload, 'target', 'id')
        for one in measurements:
            meter = member(one, 'metric', 'name')
            if meter in METERS:
                yield listener.amount(
                    notification,
                    meter,
                    METERS[meter],
                    first(one, 'result'),
                    scope_id=member(payload, 'initiator', 'project_id') or account,
                    resource_id=account,
                    user_id=member(payload, 'initiator', 'id'),
                    attributes={
                        'container': member(payload, 'target', 'metadata', 'container'),
                        'action': first(payload, 'action'),
                        'outcome': first(payload, 'outcome'),
                    },
                )
