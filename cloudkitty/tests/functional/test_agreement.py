"""Nodes that disagree, or whose clock is wrong, leave no trace in what is stored."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors, storage
from cloudkitty.core.timeframe import Period, to_naive
from cloudkitty.db import tables
from cloudkitty.processor import service
from cloudkitty.scopes import agreement, resets
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.scopes.progress import ScopeBatch
from cloudkitty.tests import history, stored
from cloudkitty.tests.functional import worker_run

HOUR = worker_run.HOUR
HALF = timedelta(minutes=30)
HALF_WAY = history.BEGIN + 3 * HOUR
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')


@pytest.fixture
def make_conf(any_database, tmp_path, prometheus):
    """Return a function that returns the configuration of a node, with changes in [collect]."""
    worker_run.clear(any_database)

    def _make_conf(**changes):
        path = worker_run.write_conf(
            tmp_path,
            prometheus_url=prometheus.url,
            connection=any_database.engine.url.render_as_string(False),
        )
        conf = worker_run.load_conf(path)
        conf.set_override('start_date', '2024-05-01', 'collect')
        for name, value in changes.items():
            conf.set_override(name, value, 'collect')
        return conf

    return _make_conf


def _dump(database):
    with database.reader() as connection:
        return stored.dump(connection)


def _undisturbed(database, conf):
    """Return what one node stores alone; the database is empty afterwards."""
    _turn(conf)
    found = _dump(database)
    worker_run.clear(database)
    return found


def _turn(conf, now=worker_run.NOW):
    agreement.settle(_database(conf), agreement.Terms.of(conf), now=now)
    parts = worker_run.build(conf, clock=lambda: now)
    try:
        parts.worker.turn()
    finally:
        parts.locks.close()
        parts.database.close()


def _database(conf):
    return storage.get_driver(conf).database


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'period': 1800}, '[collect]period is 1800 here and 3600 in the database'),
        ({'scope_key': 'resource'}, '[collect]scope_key is resource here and project_id in the'),
        ({'start_date': ''}, '[collect]start_date is not set here and 2024-05-01T00:00:00+00:00'),
    ],
)
def test_a_node_that_disagrees_rates_nothing(any_database, make_conf, changes, told):
    """Neither at its start nor while it runs; what it had begun is refused by the commit."""
    expected = _undisturbed(any_database, make_conf())
    _turn(make_conf(), HALF_WAY + HOUR)
    other = make_conf(**changes)
    parts = worker_run.build(other, clock=lambda: worker_run.NOW)
    batch = ScopeBatch(
        stored.keys(storage.get_driver(other))['alpha'],
        'alpha',
        HALF_WAY - HOUR,
        HALF_WAY,
        [],
    )

    for attempt in (
        lambda: service.check(other),
        parts.worker.turn,
        lambda: storage.get_driver(other).commit([batch]),
    ):
        with pytest.raises(errors.Disagreement) as told_by:
            attempt()
        assert told in str(told_by.value)
        assert '\n' not in str(told_by.value)
    _turn(make_conf())

    assert stored.difference(expected, _dump(any_database)) == ''


def test_a_node_whose_clock_is_a_month_ahead_rates_nothing(any_database, make_conf):
    expected = _undisturbed(any_database, make_conf())
    _turn(make_conf(), HALF_WAY + HOUR)
    ahead = service.build(
        make_conf(),
        0,
        clock=lambda: datetime.now(UTC) + timedelta(days=30),
        compares_clocks=True,
    )

    with pytest.raises(errors.ClockOff, match='the clock of this host says .* of the database'):
        ahead.worker.turn()
    _turn(make_conf())

    assert stored.difference(expected, _dump(any_database)) == ''


def test_a_period_that_is_not_over_for_the_database_is_not_stored(any_database, make_conf):
    """Whatever the clock of the node says when it commits."""
    conf = make_conf()
    _turn(conf)
    # Its last period began half an hour ago.
    mark = datetime.now(UTC) - 1.5 * HOUR
    with any_database.writer() as connection:
        connection.execute(sa.update(tables.scopes).values(last_processed_timestamp=to_naive(mark)))
    before = _dump(any_database)
    store = storage.get_driver(conf)

    with pytest.raises(errors.ClockOff, match='is not over'):
        store.commit([ScopeBatch(stored.keys(store)['alpha'], 'alpha', mark, mark + HOUR, [])])

    assert _dump(any_database) == before


def _order_half_hours(database, begin):
    """Order periods of half an hour for tomorrow, and let *begin* be that date."""

    def change(connection):
        state = agreement.read(connection)
        tomorrow = (state.now + timedelta(days=1)).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        agreement.order(connection, state.current.terms._replace(period_s=1800), tomorrow)
        # The fetcher was asked by the clock of the test.
        connection.execute(sa.update(tables.fetches).values(fetched_at=to_naive(state.now)))
        table = tables.agreements
        connection.execute(
            sa.update(table).where(table.c.in_force.is_(False)).values(begin=to_naive(begin))
        )

    database.write(change)


def _spans(database):
    """Return begin and end of the frames of alpha."""
    with database.reader() as connection:
        rows = connection.execute(
            sa.select(tables.rated_frames.c.begin, tables.rated_frames.c.end)
            .join(tables.rated_scopes)
            .where(tables.rated_scopes.c.identifier == 'alpha')
            .order_by(tables.rated_frames.c.begin)
        )
        return [tuple(row) for row in rows]


def test_a_change_comes_at_its_date_without_overlap_or_hole(any_database, make_conf):
    """Who rated by the old length stops at that date; the file is changed; rating goes on."""
    hours, halves = make_conf(), make_conf(period=1800)
    _turn(hours, HALF_WAY)
    _order_half_hours(any_database, HALF_WAY)

    with pytest.raises(errors.Disagreement, match='that changes once all periods before'):
        service.check(halves)
    # It rates what is left of its periods, and then nothing more.
    with pytest.raises(errors.Disagreement, match=r'this holds since 2024-05-01T03:00:00\+00:00'):
        _turn(hours)
    service.check(halves)
    _turn(halves)

    spans = _spans(any_database)
    assert spans[0][0] == to_naive(history.BEGIN)
    assert {end - begin for begin, end in spans if begin < to_naive(HALF_WAY)} == {HOUR}
    assert {end - begin for begin, end in spans if begin >= to_naive(HALF_WAY)} == {HALF}
    assert [begin for begin, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert stored.marks(storage.get_driver(halves))['alpha'] == worker_run.NOW - 3 * HALF


@pytest.mark.parametrize('window', [(0, 3), (3, 5), (1, 5)])
def test_periods_are_rated_again_as_long_as_they_were(any_database, make_conf, window):
    """Before the change, after it, and, for a task from before the change, across it."""
    hours, halves = make_conf(), make_conf(period=1800)
    _turn(hours, HALF_WAY)
    _order_half_hours(any_database, HALF_WAY)
    with pytest.raises(errors.Disagreement):
        _turn(hours)
    _turn(halves)
    expected = _dump(any_database)
    begin, end = (history.BEGIN + hour * HOUR for hour in window)

    any_database.write(
        lambda connection: scope_reprocessing.create(
            connection, {'alpha'}, identity=IDENTITY, window=Period(begin, end), reason='again'
        )
    )
    _turn(halves)

    assert stored.difference(expected, _dump(any_database)) == ''
    with any_database.reader() as connection:
        revisions = connection.execute(
            sa.select(sa.func.count())
            .select_from(tables.rated_frames)
            .where(tables.rated_frames.c.revision > 1)
        ).scalar_one()
        spans = [one for one in _spans(any_database) if to_naive(begin) <= one[0] < to_naive(end)]
    assert revisions == len(spans)


def test_a_reset_never_reaches_back_over_a_change(any_database, make_conf):
    hours, halves = make_conf(), make_conf(period=1800)
    _turn(hours, HALF_WAY)
    _order_half_hours(any_database, HALF_WAY)
    with pytest.raises(errors.Disagreement):
        _turn(hours)
    _turn(halves)
    expected = _dump(any_database)
    key = stored.keys(storage.get_driver(halves))['alpha']

    any_database.write(
        lambda connection: resets.order(connection, [key], history.BEGIN, now=worker_run.NOW)
    )
    _turn(halves)

    assert stored.difference(expected, _dump(any_database)) == ''


def test_periods_that_overlap_stored_ones_are_refused(any_database, make_conf):
    """Even if nobody knows of an agreement, as after an error in the database."""
    _turn(make_conf())
    with any_database.writer() as connection:
        connection.execute(sa.delete(tables.agreements))
        connection.execute(
            sa.update(tables.scopes).values(last_processed_timestamp=to_naive(history.BEGIN + HOUR))
        )
    before = _dump(any_database)
    conf = make_conf(period=1800)
    worker_run.build(conf).worker.turn()

    with any_database.reader() as connection:
        _, scopes = scope_state.list_scopes(connection)
    assert {scope.failure_reason for scope in scopes} == {
        'storing: the period that begins at 2024-05-01T01:30:00+00:00 overlaps the stored one '
        'from 2024-05-01T01:00:00+00:00'
    }
    assert before.count(b'frames') == _dump(any_database).count(b'frames')
