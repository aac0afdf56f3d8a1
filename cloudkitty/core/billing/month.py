"""Months of an account: calendar months of its time zone. Pure."""

import re
import zoneinfo
from datetime import UTC, date, datetime
from fractions import Fraction

from cloudkitty import errors
from cloudkitty.core.timeframe import Period

_MONTH = re.compile(r'(\d{4})-(0[1-9]|1[0-2])', re.ASCII)
_YEARS = range(1970, 9999)
# Where a month is over first.
EASTERNMOST = zoneinfo.ZoneInfo('Pacific/Kiritimati')


def parse_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone *name* of the IANA database.

    :raises InvalidInput: there is none.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise errors.InvalidInput(reason=f'{name!r} is not a time zone') from exc


def check(month: str) -> str:
    """Return *month*, such as 2026-10.

    :raises InvalidInput: it names no month.
    """
    found = _MONTH.fullmatch(month)
    if not found or int(found[1]) not in _YEARS:
        raise errors.InvalidInput(reason=f'{month!r} is not a month such as 2026-10')
    return month


def following(month: str, count: int = 1) -> str:
    """Return the month that is *count* months after *month*; a negative count goes back."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1 + count
    return f'{number // 12:04}-{number % 12 + 1:02}'


def bounds(month: str, zone: zoneinfo.ZoneInfo) -> Period:
    """Return the span of *month* in *zone*, aware UTC; a period belongs where it begins."""
    return Period(_first_instant(month, zone), _first_instant(following(month), zone))


def days(month: str) -> tuple[date, date]:
    """Return the first day of *month*, and that of the next one."""
    return _first_day(month), _first_day(following(month))


def month_of(instant: datetime, zone: zoneinfo.ZoneInfo) -> str:
    """Return the month of *zone* in which *instant* lies."""
    return instant.astimezone(zone).strftime('%Y-%m')


def share(month: str, zone: zoneinfo.ZoneInfo, begin: date | None, end: date | None) -> Fraction:
    """Return the part of *month* in [begin, end), which are days of *zone*; None: no bound."""
    whole = bounds(month, zone)
    first = whole.begin if begin is None else max(whole.begin, _midnight(begin, zone))
    last = whole.end if end is None else min(whole.end, _midnight(end, zone))
    seconds = max((last - first).total_seconds(), 0)
    return Fraction(int(seconds), int((whole.end - whole.begin).total_seconds()))


def _first_instant(month: str, zone: zoneinfo.ZoneInfo) -> datetime:
    return _midnight(_first_day(month), zone)


def _first_day(month: str) -> date:
    return date(int(month[:4]), int(month[5:]), 1)


def _midnight(day: date, zone: zoneinfo.ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
