"""Which periods are due."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import schedule

HOUR = timedelta(hours=1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize('wait, ago, expected', [
    (2, 3 * HOUR, 1),
    (2, 3 * HOUR - timedelta(seconds=1), 0),
    (2, 5 * HOUR, 3),
    (1, 2 * HOUR, 1),
    (0, 2 * HOUR, 1),
    (0, 2 * HOUR - timedelta(seconds=1), 0),
    (2, -HOUR, 0),
])
def test_a_period_is_due_after_the_waiting_time(wait, ago, expected):
    """The period after the mark is due wait periods after its begin, and never before its end."""
    due = schedule.due_periods(NOON - ago, NOON, length_s=3600, wait_periods=wait, limit=9)

    assert len(due) == expected
    assert due[:1] == [(NOON - ago + HOUR, NOON - ago + 2 * HOUR)][:expected]
    assert (schedule.due_at(NOON - ago, 3600, wait) <= NOON) == bool(expected)


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


def test_a_new_scope_starts_with_the_month():
    mark = schedule.initial_mark(NOON, 3600)

    assert schedule.due_periods(mark, NOON, length_s=3600, wait_periods=2, limit=1) == [
        (datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, 1, tzinfo=UTC))]
