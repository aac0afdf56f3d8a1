"""What may be wrong around the service: configuration, services, source, prices, progress."""

from enum import IntEnum
from typing import NamedTuple

# For all checks of an examination.
TOTAL_LIMIT_S = 60


class Severity(IntEnum):
    """How grave a finding is; also the exit status of the command that reports it."""

    WARNING = 1
    ERROR = 2


class Finding(NamedTuple):
    """Something that is wrong, and what to do about it.

    :ivar subject: what it is about, such as `database`.
    """

    severity: Severity
    subject: str
    what: str
    remedy: str


def error(subject: str, what: str, remedy: str) -> Finding:
    """Return a finding that keeps the service from working, or makes it charge a wrong amount."""
    return Finding(Severity.ERROR, subject, what, remedy)


def warning(subject: str, what: str, remedy: str) -> Finding:
    """Return a finding that may be meant so, or harms later."""
    return Finding(Severity.WARNING, subject, what, remedy)
