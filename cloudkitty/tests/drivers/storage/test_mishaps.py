"""What goes wrong below a store: nothing is half-written, and what may be tried again is."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables
from cloudkitty.storage.v2.sql import SQLStorage

MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SERVERS = pytest.mark.parametrize('any_conf', ['postgresql', 'mariadb'], indirect=True)
KILL = {
    'postgresql': ('SELECT pg_backend_pid()', 'SELECT pg_terminate_backend({})'),
    'mysql': ('SELECT connection_id()', 'KILL {}'),
}


@pytest.fixture
def storage(any_database, any_conf):
    opened = SQLStorage(any_conf)
    yield opened
    opened.database.engine.dispose()


def frames(count, project='a'):
    return [
        DataFrame(
            MAY + hour * HOUR,
            MAY + (hour + 1) * HOUR,
            {
                'cpu': [
                    DataPoint(
                        'u', 1, Decimal('0.5'), {'project_id': project, 'id': f'{hour}-{n}'}, {}
                    )
                    for n in range(20)
                ]
            },
        )
        for hour in range(count)
    ]


def content(storage):
    """Return the number of points and the price, by roll-ups and by points."""
    rows = storage.total([], MAY, JUNE)['results']
    cut = storage.total([], MAY - HOUR / 2, JUNE)['results']
    assert [row['rate'] for row in rows] == [row['rate'] for row in cut]
    return (storage.retrieve(MAY, JUNE, limit=1)['total'], sum(row['rate'] for row in rows))


@pytest.mark.parametrize('any_conf', ['sqlite'], indirect=True)
def test_a_full_disk_leaves_what_was_there(storage):
    """The error names the cause, and once there is room the same push goes through."""
    storage.push(frames(1), 'a')
    with storage.database.reader() as connection:
        pages = connection.scalar(sa.text('PRAGMA page_count'))
        connection.execute(sa.text(f'PRAGMA max_page_count = {pages + 1}'))

    with pytest.raises((db_exception.DBError, sa.exc.OperationalError), match='full'):
        storage.push(frames(200), 'a')
    assert content(storage) == (20, 10)

    with storage.database.reader() as connection:
        connection.execute(sa.text('PRAGMA max_page_count = 1000000'))
    storage.push(frames(200), 'a')
    assert content(storage) == (4000, 2000)


@SERVERS
def test_a_connection_lost_in_mid_transaction_is_made_again(storage, any_database):
    """The first transaction is gone with its connection; the second does all of it, once."""
    engine = storage.database.engine
    ask, kill = KILL[engine.dialect.name]
    victims = []

    @sa.event.listens_for(engine, 'before_cursor_execute')
    def _kill(connection, cursor, statement, *rest):
        if 'INSERT INTO rated_months' in statement and not victims:
            cursor.execute(ask)
            victims.append(cursor.fetchone()[0])
            with any_database.engine.connect() as other:
                other.exec_driver_sql(kill.format(victims[0]))

    storage.push(frames(3), 'a')

    assert len(victims) == 1
    assert content(storage) == (60, 30)


@SERVERS
def test_of_two_in_a_deadlock_both_get_through(storage, any_database):
    """The database ends one of them, which then does all of its work again."""
    storage.push(frames(1, 'a'), 'a')
    storage.push(frames(1, 'b'), 'b')
    table, met = tables.rated_scopes, threading.Barrier(2)
    with any_database.reader() as connection:
        numbers = dict(connection.execute(sa.select(table.c.identifier, table.c.id)).all())
    attempts = []

    def change(names):
        def work(connection):
            attempts.append(names)
            for turn, name in enumerate(names):
                connection.execute(
                    sa.update(table)
                    .where(table.c.id == numbers[name])
                    .values(scope_key=f'key-{names[0]}')
                )
                if turn == 0 and attempts.count(names) == 1:
                    met.wait(timeout=30)

        any_database.write(work)

    threads = [threading.Thread(target=change, args=(names,)) for names in ('ab', 'ba')]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert len(attempts) == 3
    with any_database.reader() as connection:
        keys = set(connection.execute(sa.select(table.c.scope_key)).scalars())
    assert keys in ({'key-a'}, {'key-b'})
