"""Time: aware UTC instants, half open periods, the calendar of a period. Pure."""

import calendar
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, overload

from cloudkitty import errors

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Nothing is rated before EPOCH, nor from here on: far enough from datetime.max for arithmetic.
LATEST = datetime(3000, 1, 1, tzinfo=UTC)

# Most characters of a text in an error.
ECHO_MAX = 100

# Attributes that every collected point has, see calendar_of().
CALENDAR_KEYS = ('week_of_the_year', 'day_of_the_year', 'month', 'year')

# Day, time of day, offset. Checked first, because Python's parser also reads many long numbers.
_INSTANT = re.compile(
    r'(?:\d{4}-\d{2}-\d{2}|\d{8})'
    r'(?:[T ]\d{2}(?::?\d{2}(?::?\d{2}(?:[.,]\d+)?)?)?'
    r'(?:Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?)?',
    re.ASCII,
)
_MONTH_ONLY = re.compile(r'\d{4}-\d{2}')


class Period(NamedTuple):
    """A half open span of time, [begin, end), aware UTC."""

    begin: datetime
    end: datetime


def to_utc(instant: datetime) -> datetime:
    """Return *instant* in UTC.

    :raises NaiveTime: *instant* has no zone.
    """
    if instant.tzinfo is None:
        raise errors.NaiveTime(instant=instant)
    return instant.astimezone(UTC)


def to_naive(instant: datetime) -> datetime:
    """Return *instant* as stored in the database: UTC without a zone."""
    return to_utc(instant).replace(tzinfo=None)


@overload
def from_naive(instant: None) -> None: ...


@overload
def from_naive(instant: datetime) -> datetime: ...


def from_naive(instant: datetime | None) -> datetime | None:
    """Return a naive UTC value of the database as an aware instant."""
    return None if instant is None else instant.replace(tzinfo=UTC)


def parse(text: str) -> datetime:
    """Return the instant that the ISO 8601 *text* names, aware UTC, without microseconds.

    Accepted: what parse_exact() accepts, and a month only (its first day).

    :raises InvalidInput: anything else (numbers, week dates, empty or free text).

    Source: doc/source/contributor/compatibility/rest-v2.rst, "Dates".
    """
    if isinstance(text, str) and _MONTH_ONLY.fullmatch(text.strip()):
        text = text.strip() + '-01'
    return parse_exact(text).replace(microsecond=0)


def parse_exact(text: str) -> datetime:
    """Return the instant that the ISO 8601 *text* names, aware UTC, with its microseconds.

    Accepted: extended and basic format, a blank in place of the T, `Z` or an offset, a date only
    (midnight). No offset means UTC.

    :raises InvalidInput: anything else, a part of a date included.
    """
    try:
        if not isinstance(text, str) or not _INSTANT.fullmatch(text.strip()):
            raise ValueError
        instant = datetime.fromisoformat(text.strip())
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return instant.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        # A caller's text of any length must not fill an answer or a log.
        raise errors.InvalidInput(reason=f'{text!r:.{ECHO_MAX}} is not an ISO 8601 date') from exc


def render(instant: datetime) -> str:
    """Return *instant* as rendered in answers: `2024-01-01T00:00:00+00:00`."""
    return to_utc(instant).isoformat(timespec='seconds')


def from_unix(seconds: float) -> datetime:
    """Return the instant, aware UTC, of a unix time."""
    return EPOCH + timedelta(seconds=seconds)


def period_at(instant: datetime, length_s: int) -> Period:
    """Return the period, counted from the epoch, that holds *instant*.

    :param instant: aware datetime, any zone.
    :param length_s: period length, seconds, > 0.
    :raises NaiveTime: *instant* has no zone.
    """
    elapsed_s = (to_utc(instant) - EPOCH) // timedelta(seconds=1)
    begin = from_unix(elapsed_s - elapsed_s % length_s)
    return Period(begin, begin + timedelta(seconds=length_s))


def month_at(instant: datetime) -> Period:
    """Return the calendar month (UTC) that holds *instant*."""
    begin = to_utc(instant).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    days = calendar.monthrange(begin.year, begin.month)[1]
    return Period(begin, begin + timedelta(days=days))


def month_named(text: str) -> Period:
    """Return the calendar month (UTC) that *text* names: `2026-10`.

    :raises InvalidInput: it names no month.
    """
    if not isinstance(text, str) or not _MONTH_ONLY.fullmatch(text):
        raise errors.InvalidInput(reason=f'{text!r:.{ECHO_MAX}} is not a month such as 2026-10')
    begin = parse(text)
    if not EPOCH <= begin < LATEST:
        raise errors.InvalidInput(reason=f'{text!r} is not between {EPOCH.year} and {LATEST.year}')
    return month_at(begin)


def within_bounds(instant: datetime) -> datetime:
    """Return *instant*, or EPOCH or LATEST if it is beyond: all that is rated lies between."""
    return min(max(instant, EPOCH), LATEST)


def midnight(day: date) -> datetime:
    """Return the first instant of *day*, UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


def calendar_of(begin: datetime) -> dict[str, str]:
    """Return the four calendar attributes of a period that starts at *begin*, all text.

    week_of_the_year counts from Sunday, two digits; the others have no leading zero.

    Source: doc/source/contributor/compatibility/collection.rst, "Calendar attributes".
    """
    day = to_utc(begin)
    return {
        'week_of_the_year': day.strftime('%U'),
        'day_of_the_year': str(day.timetuple().tm_yday),
        'month': str(day.month),
        'year': day.strftime('%Y'),
    }
