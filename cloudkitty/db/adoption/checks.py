"""Checks before the first change: reasons to refuse adoption, and remarks for the operator."""

from collections.abc import Iterator

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db.adoption import former, shape
from cloudkitty.db.adoption.options import Tell

IDS_MAX = 10
_RULES = ('hashmap_mappings', 'hashmap_thresholds')
_PROBE = 'cloudkitty_adoption_probe'


def refuse(connection: sa.Connection) -> None:
    """Raise SchemaMismatch unless all rows can be adopted.

    :raises SchemaMismatch: some rows cannot be adopted; the text has their ids.
    """
    problems = list(_problems(connection))
    if problems:
        raise errors.SchemaMismatch(reason=f'{"; ".join(problems)}: correct or delete them first')


def _problems(connection) -> Iterator[str]:
    for name in _RULES:
        rule = sa.table(name, *map(sa.column, ('id', 'cost', 'service_id', 'field_id')))
        for condition, what in (
            (rule.c.cost.is_(None), 'have no cost'),
            (
                sa.and_(rule.c.service_id.is_(None), rule.c.field_id.is_(None)),
                'belong to no service and no field',
            ),
        ):
            yield from _rows(connection, rule, condition, what)
    scripts = former.SCRIPTS
    yield from _rows(connection, scripts, scripts.c.data.is_(None), 'have no source')


def _rows(connection, table, condition, what):
    ids = connection.scalars(sa.select(table.c.id).where(condition).order_by(table.c.id)).all()
    if ids:
        shown = ', '.join(map(str, ids[:IDS_MAX]))
        yield f'{len(ids)} rows of {table.name} {what} (id {shown})'


def check_privileges(connection: sa.Connection) -> None:
    """Check the privileges by creating a test table, on servers without transactional DDL.

    An error of the server is passed to the caller. On PostgreSQL a rollback undoes everything.
    """
    if shape.dialect_of(connection) != 'mysql':
        return
    connection.execute(sa.text(f'CREATE TABLE IF NOT EXISTS {_PROBE} (id integer PRIMARY KEY)'))
    try:
        connection.execute(sa.text(f'ALTER TABLE {_PROBE} ADD COLUMN a integer'))
    finally:
        connection.execute(sa.text(f'DROP TABLE {_PROBE}'))


def explain(connection: sa.Connection, tell: Tell) -> None:
    """Report what is left unchanged although an operator may expect otherwise."""
    scopes = former.SCOPES
    several = connection.execute(
        sa.select(scopes.c.identifier, sa.func.count())
        .where(scopes.c.fetcher.is_not(None))
        .group_by(scopes.c.identifier)
        .having(sa.func.count() > 1)
        .order_by(scopes.c.identifier)
    ).all()
    for identifier, count in several:
        tell(
            f'{scopes.name}: scope {identifier} has {count} rows with different fetchers, '
            'collectors or scope keys; all are kept'
        )
    tasks = former.TASKS
    if not sa.inspect(connection).has_table(tasks.name):
        return
    unknown = connection.execute(
        sa.select(tasks.c.id, tasks.c.identifier)
        .where(
            ~sa.exists(sa.select(sa.literal(1)).where(scopes.c.identifier == tasks.c.identifier))
        )
        .order_by(tasks.c.id)
    ).all()
    for key, identifier in unknown:
        tell(f'{tasks.name}: task {key} belongs to the unknown scope {identifier}; it is kept')
