"""Whether the source has the data of due periods yet: periods wait for a source that lags."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.collector import BaseCollector
from cloudkitty.core import schedule, timeframe
from cloudkitty.pipeline import Batch
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.coverage import CoverageCheck
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import source_lag
from cloudkitty.scopes.source_lag import HELD, LATE, NOWHERE, Lag

LOG = logging.getLogger(__name__)

# Sources are scraped every few minutes: a shorter lag is not logged.
UNLOGGED_LAG_MAX_S = 300
# How far back data is looked for, and how long a metric counts as late, in times of lag_max.
LOOK_BACK = 2
NAMES_MAX = 10


class SourceReadiness(NamedTuple):
    """Which periods wait for the source, and which may lack data.

    :ivar held_from: periods that end after this instant wait for the source; None: none does.
    :ivar reason: why, for operators.
    :ivar late: watermarks of the metrics for which periods no longer wait: periods that end later
        may lack their data.
    """

    held_from: datetime | None = None
    reason: str = ''
    late: Mapping[str, datetime] = MappingProxyType({})

    def is_ready(self, end: datetime) -> bool:
        """Return whether a period that ends at *end* need not wait."""
        return self.held_from is None or end <= self.held_from

    def ready_part(self, batch: Batch) -> Batch:
        """Return *batch* without the periods that wait."""
        return batch._replace(periods=[one for one in batch.periods if self.is_ready(one.end)])


class WatermarkCheck:
    """Queries the collector's watermarks, once for all that is due, and then for gaps.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        collector: BaseCollector,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        self._database = database
        self._collector = collector
        self._settings = settings
        self._clock = clock
        self._coverage = CoverageCheck(
            database=database, collector=collector, settings=settings, clock=clock
        )
        self._backoff = Backoff('Asking the source for its watermarks', settings.length_s)
        self._readiness = SourceReadiness()
        self._needed: datetime | None = None
        self._failures = 0
        self._lags_until: datetime | None = None

    @property
    def next_at(self) -> datetime | None:
        """When to look again whether what waits can be rated; None: nothing waits."""
        now = self._clock()
        instants = (self._lags_until, self._coverage.next_at)
        return min((one for one in instants if one is not None and one > now), default=None)

    def ready_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return *batches* without the periods that wait for the source.

        Of each, all periods lack the same metrics; the others follow once these are stored.

        :raises SourceUnreachable: the source does not answer.
        """
        if not batches:
            return []
        now, settings = self._clock(), self._settings
        # Not the end of the batch: one query is enough for a whole backlog.
        readiness = self.query(
            max(
                schedule.due_end(
                    batch.periods[0].begin,
                    now,
                    length_s=settings.length_s,
                    wait_periods=settings.wait_periods,
                )
                for batch in batches
            )
        )
        found, is_held = [], False
        for batch in map(readiness.ready_part, batches):
            if batch.periods:
                covered = self._coverage.ready_part(batch, readiness.late)
                is_held |= bool(self._coverage.reason)
                found += [covered] if covered.periods else []
        self._coverage.wait(is_held=is_held)
        return found

    def check(self, batch: Batch) -> Batch:
        """Return the first periods of *batch* that lack the same metrics, with a note if any.

        :raises SourceLags: they wait for the source.
        :raises SourceUnreachable: it does not answer.
        """
        end = batch.periods[-1].end
        # Metrics that were late may have data by now.
        readiness = self.query(end, is_anew=bool(self._readiness.late))
        if not readiness.is_ready(end):
            raise errors.SourceLags(reason=readiness.reason)
        covered = self._coverage.ready_part(batch, readiness.late)
        if not covered.periods:
            raise errors.SourceLags(reason=self._coverage.reason)
        return covered

    def tidy(self) -> None:
        """Delete gaps that reprocessing has closed."""
        self._coverage.tidy()

    def query(self, needed: datetime, *, is_anew: bool = False) -> SourceReadiness:
        """Return the readiness for periods whose data must reach up to *needed*.

        The source is queried if it was not yet queried for data up to then, and again while a
        period waits.

        :param is_anew: query it in any case.
        :raises SourceUnreachable: the source does not answer.
        """
        now = self._clock()
        is_known = self._needed is not None and needed <= self._needed
        if (
            not self._settings.lag_max_s
            or is_known
            and not is_anew
            and (self._lags_until is None or now < self._lags_until)
        ):
            return self._readiness
        found = self._query_collector(now)
        self._needed = max(needed, self._needed or needed)
        wanted = self._record_lags(found, now)
        held, late = (
            {metric: lag for metric, lag in wanted.items() if lag.state == state}
            for state in (HELD, LATE)
        )
        self._readiness = SourceReadiness(
            min((lag.newest for lag in held.values()), default=None),
            source_lag.describe(held),
            {metric: lag.newest for metric, lag in late.items()},
        )
        self._failures = self._failures + 1 if held else 0
        self._lags_until = (
            now + schedule.retry_delay(self._failures, self._settings.length_s) if held else None
        )
        return self._readiness

    def _query_collector(self, now):
        """Return the watermarks by metric; empty if the collector has none."""
        lag_max = timedelta(seconds=self._settings.lag_max_s)
        try:
            found = dict(
                self._collector.newest(
                    list(self._collector.conf), now=now, since=now - LOOK_BACK * lag_max
                )
            )
        except errors.SourceUnreachable:
            raise
        # A third-party driver may raise anything; collecting will show whether the source works.
        except Exception as exc:
            failure = exc
        else:
            self._backoff.record_success(now)
            return found
        self._backoff.record_failure(now, failure)
        return {}

    def _record_lags(self, found, now):
        """Record the current lags and return them."""
        identity = self._settings.identity
        with self._database.reader() as connection:
            known = source_lag.list_lags(connection, identity)
        wanted = find_lags(
            found, known, needed=self._needed, now=now, lag_max_s=self._settings.lag_max_s
        )
        # A few seconds of waiting are normal.
        recorded = {
            metric: lag
            for metric, lag in wanted.items()
            if metric in known
            or lag.newest is None
            or now - lag.newest >= timedelta(seconds=UNLOGGED_LAG_MAX_S)
        }
        if recorded or known:
            try:
                changes = self._database.write(
                    lambda connection: source_lag.record(
                        connection, identity, recorded, newest=found, defined=self._collector.conf
                    )
                )
            except db_exception.DBDuplicateEntry:
                LOG.debug('Another worker recorded that the source lags')
            else:
                _log(changes)
        return wanted


def find_lags(
    found: Mapping[str, datetime | None],
    known: Mapping[str, Lag],
    *,
    needed: datetime,
    now: datetime,
    lag_max_s: int,
) -> dict[str, Lag]:
    """Return the lags of the metrics whose watermark is before *needed*.

    Periods wait for a metric until it has been silent for *lag_max_s*: by then it is either no
    longer in use, or its source is broken for long. If other metrics have data, its lag is dropped
    in the end.

    :param found: watermark by metric; None: no data as far back as was queried.
    :param known: the lags so far.
    """
    lag_max = timedelta(seconds=lag_max_s)
    is_silent = not any(newest is not None and newest >= needed for newest in found.values())
    wanted = {}
    for metric, newest in found.items():
        if newest is None and metric in known:
            newest = known[metric].newest
        if newest is not None and newest >= needed:
            continue
        state = NOWHERE
        if newest is not None and now - newest < lag_max:
            state = HELD
        elif newest is not None and (is_silent or now - newest < LOOK_BACK * lag_max):
            state = LATE
        since = known[metric].since if metric in known else now
        wanted[metric] = Lag(state, newest, needed, since)
    return wanted


def _log(changes: Sequence[source_lag.Change]) -> None:
    """Log one line for each kind of change."""
    by_state: dict[str | None, list[str]] = {}
    for metric, _, new in changes:
        after = f' after {timeframe.render(new.newest)}' if new and new.newest else ''
        by_state.setdefault(new and new.state, []).append(f'{metric}{after}')
    for state, level, text in (
        (
            HELD,
            logging.WARNING,
            'The source has no data of %s metrics; periods wait for it: %.500s',
        ),
        (
            LATE,
            logging.WARNING,
            'The source still has no data of %s metrics; periods wait no '
            'longer and are rated without: %.500s',
        ),
        (
            NOWHERE,
            logging.WARNING,
            'The source has no data of %s metrics at all; nothing waits for it: %.500s',
        ),
        (None, logging.INFO, 'The source has data of %s metrics again: %.500s'),
    ):
        if state in by_state:
            names = by_state[state]
            LOG.log(level, text, len(names), ', '.join(names[:NAMES_MAX]))
