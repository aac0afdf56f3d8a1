"""Which periods of which scopes are due. Pure: *now* is always an argument."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from cloudkitty import timeframe

# Seconds before something that failed is tried again; doubled each time.
RETRY_FIRST_S = 5
RETRY_MAX_S = 600
# More of them change nothing: every delay and every size is at its end.
FAILURES_MAX = 10


def initial_mark(now: datetime, length_s: int) -> datetime:
    """Return the mark of a scope that was never rated: its first period is the month's first."""
    return timeframe.month_at(now).begin - timedelta(seconds=length_s)


def due_at(mark: datetime, length_s: int, wait_periods: int) -> datetime:
    """Return when the period after *mark* may be rated.

    A period is never rated before it has ended, so that waiting 0 periods means the same as 1.

    :param mark: begin of the scope's last stored period, aware UTC.
    """
    return mark + timedelta(seconds=length_s * (1 + max(wait_periods, 1)))


def lag(mark: datetime, now: datetime, *, length_s: int, wait_periods: int,
        final_mark: datetime | None = None) -> timedelta:
    """Return for how long the period after *mark* could have been rated; zero: it could not yet.

    :param mark, final_mark: see db.scopes.
    """
    if final_mark is not None and mark >= final_mark:
        return timedelta(0)
    return max(now - due_at(mark, length_s, wait_periods), timedelta(0))


def due_periods(mark: datetime, now: datetime, *, length_s: int, wait_periods: int,
                until: datetime | None = None, limit: int) -> list[timeframe.Period]:
    """Return the periods after *mark* that may be rated now, oldest first.

    :param mark: begin of the scope's last stored period, aware UTC.
    :param until: no period that begins at or after this instant; None: no such bound.
    :param limit: at most so many.
    """
    length = timedelta(seconds=length_s)
    last_mark = now - timedelta(seconds=length_s * max(wait_periods, 1)) - length
    count = (last_mark - mark) // length + 1
    if until is not None:
        count = min(count, -((mark + length - until) // length))
    begins = (mark + length * (n + 1) for n in range(max(0, min(count, limit))))
    return [timeframe.Period(begin, begin + length) for begin in begins]


def leap(mark: datetime, pauses: Sequence[timeframe.Period],
         length_s: int) -> tuple[datetime, datetime | None]:
    """Return the mark moved over a pause that follows it, and when the next pause begins, if any.

    :param pauses: in order; the periods that begin in them are not rated.
    """
    length = timedelta(seconds=length_s)
    for begin, end in pauses:
        if mark + length < begin:
            return mark, begin
        if mark + length < end:
            mark += -((mark + length - end) // length) * length
    return mark, None


def due_end(begin: datetime, now: datetime, *, length_s: int, wait_periods: int) -> datetime:
    """Return when the last period ends that may be rated now.

    :param begin: when one of the periods begins, aware UTC.
    """
    length = timedelta(seconds=length_s)
    return begin + (now - length * (max(wait_periods, 1) - 1) - begin) // length * length


def reset_mark(mark: datetime, wanted: datetime, length_s: int,
               kept_from: datetime | None = None) -> datetime:
    """Return where a scope stands after a reset: the last begin of its periods up to *wanted*.

    :param mark: begin of its last period, aware UTC.
    :param kept_from: no period that begins before is to be rated again; None: all may be.
    """
    length = timedelta(seconds=length_s)
    if kept_from is not None and wanted < kept_from:
        wanted = max(wanted, min(mark, kept_from - timedelta(microseconds=1)))
    return mark + (wanted - mark) // length * length


def task_periods(window: timeframe.Period, current: datetime | None, mark: datetime, *,
                 length_s: int, limit: int,
                 pauses: Sequence[timeframe.Period] = ()) -> list[timeframe.Period]:
    """Return the next periods to rate again, oldest first; none: all are done.

    :param window: the periods of the scope that begin in it are to be rated again.
    :param current: begin of the last one that was; None: none was.
    :param mark: begin of the scope's last stored period, aware UTC.
    :param limit: at most so many.
    :param pauses: periods that begin in them are left out.
    """
    length = timedelta(seconds=length_s)
    first = reset_mark(mark, window.begin, length_s)
    if first < window.begin:
        first += length
    if current is not None:
        first = current + length
    mark_before, until = leap(first - length, pauses, length_s)
    begins = (mark_before + length * n for n in range(1, limit + 1))
    return [timeframe.Period(begin, begin + length) for begin in begins
            if begin < min(window.end, until or window.end) and begin <= mark]


def retry_delay(failures: int, length_s: int) -> timedelta:
    """Return how long to wait after so many failures in a row: at most one period or 10 minutes."""
    most_s = min(length_s, RETRY_MAX_S)
    doublings = min(max(failures, 1) - 1, FAILURES_MAX)
    return timedelta(seconds=min(RETRY_FIRST_S << doublings, most_s))


def batches(scopes: Iterable[Any], now: datetime, *, length_s: int, wait_periods: int,
            scopes_max: int, periods_max: int) -> Iterator[tuple[list, list[timeframe.Period]]]:
    """Yield the due work: scopes that share the same periods, and those periods, oldest first.

    Those that failed come last and in smaller parts the oftener they did: in the end each is alone
    with one period, and what is too much for the source at once gets through.

    :param scopes: active ones, with mark, final_mark, failure_count and retry_at, see db.scopes.
    :param scopes_max, periods_max: size of a batch.
    """
    length = timedelta(seconds=length_s)
    found: dict[tuple, list[timeframe.Period]] = {}
    parts: dict[tuple, tuple[list, list[timeframe.Period]]] = {}
    for scope in scopes:
        if scope.retry_at is not None and scope.retry_at > now:
            continue
        failures = min(scope.failure_count or 0, FAILURES_MAX)
        alike = (failures, scope.mark, scope.final_mark)
        if alike not in found:
            found[alike] = due_periods(
                scope.mark, now, length_s=length_s, wait_periods=wait_periods,
                until=scope.final_mark and scope.final_mark + length,
                limit=max(periods_max >> failures, 1))
        periods = found[alike]
        if periods:
            key = (failures, scope.mark, len(periods))
            parts.setdefault(key, ([], periods))[0].append(scope)
    for key in sorted(parts):
        alike_scopes, periods = parts[key]
        size = max(scopes_max >> key[0], 1)
        for start in range(0, len(alike_scopes), size):
            yield alike_scopes[start:start + size], periods
