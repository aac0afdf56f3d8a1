"""The table of metrics that lag, on every database."""

from datetime import UTC, datetime, timedelta

from cloudkitty.scopes import source_lag
from cloudkitty.scopes import state as scope_state
from cloudkitty.scopes.source_lag import HELD, LATE, NOWHERE, Lag

HOUR = timedelta(hours=1)
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
OTHER = IDENTITY._replace(collector='gnocchi')
CPU = Lag(HELD, NOON - HOUR, NOON, NOON + HOUR)


def record(database, wanted, newest=None, identity=IDENTITY):
    changes = database.write(
        lambda connection: source_lag.record(
            connection, identity, wanted, newest=newest or {}, defined=('cpu', 'ram')
        )
    )
    return [(metric, old and old.state, new and new.state) for metric, old, new in changes]


def listed(database, identity=IDENTITY):
    with database.reader() as connection:
        return source_lag.list_lags(connection, identity)


def test_only_what_changed_is_told(any_database):
    """A lag is told when it begins, when its state changes and when it ends, once each."""
    assert record(any_database, {'cpu': CPU}, identity=OTHER) == [('cpu', None, HELD)]
    assert record(any_database, {'cpu': CPU}) == [('cpu', None, HELD)]
    assert record(any_database, {'cpu': CPU}) == []
    # A worker that needs less does not end it, nor make it need less.
    assert record(any_database, {}, {'cpu': NOON - HOUR}) == []
    assert record(any_database, {'cpu': CPU._replace(needed=NOON - HOUR / 2)}) == []
    assert listed(any_database) == {'cpu': CPU}
    late = CPU._replace(state=LATE, needed=NOON + HOUR)
    nowhere = Lag(NOWHERE, None, NOON, NOON)
    assert record(any_database, {'cpu': late, 'ram': nowhere}) == [
        ('cpu', HELD, LATE),
        ('ram', None, NOWHERE),
    ]
    assert listed(any_database) == {'cpu': late, 'ram': nowhere}
    assert record(any_database, {'ram': nowhere}, {'cpu': NOON + HOUR, 'ram': None}) == [
        ('cpu', LATE, None)
    ]
    assert listed(any_database) == {'ram': nowhere}
    assert listed(any_database, OTHER) == {'cpu': CPU}


def test_metrics_that_are_defined_no_more_are_forgotten(database):
    record(database, {'cpu': CPU})

    changes = database.write(
        lambda connection: source_lag.record(connection, IDENTITY, {}, newest={}, defined=('ram',))
    )

    assert changes == []
    assert listed(database) == {}
