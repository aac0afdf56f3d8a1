"""Whether a span is final, and what keeps it from being so."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import completeness
from cloudkitty.collector.file import FileCollector
from cloudkitty.completeness import Query
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period, to_naive
from cloudkitty.db import tables
from cloudkitty.scopes import inactive_time, late_data, resets, source_gaps, source_lag
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import sql

HOUR = timedelta(hours=1)
MONTH = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
LAST = MONTH.end - HOUR
NOW = MONTH.end + 3 * HOUR
IDENTITY = scope_state.Identity('project_id', 'keystone', 'gnocchi')


class Cloud:
    """Scopes that are rated to the end of October; the fetcher was asked afterwards."""

    def __init__(self, conf, database):
        self.conf, self.database = conf, database
        self.see(IDENTITY, 'abcd', LAST)
        self.see(IDENTITY._replace(collector='other'), 'xyz', MONTH.begin)
        self.fetched(NOW)

    def see(self, identity, names, mark):
        self.database.write(
            lambda connection: scope_state.record_seen(
                connection, identity, names, now=NOW, initial_mark=mark, final_mark=NOW
            )
        )

    def fetched(self, instant):
        with self.database.writer() as connection:
            connection.execute(sa.delete(tables.fetches))
            scope_state.claim_fetch(connection, IDENTITY, seen=None, now=instant)

    def change(self, name, **values):
        with self.database.writer() as connection:
            connection.execute(
                sa.update(tables.scopes)
                .where(tables.scopes.c.identifier == name)
                .values(
                    **{
                        key: to_naive(value) if isinstance(value, datetime) else value
                        for key, value in values.items()
                    }
                )
            )

    def examine(self, window=MONTH, **query):
        with self.database.reader() as connection:
            return completeness.examine(connection, self.conf, Query(window, **query))

    def accept(self, begin, end):
        self.database.write(
            lambda connection: source_gaps.accept(
                connection, IDENTITY, 'cpu', Period(begin, end), by='ops', reason='it is', now=NOW
            )
        )

    def state(self, name):
        (entry,) = self.examine(scope_ids=[name]).entries
        return entry.status


@pytest.fixture
def cloud(conf, database):
    return Cloud(conf, database)


def test_a_month_is_final_when_every_scope_is_rated_to_its_end(cloud):
    """Scopes of other configurations do not count."""
    answer = cloud.examine()

    assert (answer.is_final, answer.reason, answer.rated_until, answer.not_final, answer.total) == (
        True,
        '',
        MONTH.end,
        0,
        4,
    )
    assert {entry.rated_until for entry in answer.entries} == {MONTH.end}
    assert cloud.examine(is_final=False).entries == []


def test_a_month_that_is_not_over_is_not_final(cloud):
    cloud.fetched(LAST)

    answer = cloud.examine()

    assert (answer.is_final, answer.not_final, answer.rated_until) == (False, 0, LAST)
    assert answer.reason == (
        'scopes were last listed at 2026-10-31T23:00:00+00:00, before the end '
        '2026-11-01T00:00:00+00:00: there may be more'
    )
    assert cloud.examine(Period(MONTH.begin, LAST)).is_final


def test_a_month_is_closed_by_a_fetch_at_its_end(cloud):
    """Scopes that turn up at that very instant have nothing in it."""
    cloud.fetched(MONTH.end)

    assert cloud.examine().is_final


def test_nobody_knows_before_the_fetcher_was_asked(conf, database):
    with database.reader() as connection:
        answer = completeness.examine(connection, conf, Query(MONTH))

    assert (answer.is_final, answer.rated_until, answer.total) == (False, None, 0)


BEHIND = {'last_processed_timestamp': LAST - 5 * HOUR}


@pytest.mark.parametrize(
    'values, expected',
    [
        ({}, 'final'),
        (BEHIND, 'waiting'),
        (BEHIND | {'failure_reason': 'broken', 'failing_since': NOW}, 'failed'),
        ({'failure_reason': 'broken', 'failing_since': NOW}, 'final'),
        (BEHIND | {'final_mark': LAST - 5 * HOUR}, 'final'),
        (BEHIND | {'final_mark': LAST - 4 * HOUR}, 'waiting'),
        (BEHIND | {'active': False, 'scope_activation_toggle_date': LAST - 4 * HOUR}, 'final'),
        (BEHIND | {'active': False, 'scope_activation_toggle_date': LAST - 3 * HOUR}, 'inactive'),
    ],
)
def test_what_keeps_a_scope_from_being_final(cloud, values, expected):
    """What was rated, what is gone and what is off need nothing more."""

    cloud.change('b', **{'active': True, **values})

    assert cloud.state('b').state == expected
    answer = cloud.examine()
    assert (answer.is_final, answer.not_final) == (expected == 'final', int(expected != 'final'))
    assert [entry.scope.scope_id for entry in cloud.examine(is_final=False).entries] == (
        [] if expected == 'final' else ['b']
    )
    assert answer.rated_until == (MONTH.end if expected == 'final' else LAST - 4 * HOUR)


def test_a_month_is_not_final_without_its_last_period(cloud):
    cloud.change('b', last_processed_timestamp=LAST - HOUR)

    answer = cloud.examine()

    assert (answer.is_final, answer.not_final, answer.rated_until) == (False, 1, LAST)
    assert cloud.state('b').state == 'waiting'


def test_a_scope_that_waits_for_the_source_tells_what_for(cloud):
    cloud.change('b', **BEHIND)
    cloud.change('c', last_processed_timestamp=LAST - 9 * HOUR)
    lag = source_lag.Lag(source_lag.HELD, LAST - 4 * HOUR, LAST, NOW)
    cloud.database.write(
        lambda connection: source_lag.record(
            connection, IDENTITY, {'cpu': lag}, newest={}, defined=['cpu']
        )
    )

    assert cloud.state('b') == (
        'held',
        'metric cpu: the source has no data after 2026-10-31T19:00:00+00:00',
        NOW,
    )
    assert cloud.state('c').state == 'waiting'
    assert cloud.examine().lagging == {'cpu': lag}


def test_what_is_ordered_makes_a_month_not_final(cloud):
    """A reset to a time in it, and periods of it that are to be rated again."""
    keys = {entry.scope.scope_id: entry.scope.id for entry in cloud.examine().entries}

    def change(connection):
        resets.order(connection, [keys['a']], LAST - HOUR, now=NOW)
        resets.order(connection, [keys['b']], LAST, now=NOW)
        for name, window in (
            ('c', Period(LAST - 2 * HOUR, LAST)),
            ('d', Period(MONTH.begin - HOUR, MONTH.begin)),
        ):
            scope_reprocessing.create(
                connection, [name], identity=IDENTITY, window=window, reason='new prices'
            )

    cloud.database.write(change)

    answer = cloud.examine()

    assert {entry.scope.scope_id: entry.status[:2] for entry in answer.entries} == {
        'a': ('reset', 'it is to be set back to 2026-10-31T22:00:00+00:00'),
        'b': ('final', ''),
        'c': ('again', 'periods are to be rated again: new prices'),
        'd': ('final', ''),
    }
    assert not answer.is_final


def test_a_dry_run_changes_nothing_about_a_month(cloud):
    cloud.database.write(
        lambda connection: scope_reprocessing.create(
            connection,
            ['c'],
            identity=IDENTITY,
            window=Period(LAST - 2 * HOUR, LAST),
            reason='x',
            is_dry_run=True,
        )
    )

    assert cloud.examine().is_final


def test_a_page_of_scopes(cloud):
    cloud.change('c', **BEHIND)

    page = cloud.examine(offset=1, limit=2)

    assert [entry.scope.scope_id for entry in page.entries] == ['b', 'c']
    assert (page.total, page.not_final) == (4, 1)
    first = cloud.examine(limit=1)
    assert (first.total, first.not_final, first.is_final) == (4, 1, False)
    rest = cloud.examine(is_final=True, offset=1)
    assert ([entry.scope.scope_id for entry in rest.entries], rest.total) == (['b', 'd'], 3)


def test_periods_that_were_rated_without_all_data_are_told(cloud):
    """In the span, of the scope; it is not final until somebody accepts that."""
    key = cloud.examine(scope_ids=['b']).entries[0].scope.id
    inside = late_data.Note(key, LAST - HOUR, MONTH.end, 'no data of cpu')
    cloud.database.write(
        lambda connection: late_data.record(
            connection,
            [inside, late_data.Note(key, MONTH.begin - 3 * HOUR, MONTH.begin, 'no data of cpu')],
        )
    )

    answer = cloud.examine()

    assert (answer.is_final, answer.not_final) == (False, 1)
    assert [entry.late for entry in answer.entries] == [[], [inside], [], []]
    assert cloud.state('b') == completeness.Status(
        completeness.GAP,
        'rated with no data of cpu, from 2026-10-31T22:00:00+00:00 to 2026-11-01T00:00:00+00:00; '
        'rate it again, or accept it',
        LAST - HOUR,
    )
    cloud.accept(LAST - HOUR, MONTH.end)
    answer = cloud.examine()
    assert answer.is_final
    assert [(gap.metric, gap.state) for gap in answer.gaps] == [('cpu', 'accepted')]


def test_a_scope_waits_for_a_hole(cloud):
    """Those that are past it do not."""
    cloud.change('b', last_processed_timestamp=LAST - 2 * HOUR)
    hole = source_gaps.Gap('cpu', LAST - HOUR, LAST, source_gaps.HELD, 'a sign')
    cloud.database.write(
        lambda connection: source_gaps.record(connection, IDENTITY, {'cpu': [hole]}, MONTH)
    )

    assert cloud.state('b').state == completeness.HELD
    assert 'no samples from 2026-10-31T22:00:00+00:00' in cloud.state('b').reason
    assert cloud.state('a').state == completeness.FINAL


def test_collectors_that_cannot_tell_are_named(cloud, monkeypatch):
    """Drivers of other packages may lack the method."""
    assert cloud.examine().not_measured == []
    monkeypatch.delattr(FileCollector, 'coverage')
    cloud.conf.set_override('collector', 'file', 'collect')

    assert cloud.examine().not_measured == ['file']


def test_ranges_without_anything_stored(cloud):
    """Up to where the scope is rated, whatever other scopes have."""
    cloud.change('b', last_processed_timestamp=MONTH.begin + 9 * HOUR)
    storage = sql.SQLStorage(cloud.conf)
    for scope_id, hours in (('a', range(12)), ('b', (1, 2, 6))):
        for hour in hours:
            begin = MONTH.begin + hour * HOUR
            storage.push(
                [
                    DataFrame(
                        begin,
                        begin + HOUR,
                        {'cpu': [DataPoint('x', '1', '1', {'project_id': scope_id}, {})]},
                    )
                ],
                scope_id,
            )
    (entry,) = cloud.examine(scope_ids=['b']).entries

    def hours(window):
        return [
            tuple((instant - MONTH.begin) // HOUR for instant in span)
            for span in completeness.list_empty(storage, cloud.conf, entry, window)
        ]

    assert hours(MONTH) == [(0, 1), (3, 6), (7, 10)]
    assert hours(Period(MONTH.begin + 4 * HOUR, MONTH.begin + 8 * HOUR)) == [(4, 6), (7, 8)]
    assert hours(Period(MONTH.end, MONTH.end + HOUR)) == []
    storage.database.engine.dispose()


def test_hours_in_which_a_scope_was_off_are_no_empty_range(cloud):
    """Nothing of them was to be rated."""
    key = cloud.examine(scope_ids=['b']).entries[0].scope.id
    cloud.database.write(
        lambda connection: inactive_time.add(
            connection, key, MONTH.begin + 2 * HOUR, MONTH.begin + 5 * HOUR
        )
    )
    storage = sql.SQLStorage(cloud.conf)
    (entry,) = cloud.examine(scope_ids=['b']).entries

    found = completeness.list_empty(
        storage, cloud.conf, entry, Period(MONTH.begin, MONTH.begin + 9 * HOUR)
    )

    assert [[(at - MONTH.begin) // HOUR for at in span] for span in found] == [[0, 2], [5, 9]]
    storage.database.engine.dispose()


def test_the_hours_of_a_long_span_are_all_looked_at(cloud):
    """More of them than a page of sums has."""
    cloud.change('b', last_processed_timestamp=MONTH.begin + 1200 * HOUR)
    storage = sql.SQLStorage(cloud.conf)
    point = DataPoint('x', '1', '1', {'project_id': 'b'}, {})
    storage.push(
        [
            DataFrame(MONTH.begin + hour * HOUR, MONTH.begin + (hour + 1) * HOUR, {'cpu': [point]})
            for hour in range(1100)
        ],
        'b',
    )
    (entry,) = cloud.examine(scope_ids=['b']).entries

    window = Period(MONTH.begin, MONTH.begin + 1100 * HOUR)
    assert completeness.list_empty(storage, cloud.conf, entry, window) == []
    storage.database.engine.dispose()
