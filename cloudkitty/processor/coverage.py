"""Coverage of due periods by samples: periods with a hole wait, then are rated with a note."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.collector import BaseCollector
from cloudkitty.core import coverage, schedule, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.pipeline import Batch
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import late_data, source_gaps

LOG = logging.getLogger(__name__)

# Earlier periods whose gaps may continue in those of a batch.
LOOK_BACK = 2
# Answers of the source are kept for this time: scopes with the same periods share them.
KEPT_S = 60
ANSWERS_MAX = 16
# Most log lines for one answer.
LINES_MAX = 10
TEXTS = {
    source_gaps.HELD: (
        logging.WARNING,
        'Source %s has no samples of metric %s from %s to %s; periods wait for them (%s)',
    ),
    source_gaps.NOTED: (
        logging.WARNING,
        'Source %s has no samples of metric %s from %s to %s; periods are rated without, and '
        'noted (%s)',
    ),
    source_gaps.BACK: (
        logging.WARNING,
        'Source %s had samples of metric %s from %s to %s too late; rate these periods again (%s)',
    ),
    source_gaps.UNUSED: (
        logging.INFO,
        'Source %s has no samples of metric %s from %s to %s; nobody used anything (%s)',
    ),
}


class Answer(NamedTuple):
    """The answer of the source for *span*.

    :ivar found: coverage by metric.
    :ivar until: how long the answer is cached.
    """

    span: Period
    found: Mapping[str, coverage.Coverage]
    until: datetime


class CoverageCheck:
    """Queries the collector for the coverage of periods, and records the gaps.

    :param clock: returns the current time, aware UTC.
    :ivar next_at: when to query again for periods that wait; None: none does.
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
        self._backoff = Backoff('Asking the source for gaps', settings.length_s)
        self._answers: list[Answer] = []
        self._warned: set[str] = set()
        self._failures = 0
        self.next_at: datetime | None = None
        self.reason = ''

    def ready_part(self, batch: Batch, late: Mapping[str, datetime]) -> Batch:
        """Return the first periods of *batch* that lack the same metrics, with a note if any.

        :param late: watermarks of metrics that are no longer waited for.
        :returns: without periods, if the first of them waits for samples.
        :raises SourceUnreachable: the source does not answer.
        """
        now, span = self._clock(), Period(batch.periods[0].begin, batch.periods[-1].end)
        length = batch.periods[0].end - span.begin
        with self._database.reader() as connection:
            stored = source_gaps.list_gaps(
                connection,
                self._settings.identity,
                window=Period(span.begin - LOOK_BACK * length, span.end),
            )
        found = self._ask(batch, stored, now)
        gaps = self._gaps(found, late, stored, span, now)
        self._record(gaps, stored, span, length)
        held, noted = (
            coverage.names_by_period(
                {
                    metric: [gap.span for gap in rows if gap.state == state]
                    for metric, rows in gaps.items()
                },
                batch.periods,
            )
            for state in (source_gaps.HELD, source_gaps.NOTED)
        )
        count = next((place for place, names in enumerate(held) if names), len(held))
        self.reason = source_gaps.describe(
            [gap for rows in gaps.values() for gap in rows if gap.state == source_gaps.HELD]
        )
        count = coverage.first_run(noted[:count])
        names = noted[0] if count else ()
        return batch._replace(
            periods=batch.periods[:count], note=f'no data of {", ".join(names)}' if names else ''
        )

    def tidy(self) -> None:
        """Delete gaps whose samples are back and of which no scope has a note any more."""
        self._database.write(
            lambda connection: source_gaps.tidy(connection, self._settings.identity)
        )

    def wait(self, *, is_held: bool) -> None:
        """Set when to query again, after all batches were cut.

        :param is_held: whether periods of any batch wait.
        """
        now = self._clock()
        if not is_held:
            self._failures, self.next_at = 0, None
        elif self.next_at is None or now >= self.next_at:
            self._failures += 1
            self.next_at = now + schedule.retry_delay(self._failures, self._settings.length_s)

    # Queries of the source

    def _ask(self, batch, stored, now) -> Mapping[str, coverage.Coverage]:
        """Return the coverage by metric; empty if the collector cannot tell."""
        periods = batch.periods
        span = Period(periods[0].begin, periods[-1].end)
        self._answers = [one for one in self._answers if now < one.until][-ANSWERS_MAX:]
        for one in self._answers:
            if one.span.begin <= span.begin and span.end <= one.span.end:
                return one.found
        length = periods[0].end - span.begin
        known = source_gaps.find_known(stored, span.begin, span.begin - LOOK_BACK * length)
        try:
            found = self._collector.coverage(
                list(self._collector.conf),
                periods,
                known=known,
                now=now,
                scope_ids=[scope.scope_id for scope in batch.scopes],
            )
        except errors.SourceUnreachable:
            raise
        # A third-party driver may raise anything; collecting will show whether the source works.
        except Exception as exc:
            failure = exc
        else:
            self._backoff.record_success(now)
            self._warn(found)
            self._answers.append(Answer(span, found, now + timedelta(seconds=KEPT_S)))
            return found
        self._backoff.record_failure(now, failure)
        return {}

    def _warn(self, found):
        for metric, one in found.items():
            if one.warning and one.warning not in self._warned:
                self._warned.add(one.warning)
                LOG.warning('Metric %s: %s', metric, one.warning)

    def _gaps(self, found, late, stored, span, now) -> dict[str, list[source_gaps.Gap]]:
        """Return the gaps to record, by metric."""
        gaps = {
            metric: [
                self._row(metric, gap, span, now)
                for gap in one.gaps
                if gap.begin < span.end and (gap.end > span.begin or _is_known(metric, gap, stored))
            ]
            for metric, one in found.items()
            if one.has_samples or one.gaps
        }
        for metric, newest in late.items():
            # If the coverage of a metric is unknown, only its silence is known.
            if metric not in found and newest < span.end:
                gaps[metric] = [
                    source_gaps.Gap(
                        metric,
                        newest.replace(microsecond=0),
                        span.end,
                        source_gaps.NOTED,
                        'no sample came since',
                    )
                ]
        accepted = [gap for gap in stored if gap.state == source_gaps.ACCEPTED]
        return {
            metric: [
                row._replace(begin=begin, end=end)
                for row in rows
                for begin, end in coverage.without(
                    row.span, [gap.span for gap in accepted if gap.metric == metric]
                )
            ]
            for metric, rows in gaps.items()
        }

    def _row(self, metric, gap, span, now):
        state = source_gaps.UNUSED
        if gap.is_hole:
            is_young = now < gap.begin + timedelta(seconds=self._settings.lag_max_s)
            is_held = is_young and gap.end > span.begin
            state = source_gaps.HELD if is_held else source_gaps.NOTED
        # What follows the periods is looked at again with the next ones.
        end = min(gap.end, span.end) if state == source_gaps.NOTED else gap.end
        begin, end = (instant.replace(microsecond=0) for instant in (gap.begin, end))
        return source_gaps.Gap(metric, begin, end, state, gap.sign)

    # Recording

    def _record(self, gaps, stored, span, length):
        if source_gaps.is_recorded(stored, gaps, span):
            return
        identity = self._settings.identity

        def change(connection):
            changes = source_gaps.record(connection, identity, gaps, span)
            for gap in changes:
                if gap.state == source_gaps.NOTED and gap.begin < span.begin:
                    self._note_rated(connection, gap, span.begin, length)
            return changes

        try:
            changes = self._database.write(change)
        except db_exception.DBDuplicateEntry:
            LOG.debug('Another worker recorded the gaps of the source')
        else:
            self._log(changes)

    def _note_rated(self, connection, gap, before, length):
        """Note the periods before *before* that were rated before the hole was found."""
        begin = before + (gap.begin - before) // length * length
        end = before - (before - min(gap.end, before)) // length * length
        late_data.record_rated(
            connection,
            self._settings.identity,
            Period(begin, end),
            f'no data of {gap.metric}',
            length,
        )

    def _log(self, changes: Sequence[source_gaps.Gap]) -> None:
        for gap in changes[:LINES_MAX]:
            level, text = TEXTS[gap.state]
            LOG.log(
                level,
                text,
                self._collector.collector_name,
                gap.metric,
                timeframe.render(gap.begin),
                timeframe.render(gap.end),
                gap.sign,
            )
        if len(changes) > LINES_MAX:
            LOG.warning('%d more times without samples are recorded', len(changes) - LINES_MAX)


def _is_known(metric, gap, stored):
    return any(
        row.metric == metric and coverage.overlaps(row.span, Period(gap.begin, gap.end))
        for row in stored
    )
