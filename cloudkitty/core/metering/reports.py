"""What agents say of themselves, as metering messages: censuses and beacons. Pure.

A census is the list of resources that exist, in parts. A beacon says up to when an agent has
measured what. They are signed and checked as samples are, and state no facts.

Source: doc/source/contributor/metering.rst, "Censuses".
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter

CENSUS, BEACON = 'cloudkitty.census', 'cloudkitty.beacon'
# Messages with these meters are no samples.
METERS = frozenset((CENSUS, BEACON))
# Resources in a part.
PART_MAX = 1000
PARTS_MAX = 10_000
METERS_MAX = 100
COUNT_MAX = 2**31
_SEPARATOR = '\n'


class Part(NamedTuple):
    """A part of a list of the resources that exist.

    :ivar producer: who made the list.
    :ivar subject: what is listed; a producer makes lists of several subjects.
    :ivar meters: those of kind state that each resource of the list has.
    :ivar begin, end: when the list was made, microseconds since the epoch.
    :ivar is_complete: whether the list is known to name every resource.
    :ivar is_cloud: whether it is of the cloud, not of a host.
    :ivar number: from 1 to *parts*.
    """

    producer: str
    subject: str
    meters: tuple[str, ...]
    begin: int
    end: int
    is_complete: bool
    is_cloud: bool
    number: int
    parts: int
    resource_ids: tuple[str, ...]


class Beacon(NamedTuple):
    """What an agent says at the end of a cycle.

    :ivar at: when, microseconds since the epoch.
    :ivar interval_s: until the next one, seconds.
    :ivar until: by meter up to when all was measured, microseconds since the epoch.
    :ivar waiting, dropped: messages that wait in the spool, and that did not fit into it.
    :ivar skipped: cycles that were left out because the one before took too long.
    :ivar failed: names of the pollsters that failed in this cycle.
    """

    producer: str
    at: int
    interval_s: int
    until: Mapping[str, int]
    waiting: int = 0
    dropped: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()


def census(part: Part, resource_ids: Iterable[str]) -> Iterator[Counter]:
    """Yield the counters of a list of *resource_ids*, one for each part; an empty list has one.

    :param part: what all of them say; its number, parts and resource_ids are not used.
    """
    listed = sorted(resource_ids)
    starts = range(0, max(len(listed), 1), PART_MAX)
    for number, start in enumerate(starts, 1):
        attributes = {
            'producer': part.producer,
            'meters': _SEPARATOR.join(part.meters),
            'begin': facts.render_us(part.begin),
            'is_complete': part.is_complete,
            'is_cloud': part.is_cloud,
            'part': number,
            'parts': len(starts),
            'ids': _SEPARATOR.join(listed[start : start + PART_MAX]),
        }
        yield _counter(CENSUS, part.subject, part.end, len(listed), attributes)


def read_census(message: Mapping[str, Any]) -> Part:
    """Return the part that a metering message carries.

    :param message: one that message.check() has accepted, of the meter CENSUS.
    :raises InvalidInput: it carries none.
    """
    given = message['resource_metadata']
    part = Part(
        _name(given, 'producer'),
        message['resource_id'],
        _names(given, 'meters', METERS_MAX),
        _time(given.get('begin')),
        _time(message['timestamp']),
        _flag(given, 'is_complete'),
        _flag(given, 'is_cloud'),
        _count(given, 'part', PARTS_MAX),
        _count(given, 'parts', PARTS_MAX),
        _names(given, 'ids', PART_MAX),
    )
    facts.check_name('the subject of a census', part.subject)
    if not 1 <= part.number <= part.parts:
        _refuse(f'part {part.number} of {part.parts}')
    if part.end < part.begin or not part.meters:
        _refuse('a census has a meter, and ends after its begin')
    return part


def beacon(told: Beacon) -> Counter:
    """Return the counter of a beacon."""
    attributes = {
        'interval': told.interval_s,
        'until': {meter: facts.render_us(at) for meter, at in sorted(told.until.items())},
        'waiting': told.waiting,
        'dropped': told.dropped,
        'skipped': told.skipped,
        'failed': _SEPARATOR.join(told.failed),
    }
    return _counter(BEACON, told.producer, told.at, told.interval_s, attributes)


def read_beacon(message: Mapping[str, Any]) -> Beacon:
    """Return the beacon that a metering message carries.

    :param message: one that message.check() has accepted, of the meter BEACON.
    :raises InvalidInput: it carries none.
    """
    given = message['resource_metadata']
    until = given.get('until')
    if not isinstance(until, dict) or len(until) > METERS_MAX:
        _refuse(f'until names at most {METERS_MAX} meters')
    for meter in until:
        facts.check_name('a meter', meter)
    facts.check_name('the sender of a beacon', message['resource_id'])
    return Beacon(
        message['resource_id'],
        _time(message['timestamp']),
        _count(given, 'interval', COUNT_MAX),
        {meter: _time(at) for meter, at in until.items()},
        _count(given, 'waiting', COUNT_MAX),
        _count(given, 'dropped', COUNT_MAX),
        _count(given, 'skipped', COUNT_MAX),
        _names(given, 'failed', METERS_MAX),
    )


def _counter(meter: str, resource_id: str, at: int, volume: int, attributes: Any) -> Counter:
    return Counter(
        meter, facts.GAUGE, 'resource', Decimal(volume), '', None, resource_id, at, attributes
    )


def _name(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    facts.check_name(key, value)
    return str(value)


def _names(given: Mapping[str, Any], key: str, count_max: int) -> tuple[str, ...]:
    value = given.get(key)
    if not isinstance(value, str):
        _refuse(f'{key} is no text')
    names = tuple(value.split(_SEPARATOR)) if value else ()
    if len(names) > count_max:
        _refuse(f'{key} has more than {count_max} names')
    for name in names:
        facts.check_name(key, name)
    return names


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key)
    if not isinstance(value, bool):
        _refuse(f'{key} is neither true nor false')
    return value


def _count(given: Mapping[str, Any], key: str, count_max: int) -> int:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= count_max:
        _refuse(f'{key} is no whole number up to {count_max}')
    return value


def _time(given: Any) -> int:
    if not isinstance(given, str):
        _refuse('a time is missing')
    at = facts.to_us(timeframe.parse_exact(given))
    if not 0 <= at < facts.AT_MAX:
        _refuse('times must lie between 1970 and 3000')
    return at


def _refuse(reason: str) -> NoReturn:
    raise errors.InvalidInput(reason=reason)
