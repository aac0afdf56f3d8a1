"""Scopes of early releases without fetcher, collector and scope key."""

import json
from datetime import datetime

import sqlalchemy as sa

from cloudkitty.db.adoption import alter, former, journal
from cloudkitty.db.adoption.rows import RowStep

_SCOPES = former.SCOPES
# The name under which the journal has the marks.
MARK = 'mark'
# In the order of Options.identity.
PARTS = ('scope_key', 'fetcher', 'collector')


class Identities(RowStep):
    """Fill in the missing fetcher, collector and scope key of scopes."""

    title = 'name fetcher, collector and scope key of scopes'

    def is_done(self, connection):
        return not any(alter.has_nulls(connection, _SCOPES.name, part) for part in PARTS)

    def explain(self, connection, tell):
        for kept, mark, dropped in self.doubles(connection):
            for row in dropped:
                tell(
                    f'{_SCOPES.name}: row {row.id} of scope {row.identifier} duplicates row '
                    f'{kept.id} and is deleted; its mark is {row.mark}, row {kept.id} gets the '
                    f'latest mark, {mark}'
                )
        count = connection.scalar(
            sa.select(sa.func.count()).select_from(_SCOPES).where(_is_incomplete())
        )
        if count:
            named = ', '.join(f'{part} {self.configured[part]}' for part in PARTS)
            tell(
                f'{_SCOPES.name}: {count} rows lack scope key, fetcher or collector; they get '
                f'{named}'
            )

    @property
    def configured(self):
        """The configured scope key, fetcher and collector by column."""
        return dict(zip(PARTS, self.options.identity, strict=True))

    def _target(self, part):
        return sa.func.coalesce(_SCOPES.c[part], self.configured[part])

    def doubles(self, connection):
        """Return (row to keep, its mark, rows to delete) of scopes that would be duplicates."""
        mark = _mark_of(connection)
        parts = [self._target(part) for part in PARTS]
        group = [_SCOPES.c.identifier, *parts]
        doubles = connection.execute(
            sa.select(*group).group_by(*group).having(sa.func.count() > 1).order_by(*group)
        ).all()
        found = []
        for identifier, *values in doubles:
            alike = [part == value for part, value in zip(parts, values, strict=True)]
            rows = connection.execute(
                sa.select(
                    _SCOPES.c.id,
                    _SCOPES.c.identifier,
                    *(_SCOPES.c[part] for part in PARTS),
                    mark.label('mark'),
                )
                .where(_SCOPES.c.identifier == identifier, *alike)
                .order_by(_SCOPES.c.id)
            ).all()
            # A complete row is kept; of several incomplete ones the most advanced.
            kept = max(rows, key=lambda row: (None not in row[2:5], row.mark, -row.id))
            last = max(row.mark for row in rows)
            found.append((kept, last, [row for row in rows if row.id != kept.id]))
        return found

    def run(self, connection):
        for kept, last, dropped in self.doubles(connection):
            self._merge(connection, kept, last, [row.id for row in dropped])
        for part in PARTS:
            column, value = _SCOPES.c[part], self.configured[part]
            journal.record_query(connection, _SCOPES, part, sa.literal(value), column.is_(None))
        named = {part: self._target(part) for part in PARTS}
        connection.execute(sa.update(_SCOPES).where(_is_incomplete()).values(named))

    def _merge(self, connection, kept, last, dropped):
        mark = _SCOPES.c.last_processed_timestamp
        if kept.mark != last:
            change = {'row_id': kept.id, 'before': str(kept.mark), 'after': str(last)}
            journal.record(connection, _SCOPES.name, mark.name, [change])
            connection.execute(
                sa.update(_SCOPES).where(_SCOPES.c.id == kept.id).values({mark.name: last})
            )
        rows = connection.execute(
            sa.select(sa.text('*')).select_from(_SCOPES).where(_SCOPES.c.id.in_(dropped))
        ).mappings()
        lost = [
            {'row_id': row['id'], 'before': json.dumps(dict(row), default=str), 'after': None}
            for row in rows
        ]
        journal.record(connection, _SCOPES.name, '*', lost)
        connection.execute(sa.delete(_SCOPES).where(_SCOPES.c.id.in_(dropped)))


def _is_incomplete():
    return sa.or_(*(_SCOPES.c[part].is_(None) for part in PARTS))


def rated_until(connection: sa.Connection, scope_id: str) -> datetime | None:
    """Return the begin of the last period of a scope that the former service rated, naive UTC.

    None: it was not adopted, or has rated nothing.
    """
    if not sa.inspect(connection).has_table(journal.journal.name):
        return None
    ids = connection.scalars(sa.select(_SCOPES.c.id).where(_SCOPES.c.identifier == scope_id)).all()
    noted = journal.changes(connection, _SCOPES.name, MARK, ids).values()
    return max((datetime.fromisoformat(one.before) for one in noted if one.before), default=None)


class Marks(RowStep):
    """Record the marks, up to which the former service has rated."""

    title = 'note the marks of scopes'

    def is_done(self, connection):
        return journal.is_over(connection, self.title)

    def run(self, connection):
        mark = _SCOPES.c.last_processed_timestamp
        journal.record_query(connection, _SCOPES, mark.name, mark, name=MARK)
        journal.finish(connection, self.title, str(self.options.now))


def _mark_of(connection):
    """Return the column of the mark, under its former name if it is not renamed yet."""
    present = {column['name'] for column in sa.inspect(connection).get_columns(_SCOPES.name)}
    name = next(
        (old for table, old, _ in former.RENAMED if table == _SCOPES.name and old in present),
        'last_processed_timestamp',
    )
    return sa.literal_column(f'{_SCOPES.name}.{name}', sa.DateTime())
