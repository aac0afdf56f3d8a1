"""Checks for problems of a deployment: configuration, services, source, prices, progress."""

from enum import IntEnum
from typing import NamedTuple

# For all checks of an examination.
TOTAL_LIMIT_S = 60


class Severity(IntEnum):
    """Severity of a finding; also the exit status of the command that reports it."""

    WARNING = 1
    ERROR = 2


class Finding(NamedTuple):
    """A problem, and its remedy.

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
    """Return a finding that may be intended, or does harm later."""
    return Finding(Severity.WARNING, subject, what, remedy)
