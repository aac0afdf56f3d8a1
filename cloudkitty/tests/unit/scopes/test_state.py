"""The table of scopes, on every database."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state

HOUR = timedelta(hours=1)
NOW = datetime(2024, 5, 20, 12, 30, tzinfo=UTC)
START = datetime(2024, 4, 30, 23, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
OTHER = scope_state.Identity('namespace', 'source', 'prometheus')


def _see(database, scope_ids, identity=IDENTITY, now=NOW):
    return database.write(
        lambda connection: scope_state.record_seen(
            connection, identity, scope_ids, now=now, initial_mark=START, final_mark=now - HOUR
        )
    )


def _all(database, **filters):
    with database.reader() as connection:
        return scope_state.list_scopes(connection, **filters)[1]


def _due(database, now=NOW):
    with database.reader() as connection:
        return scope_state.find_due(connection, IDENTITY, now=now, mark_max=now - 3 * HOUR)


def test_a_new_scope_starts_at_the_initial_mark(any_database):
    assert _see(any_database, ['b', 'a', 'a', 'é', 'A']) == (4, 0, 0)

    assert [scope.scope_id for scope in _all(any_database)] == ['A', 'a', 'b', 'é']
    scope = _all(any_database, scope_id=['a'])[0]
    assert scope == scope_state.Scope(
        id=scope.id,
        scope_id='a',
        scope_key='project_id',
        fetcher='source',
        collector='prometheus',
        mark=START,
        toggled_at=NOW,
        active=True,
    )


def test_a_scope_that_vanishes_gets_an_end_and_loses_it_when_it_returns(any_database):
    _see(any_database, ['a', 'b'])

    assert _see(any_database, ['b', 'c'], now=NOW + HOUR) == (1, 1, 0)
    assert [scope.final_mark for scope in _all(any_database)] == [NOW, None, None]
    assert _see(any_database, ['b'], now=NOW + 2 * HOUR) == (0, 1, 0)
    assert [scope.final_mark for scope in _all(any_database)] == [NOW, None, NOW + HOUR]
    assert _see(any_database, ['a', 'b', 'c']) == (0, 0, 2)
    assert [scope.final_mark for scope in _all(any_database)] == [None] * 3


def test_identities_do_not_mix(any_database):
    _see(any_database, ['a'])
    _see(any_database, ['a'], identity=OTHER)

    assert _see(any_database, [], identity=OTHER) == (0, 1, 0)
    assert [(scope.scope_key, scope.final_mark is None) for scope in _all(any_database)] == [
        ('project_id', True),
        ('namespace', False),
    ]


def test_rows_that_have_only_a_name_are_completed(any_database):
    """The most advanced of them is; the others, and those not in use, stay as they are."""
    marks = {'a': [START + HOUR, START + 5 * HOUR, START], 'b': [START], 'gone': [START]}
    with any_database.writer() as connection:
        connection.execute(
            sa.insert(tables.scopes),
            [
                {
                    'identifier': name,
                    'last_processed_timestamp': timeframe.to_naive(mark),
                    'active': True,
                }
                for name, found in marks.items()
                for mark in found
            ],
        )
    _see(any_database, ['b', 'c'])

    assert _see(any_database, ['a', 'b', 'c']) == (0, 0, 0)
    complete = {scope.scope_id: scope.mark for scope in _all(any_database, fetcher=['source'])}
    assert complete == {'a': START + 5 * HOUR, 'b': START, 'c': START}
    assert len(_all(any_database)) == 6


def test_lists_are_filtered_and_paged(any_database):
    _see(any_database, [f's{n}' for n in range(5)])
    _see(any_database, ['s1'], identity=OTHER)

    with any_database.reader() as connection:
        total, page = scope_state.list_scopes(
            connection, scope_key=['project_id'], active=[True], offset=1, limit=2
        )
        assert scope_state.list_scopes(connection, active=[False]) == (0, [])
        assert scope_state.list_scopes(connection, scope_id=['s1'])[0] == 2
        assert (
            scope_state.list_scopes(
                connection,
                scope_id=['s1'],
                scope_key=['namespace'],
                fetcher=['source'],
                collector=['prometheus'],
            )[0]
            == 1
        )

    assert total == 5
    assert [scope.scope_id for scope in page] == ['s1', 's2']
    with any_database.reader() as connection:
        assert scope_state.get_scopes(connection, [page[0].id, 999]) == [page[0]]


def test_due_scopes_and_what_comes_next(any_database):
    """Due: active, mark far enough behind, not held back, not at its end."""
    _see(any_database, ['due', 'soon', 'later', 'held', 'idle', 'rested', 'leaving'])
    key = {scope.scope_id: scope.id for scope in _all(any_database)}
    with any_database.writer() as connection:
        scope_state.advance(
            connection,
            {key['due']: NOW - 3 * HOUR, key['soon']: NOW - 2 * HOUR, key['later']: NOW - HOUR},
        )
        scope_state.record_failure(
            connection, {key['held']: START}, 'why', now=NOW, retry_at=NOW + timedelta(minutes=1)
        )
        connection.execute(
            sa.update(tables.scopes)
            .where(tables.scopes.c.identifier == 'idle')
            .values(active=False)
        )
        for name, final in (('rested', START), ('leaving', START + HOUR)):
            connection.execute(
                sa.update(tables.scopes)
                .where(tables.scopes.c.identifier == name)
                .values(final_mark=timeframe.to_naive(final))
            )

    found = _due(any_database)

    assert [name for _, name in found.scopes] == ['due', 'leaving']
    assert found.scopes[0][0] == key['due']
    assert found.next_mark == NOW - 2 * HOUR
    assert found.next_retry_at == NOW + timedelta(minutes=1)
    assert {name for _, name in _due(any_database, NOW + HOUR).scopes} == {
        'due',
        'leaving',
        'held',
        'soon',
    }


def test_due_scopes_are_those_of_one_kind(any_database):
    """Scopes of another scope key, fetcher or collector are somebody else's, also those to come."""
    _see(any_database, ['ours'])
    for name, value in (('scope_key', 'x'), ('fetcher', 'y'), ('collector', 'z')):
        _see(any_database, ['theirs'], identity=IDENTITY._replace(**{name: value}))

    assert [name for _, name in _due(any_database).scopes] == ['ours']
    (ours,) = _all(any_database, scope_id=['ours'])
    with any_database.writer() as connection:
        scope_state.advance(connection, {ours.id: NOW})
    assert _due(any_database) == ([], NOW, None)


