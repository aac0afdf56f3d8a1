"""Shards with replicas: a replica that lags or dies changes no answer."""

import itertools

import pytest

from cloudkitty import errors
from cloudkitty.storage import http
from cloudkitty.storage.v2.clickhouse import ClickHouseStorage
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.tests import services
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point, totals
from cloudkitty.tests.drivers.storage import clickhouse_dialect

pytestmark = pytest.mark.xdist_group('clickhouse_cluster')
NUMBERS = itertools.count()
SCOPES = ('a', 'b', 'c')
RECOVERY_S = 60


@pytest.fixture
def open_storage(clickhouse_cluster, conf, database, monkeypatch):
    """Return a function that opens a storage whose shards have the replicas in this order.

    Its other options hold for those that were opened before, too.
    """
    monkeypatch.setattr(http, 'BACKOFF_S', 0)
    name, opened = f'test_{next(NUMBERS)}', []
    conf.register_opts(ClickHouseStorage.OPTS, group=ClickHouseStorage.GROUP)

    def open_(*order, **options):
        for option, value in {
            'shards': [[shard[place].url for place in order] for shard in clickhouse_cluster],
            'database': name,
            'replicated': True,
            'timeout': 2,
            'insert_quorum': 0,
            'sync_before_read': True,
            **options,
        }.items():
            conf.set_override(option, value, ClickHouseStorage.GROUP)
        storage = ClickHouseStorage(conf)
        clickhouse_dialect.adapt(storage)
        opened.append(storage)
        return storage

    yield open_
    for storage in opened:
        storage.database.engine.dispose()


def push(storage, hour, scopes=SCOPES):
    for scope in scopes:
        storage.push([frame(MAY + hour * HOUR, {'cpu': [point(scope, 1, hour)]})], scope)


def everywhere(storage, statement):
    for body in storage.body.all:
        for table in ('frames', 'days', 'series'):
            body.client.execute_everywhere(f'{statement} {body.database}.{table}')


def test_a_replica_that_lags_gives_no_answer(open_storage):
    """Nor does it write what it has as gone, or its sums; another one that has all answers."""
    storage = open_storage(0, 1)
    storage.body.create()
    push(storage, 1)
    lagging = open_storage(1)
    assert totals(lagging, ['project_id']) == [(scope, 1, 1) for scope in SCOPES]

    everywhere(lagging, 'SYSTEM STOP FETCHES')
    push(storage, 2)
    storage.delete(MAY, MAY + 2 * HOUR, {'project_id': 'a'})
    expected = [('a', 1, 2), ('b', 2, 3), ('c', 2, 3)]

    assert totals(storage, ['project_id']) == expected
    (ticket,) = storage._writer.begin([storage._numbers(SCOPES).values()])
    where = Where(MAY, JUNE, sorted(ticket.states))
    for ask in (
        lambda: lagging.body.insert_removal(ticket, where),
        lambda: lagging.body.insert_days(ticket, where),
        lambda: totals(lagging, ['project_id']),
        lambda: lagging.retrieve(MAY, JUNE),
        lambda: lagging.count_pushed(SCOPES, MAY),
    ):
        with pytest.raises(errors.DatabaseAway):
            ask()
    assert totals(open_storage(1, 0), ['project_id']) == expected
    # It does lag: without being brought up to date it would have given another answer.
    hasty = open_storage(1, sync_before_read=False)
    assert totals(hasty, ['project_id']) == [(scope, 1, 1) for scope in SCOPES]

    everywhere(lagging, 'SYSTEM START FETCHES')
    assert totals(open_storage(1, timeout=RECOVERY_S), ['project_id']) == expected


def test_usage_is_stored_while_a_replica_is_away(open_storage, clickhouse_cluster):
    """Its successor has all, and so has the one that comes back."""
    storage = open_storage(0, 1)
    storage.body.create()
    push(storage, 1)
    assert totals(open_storage(1, timeout=RECOVERY_S), []) == [(3, 3)]
    for shard in clickhouse_cluster:
        shard[0].kill()
    try:
        push(storage, 2)
        assert totals(storage, []) == [(6, 9)]
    finally:
        for shard in clickhouse_cluster:
            shard[0].start()

    services.wait_until(
        lambda: _answer(open_storage(0)) == [(6, 9)],
        deadline_s=RECOVERY_S,
        what='the replicas that were away',
    )


def test_a_quorum_that_is_not_there_stores_nothing(open_storage, clickhouse_cluster):
    """With two replicas of two, and one of them away; later it is stored once."""
    storage = open_storage(0, 1, insert_quorum=2)
    storage.body.create()
    push(storage, 1, 'a')
    for shard in clickhouse_cluster:
        shard[1].kill()
    try:
        with pytest.raises(errors.DatabaseAway):
            push(storage, 2, 'a')
        assert totals(storage, []) == [(1, 1)]
    finally:
        for shard in clickhouse_cluster:
            shard[1].start()

    services.wait_until(
        lambda: _is_stored(storage), deadline_s=RECOVERY_S, what='the quorum to be there again'
    )
    assert totals(open_storage(1, timeout=RECOVERY_S), []) == [(2, 3)]


def _answer(storage):
    try:
        return totals(storage, [])
    except errors.DatabaseAway:
        return None


def _is_stored(storage):
    try:
        push(storage, 2, 'a')
    except errors.DatabaseAway:
        return False
    return True
