"""Export to a former store: what was rated here since adoption, period by period.

It may be stopped at any moment and run again: what is stored there is read, compared, and left as
it is.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.former import influxdb_writer
from cloudkitty.storage.former.influxdb import Row
from cloudkitty.storage.v2.series.cells import Cell

# Periods of a scope that are compared at once.
PERIODS_AT_ONCE = 100
POINTS_AT_ONCE = 20_000


@dataclass
class Counts:
    """Results of a run, in numbers of periods.

    :ivar points: that were written, or would be.
    :ivar different: periods that have different points there and are not changed, by scope.
    """

    points: int = 0
    written: int = 0
    kept: int = 0
    replaced: int = 0
    different: Counter[str] = field(default_factory=Counter)


class Exporter:
    """One export.

    :param since: called with a scope id: begin of its first period to export.
    :param is_dry_run: count only.
    :param is_replacing: replace periods that have different points there.
    """

    def __init__(
        self,
        writer: influxdb_writer.InfluxDBWriter,
        since: Callable[[str], datetime],
        *,
        is_dry_run: bool,
        is_replacing: bool,
    ) -> None:
        self.writer = writer
        self.since = since
        self.is_dry_run = is_dry_run
        self.is_replacing = is_replacing
        self.counts = Counts()

    def run(self, cells: Iterable[Cell]) -> Iterator[int]:
        """Export *cells*, which come by scope and time; yield how many were processed.

        :raises SourceError: the store does not answer or refuses points.
        :raises InvalidInput: the store cannot hold a point; nothing of its period is written.
        """
        for scope_id, own in itertools.groupby(cells, key=lambda cell: cell.owner):
            since = self.since(scope_id)
            for batch in _batches(own):
                due = [frames for frames in batch if frames[0].start >= since]
                if due:
                    self._export(scope_id, due)
                yield sum(map(len, batch))

    def _export(self, scope_id: str, periods: list[list[DataFrame]]) -> None:
        window = Period(periods[0][0].start, max(frame.end for frame in periods[-1]))
        there: dict[datetime, list[Row]] = {}
        for row in self.writer.rows(window, scope_id):
            there.setdefault(row.begin, []).append(row)
        missing: list[Row] = []
        for frames in periods:
            begin = frames[0].start
            rows = self.writer.rows_of(scope_id, frames)
            missing += self._missing(scope_id, begin, rows, there.get(begin, []))
        self.counts.points += len(missing)
        if not self.is_dry_run:
            self.writer.write(missing)

    def _missing(
        self, scope_id: str, begin: datetime, rows: list[Row], there: list[Row]
    ) -> list[Row]:
        """Return the points of a period that are to be written."""
        counts = self.counts
        wanted = {influxdb_writer.key_of(row): row for row in rows}
        known = {influxdb_writer.key_of(row) for row in there}
        if all(
            (own := wanted.get(influxdb_writer.key_of(row))) and influxdb_writer.same(row, own)
            for row in there
        ):
            # An export that was stopped leaves a part of a period.
            missing = [row for key, row in wanted.items() if key not in known]
            if missing:
                counts.written += 1
            else:
                counts.kept += 1
            return missing
        if not self.is_replacing:
            counts.different[scope_id] += 1
            return []
        counts.replaced += 1
        if not self.is_dry_run:
            self.writer.delete(scope_id, begin)
        return rows


def _batches(cells: Iterable[Cell]) -> Iterator[list[list[DataFrame]]]:
    """Yield the frames of a scope by period, in lists of a bounded size."""
    batch: list[list[DataFrame]] = []
    points = 0
    for _, same in itertools.groupby(cells, key=lambda cell: cell.frame.start):
        frames = [cell.frame for cell in same]
        batch.append(frames)
        points += sum(1 for frame in frames for _ in frame)
        if len(batch) >= PERIODS_AT_ONCE or points >= POINTS_AT_ONCE:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch
