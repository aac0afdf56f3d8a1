"""Imports of libraries that would import others, which they do not need here."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden(name: str = 'eventlet') -> Iterator[None]:
    """Let modules that are imported in the block find no library *name*, unless it is there.

    futurist, of oslo.messaging and tooz, imports eventlet if it is installed, which oslo.service
    sees to: 17 MiB in each process, and a warning on stderr. It works without.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
