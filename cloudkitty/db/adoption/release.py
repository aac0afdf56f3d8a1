"""Returns a database that was adopted in place to the earlier CloudKitty.

Tables keep their columns, which the releases from 23 on can use as they are. Rows that adoption
changed get their former values, unless they were changed since.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.db import tables, types
from cloudkitty.db.adoption import former, heads, journal, rows, scope_rows
from cloudkitty.db.adoption.options import Tell

# The last revisions of releases 23 to 25: only these have all columns of ours that need a value.
USABLE = {
    'hashmap_alembic': '8a591f85865f',
    'pyscripts_alembic': 'c6e4cda29654',
    'storage_states_alembic': '9feccd32',
}
# Name of the row that keeps our revision while the database is given back.
RELEASED = 'released'
# Lengths and digits of the former columns.
AUTHOR_MAX = 32
SCRIPT_SIZE_MAX = 65535
INTEGER_DIGITS_MAX = 12
SCALE_MAX = 28
CHUNK = 1000
IDS_MAX = 10
_SCOPES, _TASKS = tables.scopes, tables.tasks


class Request(NamedTuple):
    """What is asked for.

    :ivar length: of a period.
    :ivar is_forced: also if some rows do not fit the former columns.
    :ivar is_setting_back: set marks to where they were at adoption, so that the earlier service
        rates again what was rated since.
    """

    length: timedelta
    is_forced: bool = False
    is_setting_back: bool = False


def release(
    connection: sa.Connection, revision: str, request: Request, tell: Tell, *, is_dry_run: bool
) -> None:
    """Give the database behind *connection* back; may be run again after it was interrupted.

    :param revision: that of our schema, kept for another adoption.
    :raises SchemaMismatch: it was not adopted in place by a release that can use it, or it has rows
        that do not fit; nothing was changed.
    """
    _refuse(connection, request)
    for line in _plan(connection, request):
        tell(line)
    if is_dry_run:
        return
    if released_revision(connection) is None:
        _revert(connection, request, tell)
        journal.clear(connection)
        journal.finish(connection, RELEASED, revision)
        if connection.dialect.name in ('mysql', 'mariadb'):
            # Dropping the table of the version would commit half of it otherwise.
            connection.exec_driver_sql('COMMIT')


def released_revision(connection: sa.Connection) -> str | None:
    """Return our revision of a database that was returned, None of any other."""
    return journal.note_of(connection, RELEASED)


def _refuse(connection, request):
    if not sa.inspect(connection).has_table(journal.journal.name):
        raise errors.SchemaMismatch(
            reason='this database was not adopted, so it cannot be returned'
        )
    revisions = heads.read(connection)
    if not revisions:
        raise errors.SchemaMismatch(
            reason='this database is a copy: the earlier CloudKitty still has its own'
        )
    older = [name for name, revision in USABLE.items() if revisions.get(name) != revision]
    if older:
        raise errors.SchemaMismatch(
            reason='this database was adopted from a release before 23, which cannot use the added '
            f'columns (table {min(older)}): restore the back-up made before the adoption'
        )
    unfit = list(_unfit(connection))
    if unfit and not request.is_forced:
        raise errors.SchemaMismatch(
            reason=f'{"; ".join(unfit)}: change them first, or use --force to continue anyway'
        )


def _unfit(connection) -> Iterator[str]:
    """Yield what does not fit the former columns."""
    for table in (tables.hashmap_mappings, tables.pyscripts_scripts):
        for name in ('created_by', 'updated_by', 'deleted_by'):
            too_long = sa.func.char_length(table.c[name]) > AUTHOR_MAX
            yield from _listed(connection, table, too_long, f'have a {name} that is too long')
    scripts = tables.pyscripts_scripts
    too_large = sa.func.octet_length(scripts.c.data) > SCRIPT_SIZE_MAX
    yield from _listed(connection, scripts, too_large, 'are too large')
    for table in (tables.hashmap_mappings, tables.hashmap_thresholds):
        limit = 10**INTEGER_DIGITS_MAX
        rounded = sa.func.round(table.c.cost, SCALE_MAX)
        too_wide = sa.or_(sa.func.abs(table.c.cost) >= limit, rounded != table.c.cost)
        yield from _listed(connection, table, too_wide, 'have a cost with too many digits')


def _listed(connection, table, condition, what) -> Iterator[str]:
    ids = connection.scalars(sa.select(table.c.id).where(condition).order_by(table.c.id)).all()
    if ids:
        shown = ', '.join(map(str, ids[:IDS_MAX]))
        yield f'{len(ids)} rows of {table.name} {what} (id {shown})'


def _plan(connection, request) -> Iterator[str]:
    if released_revision(connection) is not None:
        yield 'the rows were returned already'
        return
    local = journal.note_of(connection, rows.LocalTimes.title)
    yield f'times of rules and scripts become local times of zone {local or "UTC"} again'
    orders = len(_dry_runs(connection))
    if orders:
        yield f'{orders} unfinished dry runs are deleted: the former service would store them'
    if request.is_setting_back:
        yield 'marks are set back to those at adoption: the former service rates from there again'
    else:
        yield 'marks are kept: the former store lacks what was rated since adoption'


def _revert(connection, request, tell):
    local = journal.note_of(connection, rows.LocalTimes.title)
    if local:
        _revert_times(connection, ZoneInfo(local))
    _revert_tasks(connection, request.length)
    if request.is_setting_back:
        _set_back(connection)
    _revert_scopes(connection, tell)


def _revert_times(connection, local):
    """Convert times of rules and scripts to local times, also those of new ones."""
    for name, columns in former.LOCAL_TIMES.items():
        for column in columns:
            table = sa.table(name, sa.column('id'), sa.column(column, types.instant()))
            for chunk in _chunks(connection, table, table.c[column].is_not(None)):
                known = journal.changes(connection, name, column, [row[0] for row in chunk])
                _update(
                    connection,
                    table,
                    column,
                    {key: _local(value, known.get(key), local) for key, value in chunk},
                )


def _local(value, change, local):
    """Return a time, naive UTC, as a naive local time; an unchanged one as it was before."""
    if change is not None and datetime.fromisoformat(change.after) == value:
        return datetime.fromisoformat(change.before)
    return timeframe.from_naive(value).astimezone(local).replace(tzinfo=None)


def _revert_tasks(connection, length):
    """Set the end of unfinished tasks to the begin of their last period again."""
    keys = _dry_runs(connection)
    for first in range(0, len(keys), CHUNK):
        connection.execute(sa.delete(_TASKS).where(_TASKS.c.id.in_(keys[first : first + CHUNK])))
    current, end = _TASKS.c.current_reprocess_time, _TASKS.c.end_reprocess_time
    is_unfinished = sa.or_(current.is_(None), current < end)
    for chunk in _chunks(connection, _TASKS, is_unfinished, columns=('id', end.name)):
        _update(connection, _TASKS, end.name, {key: value - length for key, value in chunk})
    # A task that was finished here ended after its last period.
    changed = journal.changes(connection, _TASKS.name, end.name, None)
    for key, change in changed.items():
        after = datetime.fromisoformat(change.after)
        connection.execute(
            sa.update(_TASKS)
            .where(_TASKS.c.id == key, end == after, current == after)
            .values({end.name: datetime.fromisoformat(change.before)})
        )


def _dry_runs(connection):
    """Return the ids of the dry runs that are not finished."""
    current = _TASKS.c.current_reprocess_time
    return connection.scalars(
        sa.select(_TASKS.c.id).where(
            _TASKS.c.dry_run, sa.or_(current.is_(None), current < _TASKS.c.end_reprocess_time)
        )
    ).all()


def _set_back(connection):
    mark = _SCOPES.c.last_processed_timestamp
    for chunk in _chunks(connection, _SCOPES, mark.is_not(None), columns=('id', mark.name)):
        known = journal.changes(
            connection, _SCOPES.name, scope_rows.MARK, [key for key, _ in chunk]
        )
        later = {
            key: datetime.fromisoformat(known[key].before)
            for key, value in chunk
            if key in known and datetime.fromisoformat(known[key].before) < value
        }
        _update(connection, _SCOPES, mark.name, later)


def _revert_scopes(connection, tell):
    """Clear what was filled in, and restore rows that had been merged."""
    for name in scope_rows.PARTS:
        for key, change in journal.changes(connection, _SCOPES.name, name, None).items():
            if change.before is None:
                column = _SCOPES.c[name]
                connection.execute(
                    sa.update(_SCOPES)
                    .where(_SCOPES.c.id == key, column == change.after)
                    .values({name: None})
                )
    for key, change in journal.changes(connection, _SCOPES.name, '*', None).items():
        row = _parsed(json.loads(change.before))
        if connection.scalar(sa.select(_SCOPES.c.id).where(_SCOPES.c.id == key)) is None:
            connection.execute(sa.insert(_SCOPES).values(row))
        else:
            tell(f'{_SCOPES.name}: id {key} is in use: the merged row is not restored')


def _parsed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row from its JSON, in which times are text."""
    return {
        name: datetime.fromisoformat(value)
        if value is not None and isinstance(_SCOPES.c[name].type, sa.DateTime)
        else value
        for name, value in row.items()
        if name in _SCOPES.c
    }


def _chunks(connection, table, condition, columns=None) -> Iterator[Sequence[Any]]:
    """Yield (id, value) of the rows that match, in lists, by id."""
    names = columns or tuple(column.name for column in table.c)
    key = table.c.id
    statement = sa.select(*(table.c[name] for name in names)).where(condition).order_by(key)
    last = None
    while True:
        part = statement if last is None else statement.where(key > last)
        found = connection.execute(part.limit(CHUNK)).all()
        if found:
            yield found
        if len(found) < CHUNK:
            return
        last = found[-1][0]


def _update(connection, table, column, values: Mapping[int, Any]):
    if values:
        connection.execute(
            sa.update(table)
            .where(table.c.id == sa.bindparam('key_id'))
            .values({column: sa.bindparam('new_value')}),
            [{'key_id': key, 'new_value': value} for key, value in values.items()],
        )
