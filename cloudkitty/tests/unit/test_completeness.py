"""Whether a span is final, and what keeps it from being so."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import completeness
from cloudkitty.completeness import Question
from cloudkitty.dataframe import DataFrame, DataPoint
from cloudkitty.db import lags, models, notes, reprocess, resets, scopes
from cloudkitty.storage.v2 import sql
from cloudkitty.timeframe import Period, to_naive

HOUR = timedelta(hours=1)
MONTH = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
LAST = MONTH.end - HOUR
NOW = MONTH.end + 3 * HOUR
IDENTITY = scopes.Identity('project_id', 'keystone', 'gnocchi')


class Cloud:
    """Scopes that are rated to the end of October; the fetcher was asked afterwards."""

    def __init__(self, conf, database):
        self.conf, self.database = conf, database
        self.see(IDENTITY, 'abcd', LAST)
        self.see(IDENTITY._replace(collector='other'), 'xyz', MONTH.begin)
        self.fetched(NOW)

    def see(self, identity, names, mark):
        self.database.write(lambda connection: scopes.record_seen(
            connection, identity, names, now=NOW, initial_mark=mark, final_mark=NOW))

    def fetched(self, instant):
        with self.database.writer() as connection:
            connection.execute(sa.delete(models.fetches))
            scopes.claim_fetch(connection, IDENTITY, seen=None, now=instant)

    def change(self, name, **values):
        with self.database.writer() as connection:
            connection.execute(sa.update(models.scopes).where(
                models.scopes.c.identifier == name).values(**{
                    key: to_naive(value) if isinstance(value, datetime) else value
                    for key, value in values.items()}))

    def examine(self, window=MONTH, **question):
        with self.database.reader() as connection:
            return completeness.examine(connection, self.conf, Question(window, **question))

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
        True, '', MONTH.end, 0, 4)
    assert {entry.rated_until for entry in answer.entries} == {MONTH.end}
    assert cloud.examine(is_final=False).entries == []


def test_a_month_that_is_not_over_is_not_final(cloud):
    cloud.fetched(LAST)

    answer = cloud.examine()

    assert (answer.is_final, answer.not_final, answer.rated_until) == (False, 0, LAST)
    assert answer.reason == (
        'the fetcher was asked last 2026-10-31T23:00:00+00:00, before the end '
        '2026-11-01T00:00:00+00:00: scopes may turn up')
    assert cloud.examine(Period(MONTH.begin, LAST)).is_final


def test_nobody_knows_before_the_fetcher_was_asked(conf, database):
    with database.reader() as connection:
        answer = completeness.examine(connection, conf, Question(MONTH))

    assert (answer.is_final, answer.rated_until, answer.total) == (False, None, 0)


BEHIND = {'last_processed_timestamp': LAST - 5 * HOUR}


@pytest.mark.parametrize('values, expected', [
    ({}, 'final'),
    (BEHIND, 'waiting'),
    (BEHIND | {'failure_reason': 'broken', 'failing_since': NOW}, 'failed'),
    ({'failure_reason': 'broken', 'failing_since': NOW}, 'final'),
    (BEHIND | {'final_mark': LAST - 5 * HOUR}, 'final'),
    (BEHIND | {'final_mark': LAST - 4 * HOUR}, 'waiting'),
    (BEHIND | {'active': False, 'scope_activation_toggle_date': LAST - 4 * HOUR}, 'final'),
    (BEHIND | {'active': False, 'scope_activation_toggle_date': LAST - 3 * HOUR}, 'inactive'),
])
def test_what_keeps_a_scope_from_being_final(cloud, values, expected):
    """What was rated, what is gone and what is off need nothing more."""

    cloud.change('b', **{'active': True, **values})

    assert cloud.state('b').state == expected
    answer = cloud.examine()
    assert (answer.is_final, answer.not_final) == (expected == 'final', int(expected != 'final'))
    assert [entry.scope.scope_id for entry in cloud.examine(is_final=False).entries] == (
        [] if expected == 'final' else ['b'])
    assert answer.rated_until == (MONTH.end if expected == 'final' else LAST - 4 * HOUR)


def test_a_scope_that_waits_for_the_source_tells_what_for(cloud):
    cloud.change('b', **BEHIND)
    cloud.change('c', last_processed_timestamp=LAST - 9 * HOUR)
    lag = lags.Lag(lags.HELD, LAST - 4 * HOUR, LAST, NOW)
    cloud.database.write(lambda connection: lags.record(
        connection, IDENTITY, {'cpu': lag}, newest={}, defined=['cpu']))

    assert cloud.state('b') == (
        'held', 'metric cpu: the source has no data after 2026-10-31T19:00:00+00:00', NOW)
    assert cloud.state('c').state == 'waiting'
    assert cloud.examine().lagging == {'cpu': lag}


def test_what_is_ordered_makes_a_month_not_final(cloud):
    """A reset to a time in it, and periods of it that are to be rated again."""
    keys = {entry.scope.scope_id: entry.scope.id for entry in cloud.examine().entries}

    def change(connection):
        resets.order(connection, [keys['a']], LAST - HOUR, now=NOW)
        resets.order(connection, [keys['b']], LAST, now=NOW)
        for name, window in (('c', Period(LAST - 2 * HOUR, LAST)),
                             ('d', Period(MONTH.begin - HOUR, MONTH.begin))):
            reprocess.create(connection, [name], window=window, reason='new prices')
    cloud.database.write(change)

    answer = cloud.examine()

    assert {entry.scope.scope_id: entry.status[:2] for entry in answer.entries} == {
        'a': ('reset', 'it is to be set back to 2026-10-31T22:00:00+00:00'), 'b': ('final', ''),
        'c': ('again', 'periods are to be rated again: new prices'), 'd': ('final', '')}
    assert not answer.is_final


def test_a_page_of_scopes(cloud):
    cloud.change('c', **BEHIND)

    page = cloud.examine(offset=1, limit=2)

    assert [entry.scope.scope_id for entry in page.entries] == ['b', 'c']
    assert (page.total, page.not_final) == (4, 1)
    rest = cloud.examine(is_final=True, offset=1)
    assert ([entry.scope.scope_id for entry in rest.entries], rest.total) == (['b', 'd'], 3)


def test_periods_that_were_rated_without_all_data_are_told(cloud):
    """In the span, of the scope; the scope is final all the same."""
    key = cloud.examine(scope_ids=['b']).entries[0].scope.id
    inside = notes.Note(key, LAST - HOUR, MONTH.end, 'no data of cpu')
    cloud.database.write(lambda connection: notes.record(connection, [
        inside, notes.Note(key, MONTH.begin - 3 * HOUR, MONTH.begin, 'no data of cpu')]))

    answer = cloud.examine()

    assert answer.is_final
    assert [entry.late for entry in answer.entries] == [[], [inside], [], []]


def test_ranges_without_anything_stored(cloud):
    """Up to where the scope is rated, whatever other scopes have."""
    cloud.change('b', last_processed_timestamp=MONTH.begin + 9 * HOUR)
    storage = sql.SQLStorage(cloud.conf)
    for scope_id, hours in (('a', range(12)), ('b', (1, 2, 6))):
        for hour in hours:
            begin = MONTH.begin + hour * HOUR
            storage.push([DataFrame(begin, begin + HOUR, {'cpu': [
                DataPoint('x', '1', '1', {'project_id': scope_id}, {})]})], scope_id)
    (entry,) = cloud.examine(scope_ids=['b']).entries

    def hours(window):
        return [tuple((instant - MONTH.begin) // HOUR for instant in span)
                for span in completeness.list_empty(storage, cloud.conf, entry, window)]

    assert hours(MONTH) == [(0, 1), (3, 6), (7, 10)]
    assert hours(Period(MONTH.begin + 4 * HOUR, MONTH.begin + 8 * HOUR)) == [(4, 6), (7, 8)]
    assert hours(Period(MONTH.end, MONTH.end + HOUR)) == []
    storage.database.engine.dispose()
