"""Notifications of services, in oslo.messaging's old format and in Nova's versioned one. Pure.

Source: https://docs.openstack.org/nova/latest/reference/notifications.html
"""

from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import bounds, timeframe
from cloudkitty.core.metering import facts

DEPTH_MAX = 32
_DATA = 'nova_object.data'


class Notification(NamedTuple):
    """Something that a service has told.

    :ivar at: when it was sent, microseconds since the epoch.
    :ivar payload: parsed JSON; Nova's objects are plain mappings in it.
    """

    event_type: str
    publisher_id: str
    message_id: str
    at: int
    payload: Any


def read(
    event_type: str, publisher_id: str, message_id: str, timestamp: str, payload: Any
) -> Notification:
    """Return a notification.

    :param timestamp: ISO 8601; no offset means UTC.
    :raises InvalidInput: the time is none, or the payload has too many levels.
    """
    if bounds.is_deeper(payload, DEPTH_MAX):
        raise errors.InvalidInput(reason=f'the payload has more than {DEPTH_MAX} levels')
    at = facts.to_us(timeframe.parse_exact(timestamp))
    return Notification(event_type, publisher_id, message_id, at, _flat(payload))


def _flat(value: Any) -> Any:
    """Return *value* with the data of Nova's objects in the place of the objects."""
    if isinstance(value, dict):
        if isinstance(value.get(_DATA), dict):
            value = value[_DATA]
        return {name: _flat(below) for name, below in value.items()}
    return [_flat(below) for below in value] if isinstance(value, list) else value


def member(value: Any, *path: str) -> Any:
    """Return what lies under *path* in nested mappings; None: nothing, or an empty text."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return None if value == '' else value


def text(value: Any, *path: str) -> str:
    """Return the text under *path*.

    :raises InvalidInput: there is none.
    """
    found = member(value, *path)
    if not isinstance(found, str):
        raise errors.InvalidInput(reason=f'{".".join(path)} is no text')
    return found


def instant(value: Any, *path: str) -> int | None:
    """Return the time under *path*, microseconds since the epoch; None: none is told.

    :raises InvalidInput: it is no time.
    """
    found = member(value, *path)
    return None if found is None else facts.to_us(timeframe.parse_exact(found))


def first(value: Any, *names: str) -> Any:
    """Return the first member of *names* that is told; None: none is."""
    return next((found for name in names if (found := member(value, name)) is not None), None)
