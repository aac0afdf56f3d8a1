"""Three MariaDB servers that are one Galera cluster: any of them may be written to, or die."""

import contextlib
import pathlib
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import v2
from cloudkitty.storage.v2 import sql
from cloudkitty.storage.v2.series.cells import Cell, parts_of
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.sql.writer import Writer
from cloudkitty.tests import databases, services

pytestmark = pytest.mark.xdist_group('galera')

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fetcher', 'collector')
SCOPES = [f'scope-{number}' for number in range(8)]
PERIODS = 60
PRICE = Decimal('0.0123')


@pytest.fixture(scope='module')
def cluster():
    """The nodes; the database has the schema, made over the first of them."""
    # Not in tmp_path, which is private to root.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        with databases.galera(folder / 'galera') as nodes:
            engine = sa.create_engine(nodes[0].url)
            with engine.begin() as connection:
                connection.execute(sa.text('CREATE DATABASE ck'))
            engine.dispose()
            with opened(nodes[0]) as store:
                store.init()
            yield nodes


@contextlib.contextmanager
def opened(node, **database):
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', f'{node.url}/ck', 'database')
    for name, value in database.items():
        conf.set_override(name, value, 'database')
    store = sql.SQLStorage(conf)
    yield store
    store.database.close()


@pytest.fixture(autouse=True)
def empty(cluster):
    with opened(cluster[0]) as store, store.database.writer() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))
    wait_for_all(cluster)


def wait_for_all(nodes):
    """Return when every node has applied what the others wrote."""
    newest = max(int(node.status('last_committed')) for node in nodes)
    services.wait_until(
        lambda: all(int(node.status('last_committed')) >= newest for node in nodes),
        deadline_s=30,
        what='all nodes',
    )


def frame(scope, hour, price=PRICE):
    begin = MAY + hour * HOUR
    return DataFrame(
        begin,
        begin + HOUR,
        {
            'cpu': [
                DataPoint('u', 1, price, {'project_id': scope, 'id': f'{scope}-{number}'}, {})
                for number in range(3)
            ]
        },
    )


def run(*works):
    """Run functions at once; return when all are done."""
    failures = []

    def safely(work):
        try:
            work()
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=safely, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def content(node):
    """Return what a node says of all scopes."""
    with opened(node) as store:
        return content_of(store)


def content_of(store):
    """Return sums, the same by roll-ups and by points, marks, and the number of frames."""
    by_scope = {
        row['project_id']: (row['qty'], row['rate'])
        for row in store.total(['project_id'], MAY, JUNE)['results']
    }
    by_points = {}
    for part in store.retrieve(MAY, JUNE, paginate=False)['dataframes']:
        for _, point in part:
            qty, price = by_points.get(point.groupby['project_id'], (0, 0))
            by_points[point.groupby['project_id']] = (qty + point.qty, price + point.price)
    with store.database.reader() as connection:
        marks = {one.scope_id: one.mark for one in scope_state.list_scopes(connection)[1]}
        frames = connection.scalar(sa.select(sa.func.count()).select_from(tables.rated_frames))
    assert by_scope == by_points
    return by_scope, marks, frames


def test_conflicts_between_nodes_lose_nothing(cluster):
    """Two nodes change the same frames and the same sums; one of two that collide tries again."""

    def push(node, hours):
        def work():
            with opened(node) as store:
                for hour in hours:
                    # A period of its own, and one that both replace all the time.
                    store.push([frame('same', hour), frame('same', 23, Decimal(hour))], 'same')

        return work

    run(push(cluster[0], range(0, 22, 2)), push(cluster[1], range(1, 22, 2)))

    wait_for_all(cluster)
    found = [content(node) for node in cluster]
    assert found[0] == found[1] == found[2]
    ((qty, price),) = found[0][0].values()
    assert qty == 23 * 3
    # The last one of either stands.
    assert price - 22 * 3 * PRICE in (20 * 3, 21 * 3)
    assert (
        sum(
            int(node.status(name))
            for node in cluster
            for name in ('local_cert_failures', 'local_bf_aborts')
        )
        > 0
    )


def test_what_another_node_wrote_meanwhile_is_not_overwritten(cluster):
    """It is applied after our transaction began to read: ours fails and is tried again."""
    with opened(cluster[0]) as other, opened(cluster[1]) as store:
        store.push([frame('same', 0), frame('same', 1)], 'same')
        wait_for_all(cluster)
        tries = []
        with store.database.reader() as connection:
            numbers = store.id_cache.find_scopes(connection, ['same']).values()

        def change(connection):
            writer = Writer(connection, store.id_cache)
            writer.lock(numbers)
            connection.execute(sa.select(tables.rated_days)).all()
            tries.append(connection)
            if len(tries) == 1:
                other.delete(MAY, MAY + HOUR, {'project_id': 'same'})
                wait_for_all(cluster)
            writer.store(parts_of([Cell('same', RATED, frame('same', 0))]))

        store.database.write(change)

    wait_for_all(cluster)
    assert len(tries) == 2
    assert content(cluster[2])[0] == {'same': (6, 6 * PRICE)}


def test_reports_are_read_from_the_replica(cluster):
    """Sums and points come from there; what is stored goes to the database itself."""
    with opened(cluster[0], slave_connection=f'{cluster[1].url}/ck') as store:
        store.push([frame('same', 0)], 'same')
        wait_for_all(cluster)
        name = sa.text('SELECT @@wsrep_node_address')

        with store.database.replica() as connection:
            assert connection.scalar(name) == f'127.0.0.1:{cluster[1].ports[0]}'
        with store.database.reader() as connection:
            assert connection.scalar(name) == f'127.0.0.1:{cluster[0].ports[0]}'
        assert content_of(store)[0] == {'same': (3, 3 * PRICE)}


def test_workers_on_three_nodes_and_one_dies(cluster):
    """What is stored twice by the marks' rule is stored once; the dead node comes back whole."""
    with opened(cluster[0]) as store, store.database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, SCOPES, now=MAY, initial_mark=MAY - HOUR, final_mark=MAY
        )
    half = threading.Event()

    def work(node):
        def rate():
            with opened(node) as store:
                while not _rate_next(store, half):
                    pass

        return rate

    def kill():
        assert half.wait(60)
        cluster[2].kill()
        cluster[2].start()

    run(work(cluster[0]), work(cluster[1]), work(cluster[2]), kill)

    wait_for_all(cluster)
    found = [content(node) for node in cluster]
    assert found[0] == found[1] == found[2]
    assert found[0] == (
        dict.fromkeys(SCOPES, (PERIODS * 3, PERIODS * 3 * PRICE)),
        dict.fromkeys(SCOPES, MAY + (PERIODS - 1) * HOUR),
        len(SCOPES) * PERIODS,
    )


def _rate_next(store, half):
    """Commit the next two periods of every scope, as a worker would; say whether all are done."""
    try:
        with store.database.reader() as connection:
            found = scope_state.list_scopes(connection)[1]
        due = [one for one in found if one.mark < MAY + (PERIODS - 1) * HOUR]
        if due:
            store.commit(
                [
                    v2.ScopeBatch(
                        one.id,
                        one.scope_id,
                        one.mark,
                        one.mark + 2 * HOUR,
                        [frame(one.scope_id, (one.mark - MAY) // HOUR + step) for step in (1, 2)],
                    )
                    for one in due
                ]
            )
    # The node is not there, for longer than a transaction is tried again.
    except (db_exception.DBConnectionError, db_exception.DBDeadlock):
        return False
    if any(one.mark >= MAY + PERIODS // 3 * HOUR for one in found):
        half.set()
    return not due
