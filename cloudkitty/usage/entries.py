"""What the intake is given, and what became of it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from cloudkitty.core.metering.facts import Fact


class Entry(NamedTuple):
    """A message to be stored.

    :ivar text: as it was received, JSON.
    :ivar facts: the facts in it, all of one series.
    :ivar event: digests of its source and id, and of its content; None: it has no relevant id.
    :ivar until: its source has sent all of *meter* up to then, microseconds since the epoch.
    """

    text: str
    facts: tuple[Fact, ...]
    event: tuple[bytes, bytes] | None = None
    revision: int = 0
    source: str = ''
    meter: str = ''
    until: int | None = None


class Origin(NamedTuple):
    """Origin of messages; see the table usage_batches."""

    path: str
    publisher: str
    trust: str


@dataclass
class Outcome:
    """Result of storing a batch.

    :ivar rejected: reason by index.
    :ivar conflicts: indexes of those rejected because of what is stored.
    :ivar late: how many of the accepted entries change periods that may have been rated.
    :ivar beyond: how many were rejected because their project has too many series.
    """

    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    beyond: int = 0
    rejected: dict[int, str] = field(default_factory=dict)
    conflicts: set[int] = field(default_factory=set)

    def contradict(self, number: int, reason: str) -> None:
        """Reject an entry because of what is stored."""
        self.rejected[number] = reason
        self.conflicts.add(number)
