"""Spool: messages that wait on disk until the bus accepts them.

The spool is a folder of files, each with records one after the other; the oldest file is sent
first, and removed once all of it is sent. A record is its length, its checksum and its content, so
one that was cut off by a crash is detected. A message that is sent twice is stored once.
"""

import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from cloudkitty import errors

LOG = logging.getLogger(__name__)

FILE_MAX_BYTES = 2**20
_HEAD = struct.Struct('>II')
_LOCK = 'lock'
_SUFFIX = '.spool'


class Spool:
    """A bounded queue on disk. Not thread-safe; one process at a time has it.

    :param folder: made if it is missing.
    :param size_max: bytes; records that would exceed it are refused.
    :raises ConfigurationError: the folder cannot be used, or another agent has it.
    """

    def __init__(self, folder: Path, size_max: int) -> None:
        self._folder = folder
        self._size_max = size_max
        self._lock = _claim(folder)
        self._files: deque[Path] = deque(sorted(folder.glob(f'*{_SUFFIX}')))
        self._size = sum(path.stat().st_size for path in self._files)
        self._count = sum(1 for path in self._files for _ in _records(path))
        self._next = int(self._files[-1].stem) + 1 if self._files else 1
        # The file that is written to; none after a start, as the last one may have a damaged end.
        self._open: int | None = None
        self._sent = 0

    def __len__(self) -> int:
        """Return how many records wait."""
        return self._count

    def append(self, content: bytes) -> bool:
        """Write a record that survives a crash of the machine; return False if there is no room.

        :raises OSError: it cannot be written.
        """
        size = _HEAD.size + len(content)
        if self._size + size > self._size_max:
            return False
        if self._open is None or os.fstat(self._open).st_size + size > FILE_MAX_BYTES:
            self._begin_file()
        assert self._open is not None
        start = os.fstat(self._open).st_size
        try:
            _write(self._open, _HEAD.pack(len(content), zlib.crc32(content)) + content)
            os.fsync(self._open)
        except OSError:
            # Records after an incomplete one could not be read.
            with contextlib.suppress(OSError):
                os.ftruncate(self._open, start)
            raise
        self._size += size
        self._count += 1
        return True

    def oldest(self) -> bytes | None:
        """Return the record that has waited longest; None: there is none."""
        while self._files:
            found = next(_records(self._files[0], self._sent), None)
            if found is not None:
                return found
            self._tell_damage()
            self._remove_file()
        return None

    def remove_oldest(self) -> None:
        """Remove the record that oldest() returned, after it was sent."""
        record = self.oldest()
        assert record is not None
        self._sent += _HEAD.size + len(record)
        self._count -= 1
        if next(_records(self._files[0], self._sent), None) is None:
            self._tell_damage()
            self._remove_file()

    def close(self) -> None:
        """Release the folder for other processes."""
        self._end_file()
        os.close(self._lock)

    def _begin_file(self) -> None:
        self._end_file()
        path = self._folder / f'{self._next:012d}{_SUFFIX}'
        self._next += 1
        self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        self._files.append(path)
        _sync_folder(self._folder)

    def _end_file(self) -> None:
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _tell_damage(self) -> None:
        path = self._files[0]
        damaged = path.stat().st_size - self._sent
        if damaged:
            LOG.warning('%d bytes at the end of %s are damaged and cannot be sent', damaged, path)

    def _remove_file(self) -> None:
        path = self._files.popleft()
        if not self._files:
            self._end_file()
        self._size -= path.stat().st_size
        self._sent = 0
        path.unlink()


def _claim(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise errors.ConfigurationError(
            reason=f'[agent]spool_folder: {folder}: {exc.strerror}'
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise errors.ConfigurationError(
            reason=f'[agent]spool_folder: another agent uses {folder}'
        ) from exc
    return lock


def _records(path: Path, start: int = 0) -> Iterator[bytes]:
    """Yield the records of a file from an offset on, up to the first that is damaged."""
    with path.open('rb') as file:
        file.seek(start)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            # A damaged length may be anything.
            content = file.read(min(length, FILE_MAX_BYTES))
            if len(content) != length or zlib.crc32(content) != checksum:
                return
            yield content


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
