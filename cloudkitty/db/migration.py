"""The schema's revisions: one alembic tree, one version table.

The scripts are in cloudkitty/db/migrations/versions. A process asks check() at its start; only
`cloudkitty-dbsync` and `cloudkitty-storage-init` change the schema.
"""

import contextlib
import os
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import command
from alembic import config as alembic_config
from alembic import script as alembic_script
from alembic import util as alembic_util
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.db import models

VERSION_TABLE = 'cloudkitty_schema'
# SQLite changes most things of a column by copying the table, hence the batches.
OPTIONS = {'version_table': VERSION_TABLE, 'target_metadata': models.metadata,
           'render_as_batch': True}
UPGRADE = 'run `cloudkitty-dbsync upgrade`'
# Version tables of CloudKitty's former schema, which is not the one of this tree.
FORMER_TABLES = {'cloudkitty_alembic', 'hashmap_alembic', 'pyscripts_alembic',
                 'storage_states_alembic'}
LOCK_NAME = 'cloudkitty-dbsync '
LOCK_NUMBER = 0x636b5f6462           # PostgreSQL's locks are numbers: 'ck_db'
LOCK_TIMEOUT_S = 300


def head() -> str:
    """Return the revision that this code needs."""
    return _scripts().get_current_head()


def version(database: db.Database) -> str | None:
    """Return the revision of the schema in *database*; None when it holds none."""
    if _is_missing_file(database):
        return None
    database.check()
    with database.reader() as connection:
        return _version(connection)


def check(database: db.Database) -> None:
    """Make sure that *database* holds the schema this code needs.

    :raises DatabaseUnavailable: it does not answer.
    :raises SchemaMismatch: the schema is missing, older or newer; the text says what to run.
    """
    current = version(database)
    if current == head():
        return
    if current is None:
        raise _mismatch(database, f'holds no schema; {UPGRADE}')
    if current in _known():
        raise _mismatch(database, f'holds schema {current} and {head()} is needed; {UPGRADE}')
    raise _mismatch(database, f'holds schema {current}, which this version does not know: a newer '
                              f'version made it; run that one (this one needs {head()})')


def upgrade(database: db.Database, revision: str = 'head') -> None:
    """Bring the schema of *database* to *revision*; harmless when it is there or beyond.

    Several processes may do this at once: one works, the others wait and find nothing to do. The
    directory of a SQLite file is made.

    :raises InvalidInput: no such revision.
    :raises DatabaseUnavailable: the database does not answer.
    :raises SchemaMismatch: something else made the tables in it, or a newer version.
    """
    _check_revision(revision)
    _make_directory(database)
    database.check()
    with _locked(database) as connection:
        current = _version(connection)
        if current is None:
            _refuse_former_schema(database, connection)
        elif current not in _known():
            raise _mismatch(database, f'holds schema {current}, which this version does not know')
        if revision != 'base':
            command.upgrade(_config(connection), revision)


def stamp(database: db.Database, revision: str = 'head') -> None:
    """Record *revision* as the one of *database*, and change nothing else.

    :raises InvalidInput: no such revision.
    :raises DatabaseUnavailable: the database does not answer.
    """
    _check_revision(revision)
    _make_directory(database)
    database.check()
    with _locked(database) as connection:
        command.stamp(_config(connection), revision, purge=True)


def create_revision(database: db.Database, message: str | None, *, autogenerate: bool) -> str:
    """Return the path of a new, empty script after the last one.

    :param autogenerate: fill it with what models have and *database* has not.
    """
    database.check()
    with database.reader() as connection:
        made = command.revision(_config(connection), message, autogenerate=autogenerate)
    return made.path


def _config(connection=None):
    configured = alembic_config.Config()
    # A per cent sign would be read as a reference to another option.
    configured.set_main_option('script_location', _directory().replace('%', '%%'))
    configured.set_main_option('path_separator', 'os')
    configured.attributes['connection'] = connection
    return configured


def _directory():
    return os.path.join(os.path.dirname(__file__), 'migrations')


def _scripts():
    return alembic_script.ScriptDirectory.from_config(_config())


def _known():
    return {script.revision for script in _scripts().walk_revisions()}


def _version(connection):
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(sa.text(f'SELECT version_num FROM {VERSION_TABLE}'))


def _check_revision(revision):
    try:
        if revision != 'base':
            _scripts().get_revisions(revision)
    except alembic_util.CommandError as exc:
        raise errors.InvalidInput(
            reason=f'no schema revision is named {revision!r}; allowed: base, head, '
                   + ', '.join(sorted(_known()))) from exc


def _refuse_former_schema(database, connection):
    former = FORMER_TABLES.intersection(sa.inspect(connection).get_table_names())
    if former:
        raise _mismatch(database, 'was made by a CloudKitty with another schema (table '
                                  f'{min(former)}); give this one a database of its own')


def _mismatch(database, reason):
    return errors.SchemaMismatch(reason=f'{database.safe_url} {reason}')


@contextlib.contextmanager
def _locked(database) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction that no other process has at the same time.

    SQLite needs no lock but the transaction, which writes from its first moment.
    """
    try:
        with database.writer() as connection:
            if connection.dialect.name == 'postgresql':
                connection.execute(sa.text('SELECT pg_advisory_xact_lock(:number)'),
                                   {'number': LOCK_NUMBER})
            if connection.dialect.name in ('mysql', 'mariadb'):
                _lock_mariadb(connection)
            yield connection
    except db_exception.DBError as exc:
        raise errors.DatabaseUnavailable(
            reason=f'{database.safe_url}: {str(exc).strip().splitlines()[0]}') from exc


def _lock_mariadb(connection):
    """Take the lock of this database; it is freed when the connection is closed."""
    # Not given back to the pool: the lock must not outlive this use of the connection.
    connection.detach()
    taken = connection.scalar(
        sa.text('SELECT GET_LOCK(CONCAT(:name, MD5(DATABASE())), :timeout_s)'),
        {'name': LOCK_NAME, 'timeout_s': LOCK_TIMEOUT_S})
    if taken != 1:
        raise errors.DatabaseUnavailable(
            reason=f'another cloudkitty-dbsync has worked for {LOCK_TIMEOUT_S} s; see what it does')


def _sqlite_file(database):
    """Return the path of the SQLite file, or None: another database, or one in memory."""
    path = database.engine.url.database
    is_file = database.engine.dialect.name == 'sqlite' and path and path != ':memory:'
    return path if is_file else None


def _is_missing_file(database):
    path = _sqlite_file(database)
    return path is not None and not os.path.exists(path)


def _make_directory(database):
    path = _sqlite_file(database)
    if path is None:
        return
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(directory, mode=0o750, exist_ok=True)
    except OSError as exc:
        raise errors.DatabaseUnavailable(
            reason=f'{database.safe_url}: directory {directory} cannot be made: '
                   f'{exc.strerror}') from exc
