"""Ceilometer events, which it makes from the notifications of services.

Only its events, not its samples, tell when a resource was deleted.
"""

from collections.abc import Iterable
from typing import Any

from cloudkitty import listener
from cloudkitty.core.metering import events
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, text
from cloudkitty.listener import nova

# Meter, unit, the trait with the size (None: 1), and the stage of a life.
_SIZED = {
    'volume.create.end': ('volume.size', 'GiB', 'size', 'begin'),
    'volume.resize.end': ('volume.size', 'GiB', 'size', 'change'),
    'volume.retype': ('volume.size', 'GiB', 'size', 'change'),
    'volume.delete.end': ('volume.size', 'GiB', 'size', 'end'),
    'image.upload': ('image.size', 'B', 'size', 'begin'),
    'image.delete': ('image.size', 'B', 'size', 'end'),
    'octavia.loadbalancer.create.end': ('loadbalancer', 'loadbalancer', None, 'begin'),
    'octavia.loadbalancer.delete.end': ('loadbalancer', 'loadbalancer', None, 'end'),
}
_MACHINES = {
    'compute.instance.create.end': 'begin',
    'compute.instance.finish_resize.end': 'change',
    'compute.instance.resize.revert.end': 'change',
    'compute.instance.power_off.end': 'change',
    'compute.instance.power_on.end': 'change',
    'compute.instance.delete.end': 'end',
}


class CeilometerListener(listener.BaseListener):
    """Existence of volumes, images, instances and load balancers."""

    EVENT_TYPES = tuple(events.PREFIX + name.replace('.', r'\.') for name in (*_SIZED, *_MACHINES))

    def process(self, notification: Notification) -> Iterable[Counter]:
        traits = notification.payload
        name = notification.event_type.removeprefix(events.PREFIX)
        # Ceilometer's definitions leave out the project of some events.
        if first(traits, 'project_id', 'tenant_id') is None:
            return
        common: dict[str, Any] = {
            'scope_id': listener.owner(traits),
            'resource_id': text(traits, 'resource_id'),
            'born': instant(traits, 'created_at'),
            'user_id': first(traits, 'user_id'),
        }
        if name in _MACHINES:
            yield from nova.sizes(
                notification, _MACHINES[name], traits, attributes=_of_machine(traits), **common
            )
            return
        meter, unit, size, life = _SIZED[name]
        quantity = listener.ONE if size is None else first(traits, size)
        if quantity is not None:
            yield listener.state(
                notification, meter, unit, quantity, life=life, attributes=_of(traits), **common
            )


def _of(traits: Any) -> dict[str, Any]:
    return {
        'display_name': first(traits, 'display_name'),
        'name': first(traits, 'name'),
        'availability_zone': first(traits, 'availability_zone'),
        'volume_type_id': first(traits, 'type'),
    }


def _of_machine(traits: Any) -> dict[str, Any]:
    return {
        'display_name': first(traits, 'display_name'),
        'flavor_name': first(traits, 'instance_type'),
        'flavor_id': first(traits, 'instance_flavor_id'),
        'availability_zone': first(traits, 'availability_zone'),
        'state': first(traits, 'state'),
    }
