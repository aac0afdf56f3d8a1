"""Which periods of which scopes are due. Pure: *now* is always an argument."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from cloudkitty.core import timeframe

# Seconds before the first retry; doubled after each failure.
RETRY_FIRST_S = 5
RETRY_MAX_S = 600
# Failures beyond this number change nothing: delays and batch sizes have reached their limits.
FAILURES_MAX = 10


class Scope(Protocol):
    """Protocol: the members of a scope that batches() needs, see scopes.state.Scope."""

    @property
    def mark(self) -> datetime: ...

    @property
    def final_mark(self) -> datetime | None: ...

    @property
    def failure_count(self) -> int | None: ...

    @property
    def retry_at(self) -> datetime | None: ...


ScopeT = TypeVar('ScopeT', bound=Scope)


def initial_mark(now: datetime, length_s: int) -> datetime:
    """Return the mark of a scope that was never rated: its first period is the month's first."""
    return timeframe.month_at(now).begin - timedelta(seconds=length_s)


def due_at(mark: datetime, length_s: int, wait_periods: int) -> datetime:
    """Return when the period after *mark* may be rated.

    A period is never rated before it has ended, so waiting 0 periods means the same as 1.

    :param mark: begin of the scope's last stored period, aware UTC.
    """
    return mark + timedelta(seconds=length_s * (1 + max(wait_periods, 1)))


def lag(
    mark: datetime,
    now: datetime,
    *,
    length_s: int,
    wait_periods: int,
    final_mark: datetime | None = None,
) -> timedelta:
    """Return for how long the period after *mark* has been due; zero: it is not due yet.

    :param mark, final_mark: see scopes.state.
    """
    if final_mark is not None and mark >= final_mark:
        return timedelta(0)
    return max(now - due_at(mark, length_s, wait_periods), timedelta(0))


def due_periods(
    mark: datetime,
    now: datetime,
    *,
    length_s: int,
    wait_periods: int,
    until: datetime | None = None,
    limit: int,
) -> list[timeframe.Period]:
    """Return the periods after *mark* that may be rated now, oldest first.

    :param mark: begin of the scope's last stored period, aware UTC.
    :param until: exclude periods that begin at or after this instant; None: no bound.
    :param limit: at most so many.
    """
    length = timedelta(seconds=length_s)
    last_mark = now - timedelta(seconds=length_s * max(wait_periods, 1)) - length
    count = (last_mark - mark) // length + 1
    if until is not None:
        count = min(count, -((mark + length - until) // length))
    begins = (mark + length * (n + 1) for n in range(max(0, min(count, limit))))
    return [timeframe.Period(begin, begin + length) for begin in begins]


def skip_inactive_time(
    mark: datetime, inactive_times: Sequence[timeframe.Period], length_s: int
) -> tuple[datetime, datetime | None]:
    """Return the mark moved over an inactive time that follows, and the begin of the next, if any.

    :param inactive_times: in order; the periods that begin in them are not rated.
    """
    length = timedelta(seconds=length_s)
    for begin, end in inactive_times:
        if mark + length < begin:
            return mark, begin
        if mark + length < end:
            mark += -((mark + length - end) // length) * length
    return mark, None


def due_end(begin: datetime, now: datetime, *, length_s: int, wait_periods: int) -> datetime:
    """Return the end of the last period that may be rated now.

    :param begin: begin of any period, aware UTC.
    """
    length = timedelta(seconds=length_s)
    return begin + (now - length * (max(wait_periods, 1) - 1) - begin) // length * length


def reset_mark(
    mark: datetime, wanted: datetime, length_s: int, kept_from: datetime | None = None
) -> datetime:
    """Return the mark of a scope after a reset: the last begin of its periods up to *wanted*.

    :param mark: begin of its last period, aware UTC.
    :param kept_from: periods that begin before it are not rated again; None: all may be.
    """
    length = timedelta(seconds=length_s)
    if kept_from is not None and wanted < kept_from:
        wanted = max(wanted, min(mark, kept_from - timedelta(microseconds=1)))
    return mark + (wanted - mark) // length * length


def task_periods(
    window: timeframe.Period,
    current: datetime | None,
    mark: datetime,
    *,
    length_s: int,
    limit: int,
    inactive_times: Sequence[timeframe.Period] = (),
) -> list[timeframe.Period]:
    """Return the next periods that a task rates again, oldest first; none: all are done.

    :param window: the periods of the scope that begin in it are to be rated again.
    :param current: begin of the last one that is done; None: none is.
    :param mark: begin of the scope's last stored period, aware UTC.
    :param limit: at most so many.
    :param inactive_times: periods that begin in them are left out.
    """
    length = timedelta(seconds=length_s)
    first = reset_mark(mark, window.begin, length_s)
    if first < window.begin:
        first += length
    if current is not None:
        first = current + length
    mark_before, until = skip_inactive_time(first - length, inactive_times, length_s)
    begins = (mark_before + length * n for n in range(1, limit + 1))
    return [
        timeframe.Period(begin, begin + length)
        for begin in begins
        if begin < min(window.end, until or window.end) and begin <= mark
    ]


def retry_delay(failures: int, length_s: int) -> timedelta:
    """Return the backoff after so many failures in a row: at most one period or 10 minutes."""
    most_s = min(length_s, RETRY_MAX_S)
    doublings = min(max(failures, 1) - 1, FAILURES_MAX)
    return timedelta(seconds=min(RETRY_FIRST_S << doublings, most_s))


def batches(
    scopes: Iterable[ScopeT],
    now: datetime,
    *,
    length_s: int,
    wait_periods: int,
    scopes_max: int,
    periods_max: int,
) -> Iterator[tuple[list[ScopeT], list[timeframe.Period]]]:
    """Yield the due work: batches of scopes that share the same periods, with these, oldest first.

    Scopes that failed come last, and in smaller batches the more often they failed: in the end each
    is alone with one period, so that a query that was too large for the source succeeds.

    :param scopes: active ones.
    :param scopes_max, periods_max: size of a batch.
    """
    length = timedelta(seconds=length_s)
    found: dict[tuple[int, datetime, datetime | None], list[timeframe.Period]] = {}
    parts: dict[tuple[int, datetime, int], tuple[list[ScopeT], list[timeframe.Period]]] = {}
    for scope in scopes:
        if scope.retry_at is not None and scope.retry_at > now:
            continue
        failures = min(scope.failure_count or 0, FAILURES_MAX)
        progress = (failures, scope.mark, scope.final_mark)
        if progress not in found:
            found[progress] = due_periods(
                scope.mark,
                now,
                length_s=length_s,
                wait_periods=wait_periods,
                until=scope.final_mark and scope.final_mark + length,
                limit=max(periods_max >> failures, 1),
            )
        periods = found[progress]
        if periods:
            key = (failures, scope.mark, len(periods))
            parts.setdefault(key, ([], periods))[0].append(scope)
    for key in sorted(parts):
        found_scopes, periods = parts[key]
        size = max(scopes_max >> key[0], 1)
        for start in range(0, len(found_scopes), size):
            yield found_scopes[start : start + size], periods
