"""What a worker checks before it works."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import errors
from cloudkitty.processor.guard import Guard
from cloudkitty.scopes import agreement

TERMS = agreement.Terms(3600, 'project_id')
SECOND = timedelta(seconds=1)


def _guard(database, *, ahead=0 * SECOND, source_ahead=None, offset_max_s=5):
    def now():
        return datetime.now(UTC) + ahead

    return Guard(
        database=database,
        terms=TERMS,
        clock=now,
        source_times=lambda: [] if source_ahead is None else [now() + source_ahead],
        offset_max_s=offset_max_s,
    )


@pytest.mark.parametrize('ahead_s', [-60, 60, 30 * 86400])
def test_a_clock_that_differs_from_the_databases_is_refused(any_database, ahead_s):
    with pytest.raises(errors.ClockOff, match='that of the database'):
        _guard(any_database, ahead=ahead_s * SECOND).check()


@pytest.mark.parametrize('ahead_s', [-60, 60])
def test_a_clock_that_differs_from_the_sources_is_refused(database, ahead_s):
    """The database may be a file of the same host, and know no better."""
    guard = _guard(database, source_ahead=ahead_s * SECOND)

    for attempt in (guard.check, guard.check_source):
        with pytest.raises(errors.ClockOff, match='that of the source'):
            attempt()


def test_clocks_that_agree_are_accepted(any_database):
    agreement.settle(any_database, TERMS, now=datetime.now(UTC))

    # The time that the test takes may lie between the readings.
    _guard(any_database, source_ahead=SECOND, offset_max_s=60).check()


def test_clocks_are_not_compared_unless_asked(database):
    guard = _guard(database, ahead=timedelta(days=9), source_ahead=SECOND * 99, offset_max_s=None)

    guard.check()
    guard.check_source()


def test_it_tells_up_to_when_periods_are_rated(database):
    now = datetime.now(UTC)
    agreement.settle(database, TERMS, now=now)
    guard = _guard(database, offset_max_s=60)
    guard.check()
    assert guard.until is None
    begin = (now + timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)

    database.write(
        lambda connection: agreement.order(connection, TERMS._replace(period_s=600), begin)
    )
    guard.check()

    assert guard.until == begin
