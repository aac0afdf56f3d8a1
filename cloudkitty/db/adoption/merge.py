"""Merges converted rows of a former database into our tables; may be repeated.

Parents are written before children, and rows are deleted in the reverse order.
"""

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.db.adoption import convert, former, merge_table
from cloudkitty.db.adoption.options import Tell

NAMES_MAX = 10


class Merge:
    """Merges all tables of a former database.

    :param is_empty: our tables are not there yet, which is possible in a dry run only.
    :ivar changed: names of the tables with changes.
    """

    def __init__(
        self,
        connection: sa.Connection,
        conversion: convert.Conversion,
        tell: Tell,
        *,
        is_dry_run: bool,
        is_empty: bool,
    ):
        self._connection = connection
        self._conversion = conversion
        self._tell = tell
        self._is_dry_run = is_dry_run
        self._is_empty = is_empty
        self._parts: dict[str, merge_table.TableMerge] = {}
        self.changed: set[str] = set()

    def run(self) -> None:
        """Merge every table that the former database has.

        :raises SchemaMismatch: two different rows have the same unique name.
        """
        for name in former.TABLES:
            table = tables.metadata.tables[name]
            if self._conversion.has(table):
                self._merge(table)
        for part in reversed(self._parts.values()):
            self._delete_gone(part)

    def _merge(self, table):
        part = merge_table.TableMerge(
            self._connection, table, self._conversion, is_empty=self._is_empty
        )
        self._parts[table.name] = part
        for row in self._conversion.rows(table):
            former_id = row.get('id')
            part.take(former_id, part.key(row), self._with_parents(table, row))
        if not self._is_dry_run:
            self._write(part)
        if part.has_changes:
            self.changed.add(table.name)
        self._report(part)

    def _with_parents(self, table, row):
        """Return *row* with the ids of its parents here; None if one of them was deleted here."""
        found = {}
        for key in table.foreign_keys:
            name, value = key.parent.name, row[key.parent.name]
            if value is not None:
                found[name] = self._parts[key.column.table.name].ids.get(value)
                if found[name] is None:
                    return None
        return row | found

    def _write(self, part):
        try:
            part.write()
        except db_exception.DBDuplicateEntry as exc:
            raise errors.SchemaMismatch(
                reason=f'{part.table.name}: rows of the same name were created in both databases '
                f'({", ".join(exc.columns or [])} {exc.value or ""}): rename or delete one of them'
            ) from exc

    def _delete_gone(self, part):
        used = self._used(part)
        if used:
            self._tell(
                f'{part.table.name}: {_listed(used)} was deleted from the former database, but '
                'rows created here refer to it: kept'
            )
        if not self._is_dry_run:
            part.delete([key for key in part.gone if key not in used])

    def _used(self, part):
        """Return the keys of deleted former rows that rows which remain here refer to."""
        owners = {own: key for key, own in part.gone.items()}
        used = set()
        for child in self._parts.values():
            going = set(child.gone.values())
            for key in child.table.foreign_keys:
                if owners and key.column.table is part.table:
                    found = self._connection.execute(
                        sa.select(key.parent, child.primary).where(key.parent.in_(list(owners)))
                    )
                    used.update(owners[parent] for parent, own in found if own not in going)
        return sorted(used)

    def _report(self, part):
        name = part.table.name
        if part.is_first:
            self._tell(f'copied {name}: {len(part.inserted)} rows')
        else:
            self._tell(
                f'copied {name} again: {len(part.inserted)} new, {len(part.updated)} changed, '
                f'{len(part.gone)} deleted'
            )
        for keys, what in (
            (part.kept, 'was changed in both databases: the row here is kept'),
            (part.deleted_here, 'was deleted here: not copied again'),
            (part.orphans, 'belongs to a row that was deleted here: not copied'),
        ):
            if keys:
                self._tell(f'{name}: {_listed(keys)} {what}')
        if part.rated_here:
            self._tell(f'{name}: {part.rated_here} scopes were rated here: their marks are kept')


def _listed(keys):
    shown = ', '.join(keys[:NAMES_MAX])
    return shown if len(keys) <= NAMES_MAX else f'{shown} and {len(keys) - NAMES_MAX} more'
