"""Conversion of local times of a zone to UTC, in one statement for any number of rows."""

import functools
import itertools
import os
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db.adoption import shape

_LINK = Path('/etc/localtime')
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
# An end of a rule may be the latest possible time, for which time zones have no rules.
_LAST = datetime(2200, 1, 1)


class Span(NamedTuple):
    """Local times from the end of the one before up to *end* that are *offset* ahead of UTC."""

    end: datetime
    offset: timedelta


def named(name: str | None) -> zoneinfo.ZoneInfo:
    """Return the zone *name*; None: that of this machine.

    :raises InvalidInput: there is no such zone.
    """
    wanted = name or _own_name()
    try:
        return zoneinfo.ZoneInfo(wanted)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise errors.InvalidInput(
            reason=f'--timezone: no zone is named {wanted!r}; allowed: names such as Europe/Berlin'
        ) from exc


def _own_name():
    """Return the name of the zone of this machine, from TZ or the symbolic link /etc/localtime."""
    name = os.environ.get('TZ', '').removeprefix(':')
    if not name and _LINK.is_symlink():
        _, _, name = os.readlink(_LINK).partition('zoneinfo/')
    return name or 'UTC'


@functools.lru_cache
def is_utc(zone: zoneinfo.ZoneInfo) -> bool:
    """Return whether local times of *zone* have always been those of UTC."""
    return all(not span.offset for span in spans(zone, datetime(1970, 1, 1), datetime(2100, 1, 1)))


def spans(zone: zoneinfo.ZoneInfo, first: datetime, last: datetime) -> list[Span]:
    """Return the offsets of local times from *first* to *last*, which are naive.

    An ambiguous time is taken as the earlier one; a skipped one gets the offset from before.
    """
    last = min(last, max(first, _LAST))
    found: list[Span] = []
    moment, offset = first, _offset(zone, first)
    for following in _days(first, last):
        changed = _offset(zone, following)
        if changed != offset:
            found.append(Span(_change(zone, moment, following), offset))
        moment, offset = following, changed
    return [*found, Span(datetime.max, offset)]


def _days(first, last) -> Iterator[datetime]:
    moment = first
    while last - moment > _DAY:
        moment += _DAY
        yield moment
    yield last


def _offset(zone, moment):
    return moment.replace(tzinfo=zone, fold=0).utcoffset()


def _change(zone, low, high):
    """Return the first minute after *low* that has the offset of *high*."""
    while high - low > _MINUTE:
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(zone, middle) == _offset(zone, low) else (low, middle)
    return high.replace(second=0, microsecond=0)


def ambiguous(known: list[Span]) -> list[tuple[datetime, datetime]]:
    """Return the half-open spans of ambiguous local times, naive."""
    return [
        (span.end - (span.offset - following.offset), span.end)
        for span, following in itertools.pairwise(known)
        if span.offset > following.offset
    ]


def to_utc(
    connection: sa.Connection, column: sa.ColumnElement, known: list[Span]
) -> sa.ColumnElement:
    """Return the expression of *column*, local times, as UTC."""
    seconds = _seconds(known[-1])
    if known[:-1]:
        spans_before = ((column < span.end, _seconds(span)) for span in known[:-1])
        seconds = sa.case(*spans_before, else_=seconds)
    if shape.dialect_of(connection) == 'mysql':
        return sa.func.timestampadd(sa.text('SECOND'), -seconds, column, type_=sa.DateTime())
    return column - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _seconds(span):
    return sa.literal(int(span.offset.total_seconds()), sa.Integer)


def utc_of(zone: zoneinfo.ZoneInfo, moment: datetime) -> datetime:
    """Return the naive UTC of *moment*, a naive local time."""
    return moment.replace(tzinfo=zone, fold=0).astimezone(UTC).replace(tzinfo=None)
