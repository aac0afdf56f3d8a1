"""Two transactions at once on a real server: the second comes while the first is under way."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import sqlalchemy as sa

from cloudkitty import db

# How many connections of this database wait for a lock.
_WAITING = {
    'postgresql': "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    'AND datname = current_database()',
    'mysql': 'SELECT count(*) FROM information_schema.innodb_trx AS trx '
    'JOIN information_schema.processlist AS process ON process.id = trx.trx_mysql_thread_id '
    "WHERE trx.trx_state = 'LOCK WAIT' AND process.db = database()",
}
DEADLINE_S = 30
# MariaDB shows the locks of a moment ago to whoever asks more often than every 0.1 s.
LOOK_S = 0.2


def waits_for_lock(database: db.Database) -> bool:
    """Say whether somebody waits for a lock in *database*."""
    with database.reader() as connection:
        return connection.scalar(sa.text(_WAITING[connection.dialect.name])) > 0


def meanwhile(database: db.Database, work: Callable[[], object]) -> futures.Future:
    """Begin *work* in a thread; return when it is done or waits for a lock.

    :param database: the one it works on.
    """
    pool = futures.ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    for _ in range(int(DEADLINE_S / LOOK_S)):
        futures.wait([future], LOOK_S)
        if future.done() or waits_for_lock(database):
            return future
    raise TimeoutError('it neither ended nor waited for a lock')


@contextlib.contextmanager
def stopped_at(
    engine: sa.Engine, text: str, work: Callable[[], object]
) -> Iterator[futures.Future]:
    """Begin *work* in a thread and stop it before its first statement with *text* on *engine*.

    It goes on when the block ends; the future has what it returned then.
    """
    there, go_on = threading.Event(), threading.Event()

    def stop(connection, cursor, statement, *rest):
        if text in statement and not there.is_set():
            there.set()
            go_on.wait(DEADLINE_S)

    sa.event.listen(engine, 'before_cursor_execute', stop)
    pool = futures.ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    future.add_done_callback(lambda _: there.set())
    try:
        assert there.wait(DEADLINE_S), f'nobody came to {text!r}'
        yield future
    finally:
        go_on.set()
        futures.wait([future], DEADLINE_S)
        sa.event.remove(engine, 'before_cursor_execute', stop)
