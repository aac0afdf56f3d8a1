"""The SQL database: one engine per process, explicit transactions, no work at import."""

import contextlib
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import engines, exc_filters
from sqlalchemy import exc as sa_exc

from cloudkitty import errors
from cloudkitty.db import types

LOG = logging.getLogger(__name__)

_Result = TypeVar('_Result')

WRITE_ATTEMPTS_MAX = 6
SQLITE_BUSY_TIMEOUT_MS = 30000
SQLITE_FILE_MODE = 0o640
# Error for COMMIT on a Galera node that left its cluster; oslo.db knows those of other statements.
GALERA_NODE_LEFT = r'^\S+ \(1180, '
_MARIADB_IDLE_LIMIT = 'SET /*M!100300 idle_transaction_timeout = {0}, */ @cloudkitty = 1'
IDLE_LIMITS = {
    'postgresql': "SET idle_in_transaction_session_timeout = '{0}s'",
    # Something is left for MySQL, which does not know it.
    'mysql': _MARIADB_IDLE_LIMIT,
    'mariadb': _MARIADB_IDLE_LIMIT,
}
WRITES = 'writes'  # mark of a connection whose next transaction will write


class Database:
    """Access to the SQL database of [database]connection.

    Build it in the process that uses it, never before a fork.

    :cvar sleep: waits some seconds, before a transaction is tried again.
    :cvar idle_transaction_s: the server closes a connection that is idle for so long in a
        transaction: a frozen or disconnected worker must not keep rows locked.
    """

    sleep = staticmethod(time.sleep)
    idle_transaction_s = 120

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.url = conf.database.connection
        try:
            self.engine = _create_engine(self.url, conf.database, self.idle_transaction_s)
            self._replica = self.engine
            if conf.database.slave_connection:
                self._replica = _create_engine(
                    conf.database.slave_connection, conf.database, self.idle_transaction_s
                )
        except (sa_exc.ArgumentError, sa_exc.NoSuchModuleError, ImportError) as exc:
            raise errors.DatabaseUnavailable(
                reason=f'{exc}; allowed: sqlite:///PATH, postgresql+psycopg2://..., '
                'mysql+pymysql://...'
            ) from exc

    @property
    def safe_url(self) -> str:
        """The URL without its password, for messages."""
        return sa.make_url(self.url).render_as_string(hide_password=True)

    @property
    def is_on_this_host(self) -> bool:
        """Whether the URL leads to a file, a local socket or an address of this host."""
        url = sa.make_url(self.url)
        if url.get_backend_name() == 'sqlite' or 'unix_socket' in url.query:
            return True
        # psycopg2 accepts several hosts, each with its port, and directories of sockets.
        hosts = url.normalized_query.get('host') or (url.host or '',)
        return all(
            not host or host.startswith('/') or _is_own(host)
            for text in hosts
            for host in text.split(',')
        )

    def check(self) -> None:
        """Connect once.

        :raises DatabaseUnavailable: the database does not answer.
        """
        try:
            with self.engine.connect() as connection:
                connection.execute(sa.text('SELECT 1'))
        except (sa_exc.SQLAlchemyError, db_exception.DBError) as exc:
            raise errors.DatabaseUnavailable(
                reason=f'{self.safe_url} does not answer: {_first_line(exc)}'
            ) from exc

    @contextlib.contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """Yield a connection in a read-only transaction."""
        with self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def replica(self) -> Iterator[sa.Connection]:
        """Yield a read-only connection that may not see the last writes yet.

        It is to [database]slave_connection, if that is set.
        """
        with self._replica.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections; they open again when they are needed."""
        self.engine.dispose()
        self._replica.dispose()

    @contextlib.contextmanager
    def writer(self) -> Iterator[sa.Connection]:
        """Yield a connection in a read-write transaction; an error rolls it back."""
        with self.engine.connect() as connection:
            connection.info[WRITES] = True
            with connection.begin():
                yield connection

    def write(self, change: Callable[[sa.Connection], _Result]) -> _Result:
        """Run change(connection) in one transaction, retried on deadlocks; return its result.

        :param change: may run several times, so it must not have other side effects.
        """
        attempt = 1
        while True:
            try:
                with self.writer() as connection:
                    return change(connection)
            except db_exception.RetryRequest:
                raise
            except (db_exception.DBDeadlock, db_exception.DBConnectionError) as exc:
                if attempt == WRITE_ATTEMPTS_MAX:
                    raise
                LOG.warning(
                    'The transaction is tried again (%s of %s): %s',
                    attempt,
                    WRITE_ATTEMPTS_MAX,
                    _first_line(exc),
                )
                self.sleep(random.uniform(0.5, 1) * 0.05 * 2**attempt)
            attempt += 1


def hold_snapshot(connection: sa.Connection) -> None:
    """Let all statements of a transaction that only reads see the same commits.

    Call it before its first statement. SQLite and MariaDB do so anyway.
    """
    if connection.dialect.name == 'postgresql':
        connection.execute(sa.text('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ'))


def _is_own(host):
    """Return whether all addresses of *host* belong to this machine; no packet is sent.

    :param host: name or address, perhaps with a port, which an address of IPv6 cannot have.
    """
    if host.count(':') == 1:
        host, _, _ = host.partition(':')
    try:
        found = socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return all(_is_own_address(family, address) for family, _, _, _, address in found)


def _is_own_address(family, address):
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        # The kernel connects to a local address from that same address.
        return probe.getsockname()[0] == address[0]
    return False


def _create_engine(url, options, idle_transaction_s):
    backend = sa.make_url(url).get_backend_name()
    if backend == 'sqlite':
        return _create_sqlite_engine(url)
    if backend in ('mysql', 'mariadb'):
        url = _with_charset(url)
    engine = engines.create_engine(
        url,
        mysql_sql_mode=options.mysql_sql_mode,
        thread_checkin=False,
        max_retries=0,
        connection_recycle_time=options.connection_recycle_time,
        max_pool_size=options.max_pool_size,
        max_overflow=options.max_overflow,
        pool_timeout=options.pool_timeout,
    )
    statement = IDLE_LIMITS[backend].format(idle_transaction_s)

    @sa.event.listens_for(engine, 'connect')
    def _limit(connection, record):
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(statement)
        # On PostgreSQL a rollback would reset it.
        connection.commit()

    return engine


@exc_filters.filters('mysql', sa_exc.OperationalError, GALERA_NODE_LEFT)
def _is_lost_node(error, match, engine_name, is_disconnect):
    """Treat the error of a node that left its cluster as a lost connection."""
    raise db_exception.DBConnectionError(error)


def _with_charset(url):
    """Return *url* with charset utf8mb4 for MariaDB; oslo.db uses one of 3 bytes."""
    parsed = sa.make_url(url)
    if 'charset' in parsed.query:
        return url
    return parsed.update_query_dict({'charset': 'utf8mb4'}).render_as_string(hide_password=False)


def _create_sqlite_engine(url):
    """Return an engine with a connection pool; oslo.db's opens a connection per transaction."""
    engine = sa.create_engine(url)
    exc_filters.register_engine(engine)

    @sa.event.listens_for(engine, 'do_connect')
    def _keep_private(dialect, record, arguments, options):
        # Usage and prices are confidential; SQLite's journals get the mode of the file. A file that
        # exists is never opened here: closing it would drop the locks that SQLite holds for all
        # connections of this process, and another process would then remove the journal below them.
        with contextlib.suppress(OSError):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(engine.url.database or '', flags, SQLITE_FILE_MODE))

    @sa.event.listens_for(engine, 'connect')
    def _connect(connection, record):
        # Disable the driver's implicit transactions.
        connection.isolation_level = None
        connection.create_function('exact_add', 2, types.sqlite_add, deterministic=True)
        connection.create_aggregate('exact_sum', 1, types.SQLiteSum)
        connection.execute('PRAGMA foreign_keys = ON')
        connection.execute(f'PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}')
        connection.execute('PRAGMA journal_mode = WAL')
        # In WAL mode NORMAL survives a dying process; only a dying host can lose the last
        # transactions, and each is whole or gone.
        connection.execute('PRAGMA synchronous = NORMAL')

    # A transaction that upgrades from reading to writing fails if another one wrote meanwhile, so
    # writers take the lock at the start.
    @sa.event.listens_for(engine, 'begin')
    def _begin(connection):
        if connection.info.pop(WRITES, False):
            connection.exec_driver_sql('BEGIN IMMEDIATE')
        else:
            # It neither waits nor fails, so SQLAlchemy's overhead is not needed.
            connection.connection.driver_connection.execute('BEGIN')

    return engine


def _first_line(exc):
    return str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
