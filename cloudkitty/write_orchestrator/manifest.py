"""The list of the files of a month, which is written after them."""

import json
from typing import Any

from cloudkitty import db, errors
from cloudkitty.backend import BaseBackend
from cloudkitty.core import timeframe
from cloudkitty.write_orchestrator import files

VERSION = 1


def name_of(month: str) -> str:
    """Return the name of the manifest of a month."""
    return f'manifest-{month}.json'


def read(backend: BaseBackend, month: str) -> dict[str, Any]:
    """Return a manifest; one that is missing or damaged is empty."""
    try:
        with backend.open(name_of(month)) as source:
            found = json.loads(source.read())
    except (errors.NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(database: db.Database, backend: BaseBackend, month: str, *, is_complete: bool) -> None:
    """Write the manifest of a month, or remove it if there are no files any more.

    :param is_complete: the month is final, and every file of it is written.
    """
    found = files.of_month(database, month)
    if not found:
        backend.remove(name_of(month))
        return
    form = {
        'cloudkitty_manifest': VERSION,
        'month': month,
        'complete': is_complete and not any(file.failure for file in found),
        'files': [
            {
                'name': file.unit.name,
                'writer': file.unit.writer,
                'subject': file.unit.subject,
                'id': file.unit.subject_id,
                'size': file.size,
                'sha256': file.digest,
                'written_at': timeframe.render(file.written_at),
                'failure': file.failure,
            }
            for file in found
        ],
    }
    with backend.replace(name_of(month)) as out:
        out.write(json.dumps(form, indent=1, sort_keys=True).encode() + b'\n')
