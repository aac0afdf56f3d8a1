"""Options of adoption."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

# Called with one line for the operator.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to adopt.

    :ivar zone: of the local times of the former database.
    :ivar identity: (scope key, fetcher, collector) of scopes that have none.
    :ivar period_s: length of a rating period, seconds.
    :ivar now: naive UTC.
    :ivar is_dry_run: report everything, change nothing.
    :ivar objection: a reason of the configuration to refuse; '': there is none.
    """

    zone: ZoneInfo
    identity: tuple[str, str, str]
    period_s: int
    now: datetime
    is_dry_run: bool = False
    objection: str = ''