def test_nothing_is_due_in_an_empty_table(any_database):
    assert _due(any_database) == ([], None, None)


def test_a_failure_is_kept_until_the_mark_moves(any_database):
    """With the times of the first and the last."""
    _see(any_database, ['a', 'b'])
    keys = [scope.id for scope in _all(any_database)]
    for count in (1, 2):
        with any_database.writer() as connection:
            scope_state.record_failure(
                connection,
                dict.fromkeys(keys, START),
                f'reason {count}',
                now=NOW + count * HOUR,
                retry_at=NOW + count * HOUR,
            )
    with any_database.writer() as connection:
        assert scope_state.lock_marks(connection, keys) == dict.fromkeys(keys, START)
        scope_state.advance(connection, {keys[0]: START + HOUR})

    well, held = _all(any_database)
    assert (
        well.mark,
        well.failure_count,
        well.failure_reason,
        well.failed_at,
        well.retry_at,
        well.failing_since,
    ) == (START + HOUR, None, None, None, None, None)
    assert (
        held.mark,
        held.failure_count,
        held.failure_reason,
        held.failed_at,
        held.retry_at,
        held.failing_since,
    ) == (START, 2, 'reason 2', NOW + 2 * HOUR, NOW + 2 * HOUR, NOW + HOUR)


def test_a_failure_is_not_kept_of_a_scope_that_went_on(any_database):
    """A worker that was frozen fails where another one did not."""
    _see(any_database, ['a', 'b'])
    gone_on, stands = (scope.id for scope in _all(any_database))
    with any_database.writer() as connection:
        scope_state.advance(connection, {gone_on: START + HOUR})
        scope_state.record_failure(
            connection, {gone_on: START, stands: START}, 'why', now=NOW, retry_at=NOW + HOUR
        )

    assert [scope.failure_count for scope in _all(any_database)] == [None, 1]


def test_one_worker_records_a_fetch(any_database):
    """Of two that saw the same state, the second is refused."""

    def claim(seen, now):
        return any_database.write(
            lambda connection: scope_state.claim_fetch(connection, IDENTITY, seen=seen, now=now)
        )

    assert claim(None, NOW) is True
    assert claim(None, NOW) is False
    assert claim(NOW, NOW + HOUR) is True
    assert claim(NOW, NOW + HOUR) is False
    with any_database.reader() as connection:
        assert scope_state.last_fetch(connection, IDENTITY) == NOW + HOUR
        assert scope_state.last_fetch(connection, OTHER) is None


@pytest.mark.parametrize('count', [2500])
def test_any_number_of_scopes_takes_few_statements(database, count):
    names = [f'scope-{n}' for n in range(count)]
    statements = []
    sa.event.listen(
        database.engine, 'before_cursor_execute', lambda *args: statements.append(args[2])
    )

    assert _see(database, names).added == count
    assert len(statements) < 10
    statements.clear()
    assert _see(database, names) == (0, 0, 0)
    assert len(statements) < 5
    assert _see(database, []).vanished == count


@pytest.mark.parametrize(
    'scope_id, expected',
    [
        ('a', True),
        ('x' * 256, True),
        ('é' * 256, True),
        ('x' * 257, False),
        ('', False),
        ('a\x00b', False),
        ('\udc80', False),
        (7, False),
        (None, False),
    ],
)
def test_an_id_that_no_table_can_hold_is_known_before(scope_id, expected):
    assert scope_state.is_storable(scope_id) is expected


def test_shards_are_stable_and_even():
    """A scope keeps its shard in every process; no shard gets much more than its part."""
    assert scope_state.shard_of('project-é', 16) == 12
    sizes = [0] * 16
    for n in range(16000):
        sizes[scope_state.shard_of(f'{n:032x}', 16)] += 1
    assert 800 < min(sizes) <= max(sizes) < 1200
