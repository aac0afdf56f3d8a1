"""Report files in a folder."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cloudkitty import backend, errors

# Usage and prices are confidential.
FOLDER_MODE, FILE_MODE = 0o750, 0o640
PART = '.part-'
# Older ones were left by a process that was killed.
PART_AGE_MAX_S = 86_400


class FileBackend(backend.BaseBackend):
    """A folder, which is created if it is missing."""

    def __init__(self, basepath: str) -> None:
        super().__init__(basepath)
        self._swept: set[Path] = set()

    @contextlib.contextmanager
    def replace(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        part = None
        try:
            path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            self._sweep(path.parent)
            number, name_of_part = tempfile.mkstemp(dir=path.parent, prefix=PART)
            part = Path(name_of_part)
            with os.fdopen(number, 'wb') as out:
                yield out
                out.flush()
                os.fchmod(out.fileno(), FILE_MODE)
                os.fsync(out.fileno())
            if _digest(part) != self.digest(name):
                part.replace(path)
                _sync(path.parent)
        except OSError as exc:
            raise errors.ConfigurationError(
                reason=f'[output]basepath: {exc.filename or path}: {exc.strerror or exc}'
            ) from exc
        finally:
            if part is not None:
                part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        try:
            source = path.open('rb')
        except OSError as exc:
            raise errors.NotFound(reason=f'{path}: {exc.strerror or exc}') from exc
        with source:
            yield source

    def size(self, name: str) -> int | None:
        path = self._path(name)
        return path.stat().st_size if path.is_file() else None

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def digest(self, name: str) -> str | None:
        path = self._path(name)
        return _digest(path) if path.is_file() else None

    def _sweep(self, folder: Path) -> None:
        """Remove the parts of files that were left in *folder*; once."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        for part in folder.glob(f'{PART}*'):
            # Another process may be writing, or sweeping, too.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > PART_AGE_MAX_S:
                    part.unlink()

    def _path(self, name: str) -> Path:
        return Path(self.basepath) / backend.check_name(name)


def _digest(path: Path) -> str:
    with path.open('rb') as source:
        return hashlib.file_digest(source, 'sha256').hexdigest()


def _sync(folder: Path) -> None:
    """Make the new name of a file survive a crash of the host."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
