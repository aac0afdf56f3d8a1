"""Copy of a former database into our tables, on the same or the other kind of server.

It may be repeated: rows that were changed in the former database are updated, unless they were
changed here too. Rated data of storage v1 is left out: `cloudkitty-storage migrate` copies it.
"""

import contextlib
import json
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.db.adoption import (
    checks,
    convert,
    former,
    heads,
    journal,
    merge,
    plan,
    shape,
)
from cloudkitty.db.adoption.options import Options, Tell

CONNECT_TIMEOUT_S = 10
# The note in the journal about the first copy.
COPY = 'copy'
# Tables with rules; their first word is the rating module.
RULES = frozenset(name for name in former.TABLES if name.startswith(('hashmap_', 'pyscripts_')))


@contextlib.contextmanager
def reader(url: str) -> Iterator[sa.Connection]:
    """Yield a read-only connection with a consistent snapshot of the former database at *url*.

    :raises DatabaseUnavailable: it does not answer; the text has no password.
    """
    try:
        engine = sa.create_engine(url, connect_args={'connect_timeout': CONNECT_TIMEOUT_S})
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, TypeError) as exc:
        raise errors.DatabaseUnavailable(reason=f'--source: {exc}') from exc
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(
                isolation_level='REPEATABLE READ', postgresql_readonly=True
            )
            if shape.dialect_of(connection) == 'mysql':
                connection.exec_driver_sql('SET SESSION TRANSACTION READ ONLY')
                connection.commit()
            yield connection
    except sa.exc.OperationalError as exc:  # errors of our own database are of another class
        place = engine.url.render_as_string(hide_password=True)
        told = str(exc).strip().splitlines()[0]
        raise errors.DatabaseUnavailable(reason=f'--source {place}: {told}') from exc
    finally:
        engine.dispose()


class Copier:
    """Copies the former database at *source_url* according to *options*.

    :param tell: called with each line for the operator.
    :param bump_version: called with our connection and the name of each rating module whose rules
        changed.
    """

    def __init__(
        self,
        options: Options,
        tell: Tell,
        source_url: str,
        bump_version: Callable[[sa.Connection, str], None],
    ):
        self.options = options
        self.tell = tell
        self.source_url = source_url
        self._bump_version = bump_version

    def check(self, source: sa.Connection, target: sa.Connection, *, has_schema: bool) -> None:
        """Raise SchemaMismatch unless *source* can be copied to *target*; nothing is changed.

        :param has_schema: *target* has our tables.
        """
        if not heads.read(source):
            raise errors.SchemaMismatch(
                reason='--source is not the database of an earlier CloudKitty'
            )
        if shape.dialect_of(target) == 'sqlite':
            raise errors.SchemaMismatch(
                reason='a database of an earlier CloudKitty can be adopted on MariaDB and '
                'PostgreSQL, not on SQLite'
            )
        checks.refuse(source)
        if self.options.objection:
            raise errors.SchemaMismatch(reason=self.options.objection)
        if has_schema:
            self._check_repeated(target)
        else:
            _refuse_tables(target)

    def _check_repeated(self, target):
        noted = journal.note_of(target, COPY)
        if noted is None:
            _refuse_rows(target)
            return
        zone = json.loads(noted)['zone']
        if zone != self.options.zone.key:
            raise errors.SchemaMismatch(
                reason=f'the first copy read times as those of zone {zone}, not of '
                f'{self.options.zone.key}: use --timezone {zone}'
            )

    def run(self, source: sa.Connection, target: sa.Connection, *, has_schema: bool) -> None:
        """Copy, or with `is_dry_run` tell what would be copied.

        :raises SchemaMismatch: two different rows have the same unique name.
        """
        plan.explain(source, self.options, plan.row_steps(source, self.options), self.tell)
        is_dry_run = self.options.is_dry_run
        if not is_dry_run:
            journal.make(target)
        is_first = not has_schema or journal.note_of(target, COPY) is None
        merged = merge.Merge(
            target,
            convert.Conversion(source, self.options),
            self.tell,
            is_dry_run=is_dry_run,
            is_empty=not has_schema or is_first,
        )
        merged.run()
        if is_dry_run:
            return
        if is_first:
            journal.finish(target, COPY, json.dumps({'zone': self.options.zone.key}))
            return
        for module in sorted({name.partition('_')[0] for name in merged.changed & RULES}):
            self._bump_version(target, module)


def _refuse_tables(target):
    occupied = sa.inspect(target).get_table_names()
    if occupied:
        raise errors.SchemaMismatch(
            reason=f'[database]connection already has tables, such as {min(occupied)}; a copy '
            'needs an empty database'
        )


def _refuse_rows(target):
    for name in former.TABLES:
        table = tables.metadata.tables[name]
        if target.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)) is not None:
            raise errors.SchemaMismatch(
                reason=f'[database]connection has rules or scopes of its own (table {name}); a '
                'copy needs an empty database, or one that an earlier copy has filled'
            )
