"""The schema's revisions: one alembic tree, one version table.

The scripts are in cloudkitty/db/migrations/versions. A process calls check() at its start; only
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
from cloudkitty.db import adoption, tables
from cloudkitty.db.adoption import copy as adoption_copy
from cloudkitty.db.adoption import journal
from cloudkitty.db.adoption import release as adoption_release
from cloudkitty.db.adoption.options import Tell

VERSION_TABLE = 'cloudkitty_schema'
# SQLite alters most properties of a column by copying the table, hence batch mode.
OPTIONS = {
    'version_table': VERSION_TABLE,
    'target_metadata': tables.metadata,
    'render_as_batch': True,
}
UPGRADE = 'run `cloudkitty-dbsync upgrade`'
LOCK_NAME = 'cloudkitty-dbsync '
LOCK_NUMBER = 0x636B5F6462  # PostgreSQL's locks are numbers: 'ck_db'
LOCK_TIMEOUT_S = 300


def head() -> str:
    """Return the revision that this code needs."""
    return _scripts().get_current_head()


def version(database: db.Database) -> str | None:
    """Return the revision of the schema in *database*; None if it has none."""
    if _is_missing_file(database):
        return None
    database.check()
    with database.reader() as connection:
        return _version(connection)


def is_former(database: db.Database) -> bool:
    """Return whether *database* has the tables of an earlier CloudKitty, not adopted yet."""
    if version(database) is not None or _is_missing_file(database):
        return False
    with database.reader() as connection:
        return adoption.is_former(connection)


def check(database: db.Database) -> None:
    """Raise SchemaMismatch unless *database* has the schema that this code needs.

    :raises DatabaseUnavailable: it does not answer.
    :raises SchemaMismatch: the schema is missing, older or newer; the text says what to run.
    """
    current = version(database)
    if current == head():
        return
    if current is None:
        if not _is_missing_file(database):
            with database.reader() as connection:
                _refuse_former_schema(database, connection)
        raise _mismatch(database, f'holds no schema; {UPGRADE}')
    if current in _known():
        raise _mismatch(database, f'holds schema {current} and {head()} is needed; {UPGRADE}')
    raise _mismatch(
        database,
        f'holds schema {current}, which this version does not know: a newer '
        f'version made it; run that one (this one needs {head()})',
    )


def upgrade(
    database: db.Database, revision: str = 'head', *, adopter: adoption.Adoption | None = None
) -> bool:
    """Upgrade the schema of *database* to *revision*; does nothing if it is there or beyond.

    Several processes may call this at once: one works, the others wait and find nothing to do. The
    directory of a SQLite file is created.

    :param adopter: converts the tables of an earlier CloudKitty to those of our first revision;
        without it such a database is refused. With a dry run nothing is changed.
    :returns: whether it was a database of an earlier CloudKitty.
    :raises InvalidInput: no such revision.
    :raises DatabaseUnavailable: the database does not answer.
    :raises SchemaMismatch: its tables were created by other software or by a newer version.
    """
    _check_revision(revision)
    _make_directory(database)
    database.check()
    with _locked(database) as connection:
        current = _version(connection)
        if current is not None and current not in _known():
            raise _mismatch(database, f'holds schema {current}, which this version does not know')
        if current is None and adopter is None:
            _refuse_former_schema(database, connection)
        if revision == 'base':
            return False
        is_former = current is None and adopter is not None and adopter.run(connection)
        if adopter is None or not adopter.options.is_dry_run:
            _return_version(connection)
            command.upgrade(_config(connection), revision)
        return is_former


def copy(database: db.Database, copier: adoption_copy.Copier) -> None:
    """Copy a former database into *database*, whose schema is made or upgraded first.

    :raises DatabaseUnavailable: one of the two does not answer.
    :raises SchemaMismatch: it cannot be copied, see Copier.check; nothing was changed.
    """
    _make_directory(database)
    database.check()
    with _locked(database) as connection, adoption_copy.reader(copier.source_url) as source:
        current = _version(connection)
        if current is not None and current not in _known():
            raise _mismatch(database, f'holds schema {current}, which this version does not know')
        if copier.options.is_dry_run and current not in (None, head()):
            raise _mismatch(database, f'holds schema {current}; {UPGRADE}')
        copier.check(source, connection, has_schema=current is not None)
        if not copier.options.is_dry_run:
            command.upgrade(_config(connection), 'head')
        has_schema = current is not None or not copier.options.is_dry_run
        copier.run(source, connection, has_schema=has_schema)


def release(
    database: db.Database, request: adoption_release.Request, tell: Tell, *, is_dry_run: bool
) -> None:
    """Return a database that was adopted in place to the earlier CloudKitty.

    upgrade() adopts it again.

    :raises DatabaseUnavailable: the database does not answer.
    :raises SchemaMismatch: it cannot be returned, see db.adoption.release.
    """
    check(database)
    with _locked(database) as connection:
        current = _version(connection)
        adoption_release.release(connection, current, request, tell, is_dry_run=is_dry_run)
        if not is_dry_run:
            _drop_version(connection)


def _drop_version(connection):
    connection.execute(sa.text(f'DROP TABLE {VERSION_TABLE}'))


def _return_version(connection):
    """Record the former revision of a database that was returned and is adopted again."""
    if _version(connection) is None:
        revision = adoption_release.released_revision(connection)
        if revision is not None:
            command.stamp(_config(connection), revision)
            journal.clear(connection, adoption_release.RELEASED)


def stamp(database: db.Database, revision: str = 'head') -> None:
    """Record *revision* as that of *database* without changing anything else.

    :raises InvalidInput: no such revision.
    :raises DatabaseUnavailable: the database does not answer.
    :raises SchemaMismatch: the tables in it are those of the former schema.
    """
    _check_revision(revision)
    _make_directory(database)
    database.check()
    with _locked(database) as connection:
        if _version(connection) is None:
            _refuse_former_schema(database, connection)
        command.stamp(_config(connection), revision, purge=True)


def create_revision(database: db.Database, message: str | None, *, autogenerate: bool) -> str:
    """Return the path of a new, empty script after the last one.

    :param autogenerate: fill it with the differences between the models and *database*.
    """
    database.check()
    with database.reader() as connection:
        made = command.revision(_config(connection), message, autogenerate=autogenerate)
    assert isinstance(made, alembic_script.Script)  # there is one base
    return made.path


def _config(connection=None):
    configured = alembic_config.Config()
    # A percent sign would be taken for an interpolation of another option.
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
            + ', '.join(sorted(_known()))
        ) from exc


def _refuse_former_schema(database, connection):
    if adoption.is_former(connection):
        raise _mismatch(
            database,
            f'holds the schema of an earlier CloudKitty, which is to be adopted; {UPGRADE} '
            '(with --dry-run first, which tells what it would do)',
        )


def _mismatch(database, reason):
    return errors.SchemaMismatch(reason=f'{database.safe_url} {reason}')


@contextlib.contextmanager
def _locked(database) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction under the exclusive lock of the migration.

    SQLite needs no other lock than the transaction, which is a write transaction from the start.
    """
    try:
        with database.writer() as connection:
            if connection.dialect.name == 'postgresql':
                connection.execute(
                    sa.text('SELECT pg_advisory_xact_lock(:number)'), {'number': LOCK_NUMBER}
                )
            if connection.dialect.name in ('mysql', 'mariadb'):
                _lock_mariadb(connection)
            yield connection
    except (db_exception.DBError, sa.exc.DBAPIError) as exc:
        raise errors.DatabaseUnavailable(
            reason=f'{database.safe_url}: {str(exc).strip().splitlines()[0]}'
        ) from exc


def _lock_mariadb(connection):
    """Acquire the lock of this database; it is released when the connection is closed."""
    # Not returned to the pool: the lock must not outlive this use of the connection.
    connection.detach()
    taken = connection.scalar(
        sa.text('SELECT GET_LOCK(CONCAT(:name, MD5(DATABASE())), :timeout_s)'),
        {'name': LOCK_NAME, 'timeout_s': LOCK_TIMEOUT_S},
    )
    if taken != 1:
        raise errors.DatabaseUnavailable(
            reason=f'another cloudkitty-dbsync has worked for {LOCK_TIMEOUT_S} s; see what it does'
        )


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
            reason=f'{database.safe_url}: directory {directory} cannot be made: {exc.strerror}'
        ) from exc
