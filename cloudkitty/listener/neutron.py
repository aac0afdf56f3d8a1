"""Neutron floating IPs and routers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cloudkitty import errors, listener
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification, first, instant, text

_STAGES = {'create': 'begin', 'update': 'change', 'delete': 'end'}
# Meter and unit by the kind of resource.
_METERS = {'floatingip': ('ip.floating', 'ip'), 'router': ('router', 'router')}
ITEMS_MAX = 1000


class NeutronListener(listener.BaseListener):
    """Existence of floating IPs and routers, whether or not they are in use."""

    EXCHANGES = ('neutron',)
    EVENT_TYPES = (r'(?:floatingip|router)\.(?:create|update|delete)\.end',)

    def process(self, notification: Notification) -> Iterable[Counter]:
        kind, action, _ = notification.event_type.split('.')
        for item in _items(notification.payload, kind):
            yield _counter(notification, kind, _STAGES[action], item)


def _items(payload: Any, kind: str) -> Iterator[Any]:
    """Yield what a request was about; a bulk request has several."""
    many = first(payload, f'{kind}s')
    if isinstance(many, list):
        if len(many) > ITEMS_MAX:
            raise errors.InvalidInput(reason=f'more than {ITEMS_MAX} {kind}s')
        yield from many
        return
    one = first(payload, kind)
    # Without it the project is not known; a census ends the resource.
    if one is not None:
        yield one


def _counter(told: Notification, kind: str, life: str, item: Mapping[str, Any]) -> Counter:
    meter, unit = _METERS[kind]
    attributes = {'status': first(item, 'status')}
    if kind == 'floatingip':
        attributes |= {
            'floating_ip_address': first(item, 'floating_ip_address'),
            'floating_network_id': first(item, 'floating_network_id'),
        }
    else:
        attributes |= {'name': first(item, 'name')}
    return listener.state(
        told,
        meter,
        unit,
        listener.ONE,
        life=life,
        scope_id=listener.owner(item),
        resource_id=text(item, 'id'),
        born=instant(item, 'created_at'),
        attributes=attributes,
    )
