"""Which periods are due."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from cloudkitty.core import schedule, timeframe

HOUR = timedelta(hours=1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    'wait, ago, expected',
    [
        (2, 3 * HOUR, 1),
        (2, 3 * HOUR - timedelta(seconds=1), 0),
        (2, 5 * HOUR, 3),
        (1, 2 * HOUR, 1),
        (0, 2 * HOUR, 1),
        (0, 2 * HOUR - timedelta(seconds=1), 0),
        (2, -HOUR, 0),
    ],
)
def test_a_period_is_due_after_the_waiting_time(wait, ago, expected):
    """The period after the mark is due wait periods after its begin, and never before its end."""
    due = schedule.due_periods(NOON - ago, NOON, length_s=3600, wait_periods=wait, limit=9)

    assert len(due) == expected
    assert due[:1] == [(NOON - ago + HOUR, NOON - ago + 2 * HOUR)][:expected]
    assert (schedule.due_at(NOON - ago, 3600, wait) <= NOON) == bool(expected)


@pytest.mark.parametrize('wait', [0, 1, 2, 5])
@pytest.mark.parametrize('minutes', [0, 1, 59])
def test_the_last_period_that_is_due_ends_where_the_due_periods_end(wait, minutes):
    now = NOON + timedelta(minutes=minutes)
    due = schedule.due_periods(NOON - 20 * HOUR, now, length_s=3600, wait_periods=wait, limit=99)

    assert schedule.due_end(due[0].begin, now, length_s=3600, wait_periods=wait) == due[-1].end


def test_a_backlog_is_bounded():
    due = schedule.due_periods(NOON - 100 * HOUR, NOON, length_s=3600, wait_periods=2, limit=7)

    assert len(due) == 7
    assert all(a.end == b.begin for a, b in zip(due, due[1:], strict=False))


@pytest.mark.parametrize('minutes, expected', [(0, 2), (1, 3), (60, 3), (600, 8)])
def test_nothing_is_due_after_the_scope_vanished(minutes, expected):
    """Periods that begin at or after the last sight of the scope are not rated."""
    mark = NOON - 10 * HOUR
    until = mark + 3 * HOUR + timedelta(minutes=minutes)

    due = schedule.due_periods(mark, NOON, length_s=3600, wait_periods=2, until=until, limit=99)

    assert len(due) == expected


@pytest.mark.parametrize(
    'mark, final_mark, expected',
    [
        (NOON - 3 * HOUR, None, timedelta(0)),
        (NOON - 4 * HOUR, None, HOUR),
        (NOON, None, timedelta(0)),
        (NOON - 4 * HOUR, NOON - 4 * HOUR, timedelta(0)),
        (NOON - 4 * HOUR, NOON - 3 * HOUR, HOUR),
    ],
)
def test_the_lag_counts_from_when_a_period_was_due(mark, final_mark, expected):
    """A scope that is gone and rated to its end has none."""
    assert (
        schedule.lag(mark, NOON, length_s=3600, wait_periods=2, final_mark=final_mark) == expected
    )


@pytest.mark.parametrize(
    'hours, expected',
    [
        (-3, (-3, 0)),
        (-1.5, (-1.5, 0)),
        (-1, (2, 5)),
        (0, (2, 5)),
        (0.5, (2.5, 5)),
        (1.5, (2.5, 5)),
        (2, (2, 5)),
        (3.5, (3.5, 5)),
        (4, (7, None)),
        (7, (7, None)),
        (8, (8, None)),
    ],
)
def test_periods_that_begin_in_a_pause_are_leapt_over(hours, expected):
    """The next period begins after the pause, on the edges that the mark gives."""
    inactive_times = [
        timeframe.Period(NOON + first * HOUR, NOON + end * HOUR) for first, end in ((0, 3), (5, 8))
    ]

    mark, until = schedule.skip_inactive_time(NOON + hours * HOUR, inactive_times, 3600)

    assert ((mark - NOON) / HOUR, until and (until - NOON) / HOUR) == expected


def test_a_new_scope_starts_with_the_month():
    mark = schedule.initial_mark(NOON, 3600)

    assert schedule.due_periods(mark, NOON, length_s=3600, wait_periods=2, limit=1) == [
        (datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, 1, tzinfo=UTC))
    ]


@pytest.mark.parametrize(
    'failures, length_s, expected_s',
    [
        (1, 3600, 5),
        (2, 3600, 10),
        (4, 3600, 40),
        (8, 3600, 600),
        (10**9, 3600, 600),
        (1, 60, 5),
        (9, 60, 60),
        (1, 2, 2),
        (0, 3600, 5),
    ],
)
def test_what_fails_is_tried_again_ever_more_rarely(failures, length_s, expected_s):
    """At the latest after a period or ten minutes, whichever is shorter."""
    assert schedule.retry_delay(failures, length_s) == timedelta(seconds=expected_s)


class Scope(NamedTuple):
    name: str
    mark: datetime
    final_mark: datetime | None = None
    failure_count: int | None = None
    retry_at: datetime | None = None


def batches(*scopes, scopes_max=100, periods_max=24):
    """Return (names, number of periods) of each batch."""
    found = schedule.batches(
        scopes, NOON, length_s=3600, wait_periods=1, scopes_max=scopes_max, periods_max=periods_max
    )
    return [(''.join(scope.name for scope in alike), len(periods)) for alike, periods in found]


BEHIND = NOON - 6 * HOUR  # 5 periods are due


@pytest.mark.parametrize(
    'scopes, expected',
    [
        ([], []),
        ([Scope('a', BEHIND), Scope('b', BEHIND)], [('ab', 5)]),
        (
            [Scope('a', BEHIND + HOUR), Scope('b', BEHIND), Scope('c', BEHIND + HOUR)],
            [('b', 5), ('ac', 4)],
        ),
        ([Scope('a', NOON - HOUR)], []),
        (
            [Scope('a', BEHIND, final_mark=BEHIND + 2 * HOUR), Scope('b', BEHIND)],
            [('a', 2), ('b', 5)],
        ),
        ([Scope('a', BEHIND, final_mark=NOON), Scope('b', BEHIND)], [('ab', 5)]),
        ([Scope('a', BEHIND, final_mark=BEHIND)], []),
        ([Scope('a', BEHIND, final_mark=BEHIND + timedelta(seconds=1))], [('a', 1)]),
        ([Scope('a', BEHIND, retry_at=NOON + HOUR), Scope('b', BEHIND, retry_at=NOON)], [('b', 5)]),
        ([Scope('a', BEHIND - HOUR, failure_count=1), Scope('b', BEHIND)], [('b', 5), ('a', 6)]),
    ],
)
def test_scopes_with_the_same_periods_share_a_batch(scopes, expected):
    assert batches(*scopes) == expected


@pytest.mark.parametrize(
    'failures, expected',
    [
        (None, [('aaaa', 4), ('aaaa', 4), ('aa', 4)]),
        (1, [('aa', 2)] * 5),
        (2, [('a', 1)] * 10),
        (99, [('a', 1)] * 10),
    ],
)
def test_batches_are_bounded_and_smaller_after_failures(failures, expected):
    many = [Scope('a', BEHIND, failure_count=failures)] * 10

    assert batches(*many, scopes_max=4, periods_max=4) == expected


@pytest.mark.parametrize(
    'wanted, expected',
    [
        (NOON - 3 * HOUR, NOON - 3 * HOUR),
        (NOON - HOUR + timedelta(minutes=59), NOON - HOUR),
        (NOON, NOON),
        (NOON + 2 * HOUR + timedelta(seconds=1), NOON + 2 * HOUR),
    ],
)
def test_a_reset_keeps_the_edges_of_the_periods(wanted, expected):
    assert schedule.reset_mark(NOON, wanted, 3600) == expected


@pytest.mark.parametrize(
    'first, end, current, limit, expected',
    [
        (-5, -2, None, 9, [-5, -4, -3]),
        (-5, -2, None, 2, [-5, -4]),
        (-5, -2, -4, 9, [-3]),
        (-5, -2, -3, 9, []),
        (-2, 3, None, 9, [-2, -1, 0]),
        (1, 3, None, 9, []),
        # Windows count from the epoch, periods from the first one of the scope.
        (-2.5, -0.5, None, 9, [-2, -1]),
        (-1.75, -1.25, None, 9, []),
    ],
)
def test_the_next_periods_of_a_task(first, end, current, limit, expected):
    """Those that begin in its window, and not after the last one of the scope."""
    window = timeframe.Period(NOON + first * HOUR, NOON + end * HOUR)

    found = schedule.task_periods(
        window, None if current is None else NOON + current * HOUR, NOON, length_s=3600, limit=limit
    )

    assert found == [(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in expected]


@pytest.mark.parametrize(
    'wanted, kept_from, expected',
    [
        (-9, -3, -4),
        (-9, -2.5, -3),
        (-9, -9, -9),
        (-3, -3, -3),
        (-3.5, -3, -4),
        (-2, -3, -2),
        (-9, 0, -1),
        (-9, 1, 0),
        (-9, 5, 0),
        (2, 1, 2),
        (2, 3, 2),
    ],
)
def test_a_reset_spares_the_periods_whose_usage_is_not_kept(wanted, kept_from, expected):
    """What would be rated next does not begin before the source has its usage; a reset that goes
    behind all of them goes nowhere."""
    found = schedule.reset_mark(NOON, NOON + wanted * HOUR, 3600, kept_from=NOON + kept_from * HOUR)

    assert found == NOON + expected * HOUR


def test_a_task_leaves_inactive_times_out():
    """Two inactive times, one of them in the middle of a period; after each it goes on behind."""
    inactive_times = [
        timeframe.Period(NOON - 6 * HOUR, NOON - 4 * HOUR),
        timeframe.Period(NOON - 2.5 * HOUR, NOON - 1.5 * HOUR),
    ]
    window = timeframe.Period(NOON - 7 * HOUR, NOON + HOUR)
    current, found = None, []
    while periods := schedule.task_periods(
        window, current, NOON, length_s=3600, limit=2, inactive_times=inactive_times
    ):
        current = periods[-1].begin
        found += periods

    assert [(begin - NOON) / HOUR for begin, _ in found] == [-7, -4, -3, -1, 0]
