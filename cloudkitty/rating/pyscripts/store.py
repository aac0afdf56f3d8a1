"""Scripts that price frames, with validity times. Deleted scripts are kept."""

import dataclasses
import hashlib
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.rating import module_state, validity
from cloudkitty.rating.hashmap.store import values

MODULE = 'pyscripts'

_table = tables.pyscripts_scripts.c
_AUDIT = ('script_id', 'name', 'checksum', 'description', 'created_by', 'updated_by', 'deleted_by')
_TIMES = ('created_at', 'start', 'end', 'deleted')


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewScript:
    """The fields of a script to be created. Times are aware UTC.

    :ivar data: Python source; None if it was not requested, or is stored damaged.
    """

    name: str | None
    data: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    description: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Script(NewScript):
    """A script as it is stored. Times are aware UTC.

    :ivar checksum: SHA-512 of the source in UTF-8, hexadecimal.
    """

    script_id: str
    name: str
    start: datetime
    checksum: str
    created_at: datetime
    created_by: str
    updated_by: str | None = None
    deleted: datetime | None = None
    deleted_by: str | None = None

    def is_valid(self, instant: datetime) -> bool:
        """Return whether the script applies to a period that begins at *instant*.

        A deleted script still applies to periods that began before its deletion.
        """
        until = min(filter(None, (self.end, self.deleted)), default=None)
        return self.start <= instant and (until is None or instant < until)


def list_of(
    connection: sa.Connection, wanted: validity.Wanted, *, now: datetime, has_data: bool = True
) -> list[Script]:
    """Return the scripts that match *wanted*, oldest first.

    :param has_data: whether to read their sources.
    :raises InvalidInput: a filter is invalid.
    """
    columns = [column for column in _table if has_data or column is not _table.data]
    rows = connection.execute(
        sa.select(*columns).where(*validity.conditions(_table, wanted, now)).order_by(_table.id)
    )
    return [_script_of(row) for row in rows]


def load(connection: sa.Connection) -> list[Script]:
    """Return all scripts, even deleted ones, in the order in which they run: by start, then name.

    Of two with equal name and start, one of which must be deleted, the older one is first.
    """
    rows = connection.execute(sa.select(tables.pyscripts_scripts).order_by(_table.id))
    return sorted((_script_of(row) for row in rows), key=lambda script: (script.start, script.name))


def get(connection: sa.Connection, script_id: str) -> Script:
    """Return one script.

    :raises NotFound: there is none, or it is deleted.
    """
    row = connection.execute(
        sa.select(tables.pyscripts_scripts).where(
            values.has_id(_table.script_id, script_id), _table.deleted.is_(None)
        )
    ).one_or_none()
    if row is None:
        raise errors.NotFound(reason=f'No such script: None (UUID: {script_id})')
    return _script_of(row)


def create(
    connection: sa.Connection, new: NewScript, *, now: datetime, author: str, force: bool = False
) -> Script:
    """Create a script. A source that is not valid Python is accepted, and skipped when rating.

    :param force: whether it may start in the past.
    :raises InvalidInput: a field is missing or wrong.
    :raises Conflict: a script that is not deleted has its name.
    """
    now = now.replace(microsecond=0)
    start = new.start or now
    validity.check_times(start, new.end, None if force else now)
    values.check_name(new.name)
    validity.check_description(new.description)
    module_state.bump_version(connection, MODULE)
    _check_name_free(connection, new.name)
    script_id = values.new_id()
    connection.execute(
        tables.pyscripts_scripts.insert().values(
            script_id=script_id,
            name=new.name,
            **_source(new.data),
            start=timeframe.to_naive(start),
            end=new.end and timeframe.to_naive(new.end),
            description=new.description,
            created_at=timeframe.to_naive(now),
            created_by=author,
        )
    )
    return get(connection, script_id)


def update(
    connection: sa.Connection,
    script_id: str,
    changes: Mapping[str, Any],
    *,
    now: datetime,
    author: str,
) -> Script:
    """Update a script and return it; idempotent.

    :param changes: fields of Script. For a script that has not started, absent `end` and
        `description` are cleared, and fields that its author cannot set are ignored. For one that
        has started, only the end can be set, once; absent and empty fields are left as they are.
    :raises NotFound: there is none, or it is deleted.
    :raises InvalidInput: a value is wrong, or the change is not allowed any more.
    :raises Conflict: another script that is not deleted has the name.
    """
    now = now.replace(microsecond=0)
    module_state.lock(connection, MODULE)
    script = get(connection, script_id)
    if script.start > now:
        changed = _changed_before_start(script, changes, now)
    else:
        changed = validity.changed_while_running(script, changes, now)
    if changed == script:
        return script
    if changed.name != script.name:
        _check_name_free(connection, changed.name)
    module_state.bump_version(connection, MODULE)
    source = {} if changed.data == script.data else _source(changed.data)
    connection.execute(
        tables.pyscripts_scripts.update()
        .where(_table.script_id == script.script_id)
        .values(
            name=changed.name,
            start=timeframe.to_naive(changed.start),
            end=changed.end and timeframe.to_naive(changed.end),
            description=changed.description,
            updated_by=author,
            **source,
        )
    )
    return get(connection, script_id)


def delete(connection: sa.Connection, script_id: str, *, now: datetime, author: str) -> None:
    """Mark a script as deleted; it still applies to periods that began before.

    :raises NotFound: there is none, or it is deleted already.
    """
    module_state.bump_version(connection, MODULE)
    script = get(connection, script_id)
    connection.execute(
        tables.pyscripts_scripts.update()
        .where(_table.script_id == script.script_id)
        .values(deleted=timeframe.to_naive(now), deleted_by=author)
    )


def _changed_before_start(script: Script, changes: Mapping[str, Any], now: datetime) -> Script:
    data = changes.get('data')
    changed = dataclasses.replace(
        script,
        name=changes.get('name') or script.name,
        data=script.data if data is None else data,
        start=changes.get('start') or script.start,
        end=changes.get('end'),
        description=changes.get('description'),
    )
    validity.check_times(changed.start, changed.end, now)
    values.check_name(changed.name)
    validity.check_description(changed.description)
    return changed


def _check_name_free(connection: sa.Connection, name: str | None) -> None:
    taken = connection.scalar(
        sa.select(_table.script_id).where(_table.name == name, _table.deleted.is_(None)).limit(1)
    )
    if taken is not None:
        raise errors.Conflict(reason=f'Script {name} already exists (UUID: {taken})')


def _source(data: str | None) -> dict[str, Any]:
    """Return the columns that hold a source."""
    if data is None:
        raise values.invalid('data', data, 'Mandatory field missing.')
    try:
        encoded = data.encode()
    except UnicodeEncodeError as exc:
        raise values.invalid('data', '...', 'Value holds characters that are not text') from exc
    return {'data': zlib.compress(encoded), 'checksum': hashlib.sha512(encoded).hexdigest()}


def _script_of(row: tables.Row) -> Script:
    columns = row._mapping
    return Script(
        data=text_of(columns.get('data')),
        **{name: columns[name] for name in _AUDIT},
        **{name: timeframe.from_naive(columns[name]) for name in _TIMES},
    )


def text_of(compressed: bytes | memoryview | None) -> str | None:
    """Return the stored source, None if it is damaged: one bad row must not affect the others."""
    try:
        return None if compressed is None else zlib.decompress(bytes(compressed)).decode()
    except (zlib.error, UnicodeDecodeError):
        return None
