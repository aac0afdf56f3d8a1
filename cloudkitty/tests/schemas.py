"""Databases with the schema, for many tests one after the other.

The revisions take a second or more of a server for each database. PostgreSQL copies a template; of
MariaDB, which has none, a database that is left as it was made is emptied and given to the next.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from cloudkitty.db.migration import VERSION_TABLE

MAINTENANCE = {'postgresql': 'postgres', 'mariadb': ''}
# Less than the time in which a test has to end.
WAIT_S = 20


@contextlib.contextmanager
def new_database(server: str, kind: str, options: str = '') -> Iterator[str]:
    """Yield the URL of a new database, which is dropped afterwards.

    :param options: words for the end of CREATE DATABASE.
    """
    name = f'ck_{uuid.uuid4().hex[:12]}'
    admin = sa.create_engine(f'{server}/{MAINTENANCE[kind]}', isolation_level='AUTOCOMMIT')
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE {name} {options}'))
    try:
        yield f'{server}/{name}'
    finally:
        with admin.connect() as connection:
            force = ' WITH (FORCE)' if kind == 'postgresql' else ''
            connection.execute(sa.text(f'DROP DATABASE {name}{force}'))
        admin.dispose()


class Schemas:
    """Gives databases of one server, with the schema and without rows.

    :param upgrade: makes the schema in the empty database of a URL, and disconnects.
    """

    def __init__(self, server: str, kind: str, upgrade: Callable[[str], None]):
        self._server = server
        self._kind = kind
        self._upgrade = upgrade
        self._opened = contextlib.ExitStack()
        self._made: str | None = None
        self._as_made: dict[str, str] = {}

    def close(self) -> None:
        """Drop what is kept for later tests."""
        self._opened.close()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of a database."""
        if self._made is None:
            self._made = self._opened.enter_context(new_database(self._server, self._kind))
            self._upgrade(self._made)
            self._as_made = self._read_definitions() if self._kind == 'mariadb' else {}
        if self._kind == 'postgresql':
            template = self._made.rpartition('/')[2]
            with new_database(self._server, self._kind, f'TEMPLATE {template}') as url:
                yield url
            return
        try:
            yield self._made
        finally:
            if not self._clean():
                self.close()
                self._made = None

    def _read_definitions(self):
        """Return the statements that would make the tables, with the next of their numbers."""
        with self._connected() as connection:
            tables = connection.exec_driver_sql('SHOW FULL TABLES').all()
            return {
                name: connection.exec_driver_sql(f'SHOW CREATE TABLE `{name}`').one()[1]
                for name, kind in tables
                if kind == 'BASE TABLE'
            }

    def _clean(self):
        """Remove all rows but the revision; return whether the database is then as it was made."""
        try:
            with self._connected() as connection:
                connection.exec_driver_sql(f'SET lock_wait_timeout = {WAIT_S}')
                connection.exec_driver_sql('SET foreign_key_checks = 0')
                for name in self._used(connection):
                    connection.exec_driver_sql(f'TRUNCATE TABLE `{name}`')
        except sa.exc.SQLAlchemyError:
            return False
        return self._read_definitions() == self._as_made

    def _used(self, connection):
        """Return the tables that have rows, or had some: their numbers go on."""
        found = ' UNION ALL '.join(
            f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM `{name}`)"
            for name in self._as_made
            if name != VERSION_TABLE
        )
        numbered = (
            'SELECT table_name FROM information_schema.tables '
            'WHERE table_schema = DATABASE() AND auto_increment > 1'
        )
        return set(connection.exec_driver_sql(f'{found} UNION ALL {numbered}').scalars())

    @contextlib.contextmanager
    def _connected(self):
        engine = sa.create_engine(self._made, isolation_level='AUTOCOMMIT')
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
