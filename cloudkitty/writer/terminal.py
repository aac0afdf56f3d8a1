"""Text on a terminal, which obeys characters that nobody sees."""

import io
import sys
from typing import TextIO

from cloudkitty.core import bounds


class Terminal(io.TextIOWrapper):
    """A terminal that shows such characters as escapes, because tenants choose names."""

    def write(self, text: str) -> int:
        super().write('\n'.join(map(bounds.quote_unseen, text.split('\n'))))
        return len(text)

    def close(self) -> None:
        """Leave the terminal open for who opened it."""
        self.flush()


def protect() -> None:
    """Escape what is printed from now on; files and pipes get it as it is."""
    sys.stdout, sys.stderr = protected(sys.stdout), protected(sys.stderr)


def protected(stream: TextIO) -> TextIO:
    """Return what to write to instead of *stream*: if it is a terminal, one that escapes."""
    if not stream.isatty():
        return stream
    return Terminal(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
