"""Nova instances, from unversioned or versioned notifications, or both."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cloudkitty import listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, member, text

# Those with a flavor that holds from then on. `resize.end` comes before and still has the old one.
BEGINS = ('create.end',)
CHANGES = (
    'finish_resize.end',
    'resize_finish.end',
    'resize.revert.end',
    'resize_revert.end',
    'rebuild.end',
    'power_off.end',
    'power_on.end',
    'suspend.end',
    'resume.end',
    'pause.end',
    'unpause.end',
    'shelve.end',
    'shelve_offload.end',
    'unshelve.end',
    'soft_delete.end',
    'restore.end',
    'live_migration.post.dest.end',
    'live_migration_post_dest.end',
)
# It is sent of machines that are there, and of those that are being resized or deleted.
SIGHTS = ('exists',)
ENDS = ('delete.end',)
_PREFIX = r'(?:compute\.)?instance\.'
_STAGES = {
    **dict.fromkeys(BEGINS, 'begin'),
    **dict.fromkeys(CHANGES, 'change'),
    **dict.fromkeys(SIGHTS, 'seen'),
    **dict.fromkeys(ENDS, 'end'),
}


def sizes(
    told: Notification, life: str, flavor: Mapping[str, Any], **common: Any
) -> Iterator[Counter]:
    """Yield the counters of an instance.

    :param flavor: vcpus, memory_mb, root_gb, ephemeral_gb; those that are missing are left out.
    :param common: see listener.state().
    """
    yield listener.state(told, 'instance', 'instance', listener.ONE, life=life, **common)
    for meter, unit, name in (
        ('vcpus', 'vcpu', 'vcpus'),
        ('memory', 'MiB', 'memory_mb'),
        ('disk.root.size', 'GiB', 'root_gb'),
        ('disk.ephemeral.size', 'GiB', 'ephemeral_gb'),
    ):
        if flavor.get(name) is not None:
            yield listener.state(told, meter, unit, flavor[name], life=life, **common)


class NovaListener(listener.BaseListener):
    """Existence of instances, with the sizes of their flavors."""

    EXCHANGES = ('nova',)
    EVENT_TYPES = tuple(_PREFIX + name.replace('.', r'\.') for name in _STAGES)

    def process(self, notification: Notification) -> Iterable[Counter]:
        payload = notification.payload
        life = _STAGES[notification.event_type.partition('instance.')[2]]
        flavor = member(payload, 'flavor')
        if not isinstance(flavor, dict):
            flavor = payload
        return sizes(
            notification,
            life,
            flavor,
            scope_id=listener.owner(payload),
            resource_id=text({'id': first(payload, 'uuid', 'instance_id')}, 'id'),
            born=instant(payload, 'created_at'),
            user_id=first(payload, 'user_id'),
            attributes={
                'display_name': first(payload, 'display_name'),
                'flavor_name': first(flavor, 'name', 'instance_type'),
                'flavor_id': first(flavor, 'flavorid', 'instance_flavor_id'),
                'image_ref': _image_of(payload),
                'availability_zone': first(payload, 'availability_zone'),
                'state': first(payload, 'state'),
            },
        )


def _image_of(payload: Any) -> Any:
    return first(payload, 'image_uuid') or member(payload, 'image_meta', 'base_image_ref')
