"""What the intake is given, and what became of it."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from oslo_config import cfg

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


# Options of [metering].
OWN_SERIES, OWN_ATTRIBUTES = OWN_OPTIONS = ('own_series_max', 'own_attributes_max')


class OwnLimits(NamedTuple):
    """Limits of what a project pushes itself; 0: none.

    :ivar series: see series.lock().
    :ivar attributes: see attribute_rows.AttributeIds.beyond().
    """

    series: int = 0
    attributes: int = 0

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'OwnLimits':
        """Return the limits of the configuration."""
        return cls(*[conf.metering[option] for option in OWN_OPTIONS])


UNLIMITED = OwnLimits()


@dataclass
class Outcome:
    """Result of storing a batch.

    :ivar rejected: reason by index.
    :ivar conflicts: indexes of those rejected because of what is stored.
    :ivar late: how many of the accepted entries change periods that may have been rated.
    :ivar beyond: how many were rejected for a limit of what projects push, by its option.
    :ivar new_attributes: how many sets of attributes were not stored before.
    """

    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    new_attributes: int = 0
    rejected: dict[int, str] = field(default_factory=dict)
    conflicts: set[int] = field(default_factory=set)
    beyond: Counter[str] = field(default_factory=Counter)

    def contradict(self, number: int, reason: str) -> None:
        """Reject an entry because of what is stored."""
        self.rejected[number] = reason
        self.conflicts.add(number)

    def refuse_own(self, numbers: Collection[int], option: str, most: int, what: str) -> None:
        """Reject entries for a limit of what a project pushes itself.

        :param option: of [metering], with the limit *most*.
        :param what: is limited.
        """
        if not numbers:
            return
        self.beyond[option] += len(numbers)
        reason = (
            f'the project has pushed {most} {what}, and no more are allowed ([metering]{option})'
        )
        self.rejected.update(dict.fromkeys(numbers, reason))
