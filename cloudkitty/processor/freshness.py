"""Whether the source has the data of what is due yet: periods wait for a source that lags."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from oslo_db import exception as db_exception

from cloudkitty import db, errors, schedule, timeframe
from cloudkitty.collector import BaseCollector
from cloudkitty.db import lags
from cloudkitty.db.lags import HELD, LATE, NOWHERE, Lag
from cloudkitty.pipeline import Batch
from cloudkitty.processor.outage import Outage
from cloudkitty.processor.settings import Settings

LOG = logging.getLogger(__name__)

# Sources are read every few minutes: a shorter silence is not worth a word.
SILENCE_S = 300
# How far back data is looked for, and how long a metric counts as late, in times of lag_max.
LOOK_BACK = 2
NAMES_MAX = 10


class Verdict(NamedTuple):
    """What waits.

    :ivar held_from: periods that end after this instant wait for the source; None: none does.
    :ivar reason: why, for people.
    :ivar late_from: those that end after this one and do not wait may lack data; None: none does.
    :ivar note: which, for people.
    """

    held_from: datetime | None = None
    reason: str = ''
    late_from: datetime | None = None
    note: str = ''

    def lets(self, end: datetime) -> bool:
        """Say whether a period that ends then need not wait."""
        return self.held_from is None or end <= self.held_from

    def cut(self, batch: Batch) -> Batch:
        """Return the beginning of *batch* that can be rated, all of it late or nothing."""
        periods = [period for period in batch.periods if self.lets(period.end)]
        whole = [period for period in periods
                 if self.late_from is None or period.end <= self.late_from]
        # What is late comes when the rest is stored.
        return batch._replace(periods=whole or periods, note='' if whole else self.note)


class Freshness:
    """Asks the collector how far its source reaches, once for all that is due.

    :param clock: returns the current time, aware UTC.
    :ivar next_at: when to look again whether what waits can be rated; None: nothing waits.
    """

    def __init__(self, *, database: db.Database, collector: BaseCollector, settings: Settings,
                 clock: Callable[[], datetime]):
        self._database = database
        self._collector = collector
        self._settings = settings
        self._clock = clock
        self._outage = Outage('Asking the source how far it reaches', settings.length_s)
        self._verdict = Verdict()
        self._needed: datetime | None = None
        self._failures = 0
        self.next_at: datetime | None = None

    def cut(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return *batches* without the periods that wait for the source.

        :raises SourceUnreachable: the source says nothing.
        """
        if not batches:
            return []
        now, settings = self._clock(), self._settings
        # Not the end of the batch: a backlog is worked off with one question.
        verdict = self.ask(max(schedule.due_end(
            batch.periods[0].begin, now, length_s=settings.length_s,
            wait_periods=settings.wait_periods) for batch in batches))
        shorter = [verdict.cut(batch) for batch in batches]
        return [batch for batch in shorter if batch.periods]

    def ask(self, needed: datetime) -> Verdict:
        """Return what waits, when data up to *needed* is to be collected.

        The source is asked when it was not for data up to then, and again while something waits.

        :raises SourceUnreachable: the source says nothing.
        """
        now = self._clock()
        is_known = self._needed is not None and needed <= self._needed
        if not self._settings.lag_max_s or is_known and (
                self.next_at is None or now < self.next_at):
            return self._verdict
        found = self._newest(now)
        self._needed = max(needed, self._needed or needed)
        wanted = self._judge(found, now)
        held, late = ({metric: lag for metric, lag in wanted.items() if lag.state == state}
                      for state in (HELD, LATE))
        self._verdict = Verdict(
            min((lag.newest for lag in held.values()), default=None), lags.describe(held),
            min((lag.newest for lag in late.values()), default=None),
            # The same as long as the same metrics are late: the note of a scope is one row.
            f'no data of {", ".join(sorted(late))}' if late else '')
        self._failures = self._failures + 1 if held else 0
        self.next_at = now + schedule.retry_delay(
            self._failures, self._settings.length_s) if held else None
        return self._verdict

    def _newest(self, now):
        """Return what the collector says; nothing when it cannot."""
        lag_max = timedelta(seconds=self._settings.lag_max_s)
        try:
            found = dict(self._collector.newest(list(self._collector.conf), now=now,
                                                since=now - LOOK_BACK * lag_max))
        except errors.SourceUnreachable:
            raise
        # A foreign driver may raise anything; collecting will show whether the source works.
        except Exception as exc:
            failure = exc
        else:
            self._outage.end(now)
            return found
        self._outage.begin(now, failure)
        return {}

    def _judge(self, found, now):
        """Return the lags there are, and record them."""
        identity = self._settings.identity
        with self._database.reader() as connection:
            known = lags.list_lags(connection, identity)
        wanted = judge(found, known, needed=self._needed, now=now,
                       lag_max_s=self._settings.lag_max_s)
        # A few seconds of waiting are part of the usual course.
        told = {metric: lag for metric, lag in wanted.items()
                if metric in known or lag.newest is None
                or now - lag.newest >= timedelta(seconds=SILENCE_S)}
        if told or known:
            try:
                changes = self._database.write(lambda connection: lags.record(
                    connection, identity, told, newest=found, defined=self._collector.conf))
            except db_exception.DBDuplicateEntry:
                LOG.debug('Another worker recorded that the source lags')
            else:
                _log(changes)
        return wanted


def judge(found: Mapping[str, datetime | None], known: Mapping[str, Lag], *, needed: datetime,
          now: datetime, lag_max_s: int) -> dict[str, Lag]:
    """Return how the metrics lag whose data ends before *needed*.

    A metric is waited for until it was silent for *lag_max_s*: then nobody may use it any more, or
    its source is broken for long. While others are not silent it is forgotten in the end.

    :param found: newest data by metric; None: there is none, as far back as was looked.
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


def _log(changes: Sequence[lags.Change]) -> None:
    """Log each kind of change in one line."""
    by_state: dict[str | None, list[str]] = {}
    for metric, _, new in changes:
        after = f' after {timeframe.render(new.newest)}' if new and new.newest else ''
        by_state.setdefault(new and new.state, []).append(f'{metric}{after}')
    for state, level, text in (
            (HELD, logging.WARNING, 'The source has no data of %s metrics; periods wait for it: '
                                    '%.500s'),
            (LATE, logging.WARNING, 'The source still has no data of %s metrics; periods wait no '
                                    'longer and are rated without: %.500s'),
            (NOWHERE, logging.WARNING, 'The source has no data of %s metrics at all; nothing waits '
                                       'for it: %.500s'),
            (None, logging.INFO, 'The source has data of %s metrics again: %.500s')):
        if state in by_state:
            names = by_state[state]
            LOG.log(level, text, len(names), ', '.join(names[:NAMES_MAX]))
