"""Events of Ceilometer, as notifications of the services that they were made of. Pure.

Source: https://docs.openstack.org/ceilometer/latest/admin/telemetry-events.html
"""

from collections.abc import Mapping
from typing import Any

from cloudkitty import errors
from cloudkitty.core import bounds, timeframe
from cloudkitty.core.metering import facts, signature
from cloudkitty.core.metering.notification import Notification

KEYS = frozenset(('message_id', 'event_type', 'generated', 'traits', 'raw', signature.KEY))
PREFIX = 'event:'
# Not that of what listeners make of the notification itself: of both, one counts.
SOURCE = 'ceilometer'
TRAITS_MAX = 200
DEPTH_MAX = 32


def check(event: Any) -> Mapping[str, Any]:
    """Return *event* if it has exactly the keys and types of an event of Ceilometer.

    :raises InvalidInput: the text says what is wrong.
    """
    if not isinstance(event, dict) or event.keys() != KEYS:
        raise errors.InvalidInput(reason=f'it must have exactly the keys {", ".join(sorted(KEYS))}')
    for key in ('message_id', 'event_type', 'generated', signature.KEY):
        if not isinstance(event[key], str):
            raise errors.InvalidInput(reason=f'{key} is no text')
    traits = event['traits']
    if not isinstance(traits, list) or len(traits) > TRAITS_MAX or not all(map(_is_trait, traits)):
        raise errors.InvalidInput(
            reason=f'traits must be at most {TRAITS_MAX} lists of name, type and value'
        )
    if not isinstance(event['raw'], dict) or bounds.is_deeper(event['raw'], DEPTH_MAX):
        raise errors.InvalidInput(reason=f'raw must be an object of at most {DEPTH_MAX} levels')
    return event


def _is_trait(trait: Any) -> bool:
    return (
        isinstance(trait, list)
        and len(trait) == 3
        and isinstance(trait[0], str)
        and isinstance(trait[1], int)
        and (trait[2] is None or isinstance(trait[2], (str, int, float)))
    )


def read(event: Mapping[str, Any], publisher_id: str) -> Notification:
    """Return *event*, which check() has accepted, as a notification of its traits.

    Its type begins with PREFIX: traits are not the payload of the service.

    :raises InvalidInput: its time is none.
    """
    return Notification(
        PREFIX + event['event_type'],
        publisher_id,
        event['message_id'],
        facts.to_us(timeframe.parse_exact(event['generated'])),
        {name: value for name, _, value in event['traits']},
    )
