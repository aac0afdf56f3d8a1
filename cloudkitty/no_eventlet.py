"""Imports of libraries that would import eventlet, which nothing here uses."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Let modules that are imported in the block find no eventlet.

    futurist, of oslo.messaging and tooz, imports it if it is installed, which oslo.service sees to:
    17 MiB in each process, and a warning on stderr. It works without.
    """
    if 'eventlet' in sys.modules:
        yield
        return
    sys.modules['eventlet'] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules['eventlet']
