"""Readers of the stores in which earlier releases kept rated data.

Contract of the readers, one file each. Nothing else of the service depends on them.
"""

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.bounds import to_decimal
from cloudkitty.core.dataframe import Series
from cloudkitty.core.timeframe import Period

# Names of the stores, as in [storage]backend of earlier releases.
INFLUXDB, ELASTICSEARCH, OPENSEARCH, LOKI = NAMES = (
    'influxdb',
    'elasticsearch',
    'opensearch',
    'loki',
)


class Point(NamedTuple):
    """A rated point.

    :ivar begin, end: its period, aware UTC.
    :ivar series: without calendar attributes, which follow from *begin*.
    """

    begin: datetime
    end: datetime
    metric: str
    series: Series
    qty: Decimal
    price: Decimal


@dataclass
class Remarks:
    """Findings of a reader besides points.

    :ivar unreadable: entries that are no rated points.
    :ivar lost_keys: attributes whose values the store had overwritten.
    """

    unreadable: int = 0
    lost_keys: set[str] = field(default_factory=set)


class Sum(NamedTuple):
    """A total that the store computed itself."""

    qty: Decimal
    price: Decimal


class WindowTooLarge(Exception):
    """A window has more points than may be in memory."""


class Reader(abc.ABC):
    """A former store. An incomplete answer is an error; a part is never returned.

    :ivar points_max: how many points read() may hold at once; None: any number.
    :cvar GROUP, OPTS: section and options of the earlier release.
    :cvar sums_tolerance: relative error of sums(), besides that of adding 64-bit floats.
    """

    GROUP: str = ''
    OPTS: list[cfg.Opt] = []
    sums_tolerance = Decimal(0)

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)
        self.scope_key: str = conf.collect.scope_key
        self.period_s: int = conf.collect.period
        self.remarks = Remarks()
        self.points_max: int | None = None

    @abc.abstractmethod
    def extent(self) -> Period | None:
        """Return a time range that contains the begins of all points; None: there are none.

        :raises SourceError: the store does not answer correctly; so do the other methods.
        """

    @abc.abstractmethod
    def read(self, window: Period) -> Iterator[Point]:
        """Yield the points whose periods begin in *window*, in any order.

        :raises WindowTooLarge: it would hold more than `points_max` of them.
        """

    @abc.abstractmethod
    def sums(self, window: Period) -> Mapping[tuple[str, str], Sum] | None:
        """Return the store's own totals by scope id and metric; None: it computes none."""


def number(value: Any, place: str) -> Decimal:
    """Return a quantity or price as the exact decimal that its text shows.

    :param place: where it is, for the error.
    :raises SourceError: it is not a finite number.
    """
    try:
        return to_decimal(value)
    except errors.InvalidInput as exc:
        raise errors.SourceError(reason=f'{place}: {exc}') from exc


def place_of(metric: str, attributes: Mapping[str, Any], scope_key: str, begin: datetime) -> str:
    """Return where a point is, for errors."""
    scope_id = attributes.get(scope_key, '')
    return f'scope {scope_id!r}, metric {metric!r}, period {timeframe.render(begin)}'


def plain(value: Any) -> Any:
    """Return an attribute as JSON has it: earlier releases showed numbers as floats."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def without_calendar(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return *attributes* without those that follow from the begin of a period."""
    return {
        name: value for name, value in attributes.items() if name not in timeframe.CALENDAR_KEYS
    }
