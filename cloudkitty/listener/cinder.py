"""Cinder volumes, snapshots and backups."""

from collections.abc import Iterable
from typing import Any

from cloudkitty import listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, text

VOLUME, SNAPSHOT, BACKUP = 'volume.size', 'volume.snapshot.size', 'volume.backup.size'
# What each event says of a life. Who gave a volume away is only told before the new owner is; if
# that fails, the next notification takes the presumed end back.
_STAGES = {
    'volume.create.end': (VOLUME, 'begin'),
    'volume.resize.end': (VOLUME, 'change'),
    'volume.retype': (VOLUME, 'change'),
    'volume.attach.end': (VOLUME, 'change'),
    'volume.detach.end': (VOLUME, 'change'),
    'volume.update.end': (VOLUME, 'change'),
    'volume.exists': (VOLUME, 'seen'),
    'volume.delete.end': (VOLUME, 'end'),
    'volume.transfer.accept.start': (VOLUME, 'presumed_end'),
    'volume.transfer.accept.end': (VOLUME, 'begin'),
    'snapshot.create.end': (SNAPSHOT, 'begin'),
    'snapshot.update.end': (SNAPSHOT, 'change'),
    'snapshot.exists': (SNAPSHOT, 'seen'),
    'snapshot.delete.end': (SNAPSHOT, 'end'),
    'backup.create.end': (BACKUP, 'begin'),
    'backup.delete.end': (BACKUP, 'end'),
}
# Members with the id and the size.
_MEMBERS = {
    VOLUME: ('volume_id', 'size'),
    SNAPSHOT: ('snapshot_id', 'volume_size'),
    BACKUP: ('backup_id', 'size'),
}


class CinderListener(listener.BaseListener):
    """Sizes in GiB. Notifications have the type of a volume only as its id."""

    # The second one unless cinder.conf sets control_exchange.
    EXCHANGES = ('cinder', 'openstack')
    EVENT_TYPES = tuple(name.replace('.', r'\.') for name in _STAGES)

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        meter, life = _STAGES[notification.event_type]
        id_name, size_name = _MEMBERS[meter]
        # A backup or a volume that failed has none.
        if first(payload, 'status') == 'error' or first(payload, size_name) is None:
            return
        yield listener.state(
            notification,
            meter,
            'GiB',
            payload[size_name],
            life=life,
            scope_id=listener.owner(payload),
            resource_id=text(payload, id_name),
            born=instant(payload, 'created_at'),
            user_id=first(payload, 'user_id'),
            attributes=_attributes(meter, payload),
        )


def _attributes(meter: str, payload: Any) -> dict[str, Any]:
    attributes = {
        'display_name': first(payload, 'display_name'),
        'availability_zone': first(payload, 'availability_zone'),
    }
    if meter == VOLUME:
        return {**attributes, 'volume_type_id': first(payload, 'volume_type')}
    return {**attributes, 'volume_id': first(payload, 'volume_id')}
