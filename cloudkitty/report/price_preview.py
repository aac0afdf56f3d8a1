"""Preview: prices of stored usage under changed hashmap rules; nothing is stored."""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from oslo_config import cfg

from cloudkitty import db, errors
from cloudkitty.core import decimals
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.pricing import changes
from cloudkitty.rating import repricing
from cloudkitty.rating.hashmap.store import rules as db_rules
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage import v2 as storage_v2
from cloudkitty.storage.v2.series.cells import Cell, Extent
from cloudkitty.storage.v2.series.driver import SeriesStorage
from cloudkitty.storage.v2.series.frame_rows import PUSHED

# Most frames (periods of a scope) that are priced in one call, and how long it may take.
FRAMES_MAX = 50_000
SECONDS_MAX = 30


class Prices(NamedTuple):
    """The prices of one metric of a scope: as stored, and by the changed rules."""

    scope_id: str
    metric: str
    old: Decimal
    new: Decimal


def require_points(storage: storage_v2.BaseStorage) -> SeriesStorage:
    """Return *storage*, which tells its points.

    :raises Conflict: it cannot.
    """
    if not isinstance(storage, SeriesStorage):
        raise errors.Conflict(reason='This storage has no points that can be priced again.')
    return storage


def price_again(modules: ModuleSet, cell: Cell) -> DataFrame:
    """Return the frame of a stored cell as it would be rated now; pushed prices are kept."""
    if cell.origin == PUSHED:
        return cell.frame
    return repricing.price_again(modules, cell.frame, cell.owner)


class PricePreview:
    """Prices stored usage again.

    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: db.Database,
        storage: storage_v2.BaseStorage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conf = conf
        self._database = database
        self._storage = storage
        self._clock = clock

    def compute(self, extent: Extent, wanted: Sequence[changes.Change]) -> list[Prices]:
        """Return the prices of the metrics in *wanted*, by scope and metric.

        They are those that rating the periods again would store if their usage is the same: pushed
        points keep the prices that they were pushed with.

        :raises Conflict: it would take too long, hashmap is not enabled, or the storage cannot
            tell its points.
        """
        storage = require_points(self._storage)
        if storage.cells.count(extent) > FRAMES_MAX:
            raise _too_much(f'More than {FRAMES_MAX} periods of projects would be priced again')
        modules = repricing.modules_with(
            self._conf,
            self._database,
            lambda connection: changes.apply(db_rules.load(connection), wanted),
        )
        metrics = {change.rule.service for change in wanted}
        sums: dict[tuple[str, str], list[Decimal]] = {}
        end = self._clock() + SECONDS_MAX
        for cell in storage.cells.read(extent):
            if self._clock() > end:
                raise _too_much(f'It takes more than {SECONDS_MAX} seconds')
            if metrics.isdisjoint(name for name, _ in cell.frame.itertypes()):
                continue
            after = price_again(modules, cell)
            for was, frame in enumerate((cell.frame, after)):
                for metric, point in frame:
                    if metric in metrics:
                        pair = sums.setdefault((cell.owner, metric), [decimals.ZERO, decimals.ZERO])
                        price = decimals.on_grid(point.price)
                        pair[was] = decimals.SUM_CONTEXT.add(pair[was], price)
        return [Prices(*key, *pair) for key, pair in sorted(sums.items())]


def _too_much(what: str) -> errors.Conflict:
    return errors.Conflict(reason=f'{what}: choose a shorter time or one project.')
