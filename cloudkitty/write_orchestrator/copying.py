"""Streams with a digest."""

import hashlib
from typing import BinaryIO

CHUNK = 1 << 20


class Hashed:
    """Writes to a file, and counts its bytes and computes their SHA-256."""

    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.size = 0
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.out.write(data)

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, hexadecimal."""
        return self.hash.hexdigest()


def copy(source: BinaryIO, out: Hashed, size: int) -> None:
    """Copy the first *size* bytes, or all if there are fewer."""
    while size > 0:
        data = source.read(min(size, CHUNK))
        if not data:
            return
        out.write(data)
        size -= len(data)


def digest_of(source: BinaryIO) -> str:
    """Return the SHA-256 of what is left to read, hexadecimal."""
    return hashlib.file_digest(source, 'sha256').hexdigest()  # type: ignore[arg-type]
