"""Records in CSV and JSON-lines files, plain or compressed with gzip."""

import csv
import functools
import glob
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cloudkitty import errors
from cloudkitty.core.dataframe import is_text

LINE_SIZE_MAX_BYTES = 2**20
PACKED = '.gz'


class Version(NamedTuple):
    """Identifies the content of a file: another size or time means another content."""

    path: str
    device: int
    inode: int
    size_bytes: int
    changed_ns: int


class Record(NamedTuple):
    """A record, with the number of its line, or of its last one if it spans several (CSV).

    :ivar fields: text by column; {} when there is a problem.
    :ivar problem: why it cannot be read; None: it can.
    """

    line: int
    fields: dict[str, str]
    problem: str | None = None


def find(patterns: Iterable[str]) -> list[Version]:
    """Return the files that match *patterns*, by path.

    :param patterns: paths of files, of directories (all files in it with a known extension), or
        globs with `*`, `?`, `[` and `**`.
    :raises SourceError: a pattern matches nothing, or a file that cannot be accessed.
    """
    paths: set[str] = set()
    for pattern in patterns:
        found = _list(pattern) if os.path.isdir(pattern) else glob.glob(pattern, recursive=True)
        if not found:
            raise errors.SourceError(reason=f'{pattern}: there is no such file')
        paths.update(found)
    return [_version(path) for path in sorted(paths)]


def read(version: Version) -> Iterator[Record]:
    """Yield the records of a file in their order.

    :raises SourceError: it cannot be read to its end, or is no longer this version.
    """
    reader = _READERS.get(_kind(version.path))
    if reader is None:
        raise errors.SourceError(
            reason=f'{version.path}: the name must end in '
            f'{", ".join(_READERS)}, or one of them and {PACKED}'
        )
    is_packed = version.path.endswith(PACKED)
    try:
        with (gzip.open if is_packed else open)(version.path, 'rb') as file:
            yield from reader(version.path, file)
    except (OSError, EOFError, zlib.error) as exc:
        raise errors.SourceError(reason=f'{version.path}: {exc}') from exc
    if _version(version.path) != version:
        raise errors.SourceError(reason=f'{version.path}: it was changed while it was read')


def _list(folder):
    try:
        names = os.listdir(folder)
    except OSError as exc:
        raise errors.SourceError(reason=f'{folder}: {exc.strerror}') from exc
    return [
        os.path.join(folder, name)
        for name in names
        if _kind(name) in _READERS and not name.startswith('.')
    ]


def _kind(path):
    return os.path.splitext(path.removesuffix(PACKED))[1]


def _version(path):
    try:
        state = os.stat(path)
    except OSError as exc:
        raise errors.SourceError(reason=f'{path}: {exc.strerror}') from exc
    return Version(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _lines(path, file):
    """Yield the lines as text; bytes that are not UTF-8 become lone surrogates."""
    line, number = b'\n', 0
    for number, line in enumerate(  # noqa: B007
        iter(functools.partial(file.readline, LINE_SIZE_MAX_BYTES + 1), b''), 1
    ):
        if len(line) > LINE_SIZE_MAX_BYTES:
            raise errors.SourceError(
                reason=f'{path}:{number}: more than {LINE_SIZE_MAX_BYTES} bytes in a line'
            )
        if number == 1:
            line = line.removeprefix(b'\xef\xbb\xbf')
        yield line.decode('utf-8', 'surrogateescape')
    # A truncated number would be another number.
    if not line.endswith(b'\n'):
        raise errors.SourceError(
            reason=f'{path}:{number}: the last line has no end; the file is '
            'still being written, or was cut off'
        )


def _read_csv(path, file):
    rows = csv.reader(_lines(path, file), strict=True)
    try:
        header = next(rows, [])
    except csv.Error as exc:
        raise errors.SourceError(reason=f'{path}:{rows.line_num}: {exc}') from exc
    twice = [name for name in header if header.count(name) > 1]
    if twice or not header or not all(map(is_text, header)):
        what = f'has {twice[0]!r} twice' if twice else 'is missing or no text'
        raise errors.SourceError(reason=f'{path}:1: the line of column names {what}')
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            yield Record(rows.line_num, {}, f'no CSV: {exc}')
            continue
        if len(row) == len(header):
            yield _record(rows.line_num, dict(zip(header, row, strict=True)))
        elif row:
            yield Record(rows.line_num, {}, f'{len(row)} fields, and {len(header)} column names')


def _read_json(path, file):
    for number, line in enumerate(_lines(path, file), 1):
        if line.isspace():
            continue
        try:
            # Numbers are kept as text.
            found = json.loads(
                line,
                parse_float=str,
                parse_int=str,
                parse_constant=_no_number,
                object_pairs_hook=_unique,
            )
        except (ValueError, RecursionError) as exc:
            yield Record(number, {}, f'no JSON: {exc}')
            continue
        if isinstance(found, dict):
            yield _record(
                number,
                {
                    name: _TEXTS.get(value, value) if isinstance(value, bool | None) else value
                    for name, value in found.items()
                },
            )
        else:
            yield Record(number, {}, 'no JSON object')


def _record(line, fields):
    try:
        # All values in one test, because this runs for every line.
        if is_text(''.join((*fields, *fields.values()))):
            return Record(line, fields)
    except TypeError:
        name = next(name for name, value in fields.items() if not isinstance(value, str))
        return Record(line, {}, f'{name} is neither text nor a number')
    name = next(name for name, value in fields.items() if not is_text(name + value))
    return Record(line, {}, f'{name!r} has bytes that are no UTF-8, or a NUL')


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError('a name stands twice')
    return found


def _no_number(name):
    raise ValueError(f'{name} is no number')


_TEXTS = {None: '', True: 'true', False: 'false'}
_READERS = {'.csv': _read_csv, '.jsonl': _read_json, '.ndjson': _read_json}
