"""Output of the commands on a terminal, which obeys characters that nobody sees."""

import io
import sys

from cloudkitty.core import bounds


class Terminal(io.TextIOWrapper):
    """A terminal that shows such characters as escapes, because tenants choose names."""

    def write(self, text: str) -> int:
        super().write('\n'.join(map(bounds.quote_unseen, text.split('\n'))))
        return len(text)


def protect() -> None:
    """Escape what is printed from now on; files and pipes get it as it is."""
    if sys.stdout.isatty():
        sys.stdout = _protected(sys.stdout)
    if sys.stderr.isatty():
        sys.stderr = _protected(sys.stderr)


def _protected(stream):
    return Terminal(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
