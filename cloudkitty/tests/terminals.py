"""Reading what a command has shown on a terminal."""

import errno
import os

PART = 65536


def read_all(terminal: int) -> str:
    """Return what the other end wrote until it was closed, and close *terminal*.

    A single read may return less: what is written arrives in parts.
    """
    parts = []
    try:
        while part := os.read(terminal, PART):
            parts.append(part)
    except OSError as exc:
        # So Linux tells that the other end is closed.
        if exc.errno != errno.EIO:
            raise
    finally:
        os.close(terminal)
    return b''.join(parts).decode()
