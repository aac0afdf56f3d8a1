"""Which periods of a scope are due. Pure: *now* is always an argument."""

from datetime import datetime, timedelta

from cloudkitty import timeframe


def initial_mark(now: datetime, length_s: int) -> datetime:
    """Return the mark of a scope that was never rated: its first period is the month's first."""
    return timeframe.month_at(now).begin - timedelta(seconds=length_s)


def due_at(mark: datetime, length_s: int, wait_periods: int) -> datetime:
    """Return when the period after *mark* may be rated.

    A period is never rated before it has ended, so that waiting 0 periods means the same as 1.

    :param mark: begin of the scope's last stored period, aware UTC.
    """
    return mark + timedelta(seconds=length_s * (1 + max(wait_periods, 1)))


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
