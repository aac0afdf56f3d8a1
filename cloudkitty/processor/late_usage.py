"""Creates reprocessing tasks for periods whose usage changed after they may have been rated."""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.core.metering import facts
from cloudkitty.locks import Locks
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import reprocessing, state
from cloudkitty.usage import late

LOG = logging.getLogger(__name__)

PAUSE = timedelta(seconds=30)
REASON = 'late usage'
# Scopes of one step, and rows of a scope.
SCOPES_MAX = 100
ROWS_MAX = 1000
# Tasks of a scope that failures hold back, up to which it gets others.
HELD_MAX = 10


class LateUsage:
    """Turns late rows into reprocessing tasks, in one worker at a time.

    A row is removed in the transaction that stores its task. It stays while its periods are unrated
    yet, since a worker may be collecting them without the late usage, and while another task of
    the scope is in the way. Rating again what was right changes nothing.

    The next tasks of a scope come when those before are done, and the later the more time they
    cover, so that usage that never ceases to be late takes a bounded part of the workers' time.
    Rows that wait are merged into one.

    A task that fails is tried again on its own, and holds back only the rows of its time: others
    get tasks around it.

    :param late_max: rows older than this go without a task.
    :param pause_percent: of the time that a task covers, which passes after the previous one.
    :param clock: returns the current time, aware UTC.
    :ivar next_at: when there may be something to do again.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        locks: Locks,
        settings: Settings,
        late_max: timedelta,
        pause_percent: int,
        clock: Callable[[], datetime],
    ):
        self._database = database
        self._locks = locks
        self._settings = settings
        self._late_max = late_max
        self._pause_percent = pause_percent
        self._clock = clock
        self._lock_name = settings.lock_name('late-usage')
        self._backoff = Backoff('Ordering late usage to be rated', settings.length_s)
        self._after = ''
        # Scopes that failed.
        self._held: dict[str, Backoff] = {}
        self.next_at = clock()

    def step(self) -> bool:
        """Order the periods of some scopes; return whether any were ordered."""
        now = self._clock()
        if now < self.next_at:
            return False
        self.next_at = now + PAUSE
        with self._locks.hold(self._lock_name) as is_mine:
            return is_mine and self._try(now)

    def _try(self, now):
        try:
            ordered = self._order_some(now)
        # Whatever went wrong, it must not keep new periods from being rated.
        except Exception as exc:
            self.next_at = self._backoff.record_failure(now, exc)
            return False
        self._backoff.record_success(now)
        return bool(ordered)

    def _order_some(self, now) -> int:
        with self._database.reader() as connection:
            names = late.scopes(connection, SCOPES_MAX, self._after)
        # The next step continues after them; a scope without a task does not block others.
        self._after = names[-1] if len(names) == SCOPES_MAX else ''
        if self._after:
            self.next_at = now
        ordered = [name for name in names if self._try_to_order(name, now)]
        if ordered:
            LOG.info(
                'Late usage of %s scopes (%.200s): their periods are rated again',
                len(ordered),
                ', '.join(ordered[:5]),
            )
        return len(ordered)

    def _try_to_order(self, scope_id, now) -> bool:
        """Do as _order(); a failure holds back this scope only, unless the database is down."""
        try:
            return self._order(scope_id, now)
        except db_exception.DBConnectionError:
            raise
        except Exception as exc:
            failure = exc
        what = f'Ordering late usage of scope {scope_id:.200} to be rated'
        held = self._held.setdefault(scope_id, Backoff(what, self._settings.length_s))
        held.record_failure(now, failure)
        return False

    def _order(self, scope_id, now) -> bool:
        """Return whether a task was stored."""
        held = self._held.get(scope_id)
        if held is not None and held.is_waiting(now):
            return False
        try:
            is_ordered = self._database.write(
                lambda connection: self._change(connection, scope_id, now)
            )
        except errors.InvalidInput as exc:
            LOG.debug('Late usage of scope %s waits: %s', scope_id, exc)
            self._database.write(lambda connection: self._merge(connection, scope_id))
            is_ordered = False
        if held is not None:
            held.record_success(now)
            del self._held[scope_id]
        return is_ordered

    def _change(self, connection: sa.Connection, scope_id: str, now: datetime) -> bool:
        rows = late.read(connection, ROWS_MAX, scope_id)
        if not rows:
            return False
        identity = self._settings.identity
        _, found = state.list_scopes(
            connection,
            scope_id=[scope_id],
            active=[True],
            scope_key=[identity.scope_key],
            fetcher=[identity.fetcher],
            collector=[identity.collector],
        )
        tasks = reprocessing.unfinished_of(connection, scope_id)
        spans = _held_spans(tasks)
        free, stuck = late.divide(rows, spans)
        window = self._window(free or rows)
        if not found or found[0].mark <= window.begin:
            self._drop_old(connection, rows, now)
            return False
        end = min(window.end, found[0].mark)
        parts = _without(timeframe.Period(window.begin, end), spans)
        _check_tasks(tasks, is_free=bool(free and parts))
        covered = sum((part.end - part.begin for part in parts), timedelta())
        self._check_pause(connection, scope_id, covered, now)
        for part in parts:
            reprocessing.create(
                connection, {scope_id}, identity=identity, window=part, reason=REASON
            )
        if end < window.end:
            stuck += [rows[-1]._replace(begin=facts.to_us(end), end=facts.to_us(window.end))]
        late.settle(connection, rows, stuck)
        return True

    def _check_pause(
        self, connection: sa.Connection, scope_id: str, covered: timedelta, now: datetime
    ) -> None:
        """Check that the previous task of the scope is long enough ago.

        :raises InvalidInput: the scope waits.
        """
        done_at = reprocessing.last_done_at(connection, scope_id, REASON)
        if done_at is not None and now < done_at + covered * self._pause_percent / 100:
            raise errors.InvalidInput(reason=f'its periods were rated again at {done_at}')

    def _merge(self, connection: sa.Connection, scope_id: str) -> None:
        """Replace the rows of a scope by few, so that their number stays small."""
        rows = late.read(connection, ROWS_MAX, scope_id)
        spans = _held_spans(reprocessing.unfinished_of(connection, scope_id))
        free, stuck = late.divide(rows, spans)
        few = [*late.merge(free), *stuck]
        if len(few) < len(rows):
            late.settle(connection, rows, few)

    def _window(self, rows: Sequence[late.Row]) -> timeframe.Period:
        """Return the whole periods that hold the time of *rows*."""
        length_s = self._settings.length_s
        last = facts.from_us(max(row.end for row in rows) - 1)
        return timeframe.Period(
            timeframe.period_at(facts.from_us(min(row.begin for row in rows)), length_s).begin,
            timeframe.period_at(last, length_s).end,
        )

    def _drop_old(self, connection, rows, now):
        """Remove rows of scopes that are not rated, or of time before they began to be."""
        oldest = facts.to_us(now - self._late_max)
        old = [row for row in rows if row.received_at < oldest]
        if old:
            late.settle(connection, old, [])


def _held_spans(tasks: Iterable[reprocessing.Task]) -> list[late.Span]:
    """Return the time of tasks that failures hold back, in microseconds since the epoch."""
    held = [task.rest for task in tasks if task.failure_count]
    return sorted((facts.to_us(rest.begin), facts.to_us(rest.end)) for rest in held)


def _without(period: timeframe.Period, spans: Iterable[late.Span]) -> list[timeframe.Period]:
    """Return the parts of *period* outside *spans*."""
    whole = late.Row(0, '', facts.to_us(period.begin), facts.to_us(period.end), 0)
    parts, _ = late.divide([whole], spans)
    return [timeframe.Period(facts.from_us(one.begin), facts.from_us(one.end)) for one in parts]


def _check_tasks(tasks: Iterable[reprocessing.Task], *, is_free: bool) -> None:
    """Check that a scope may have another task.

    :param is_free: whether there is time that is not that of a task that a failure holds back.
    :raises InvalidInput: the scope waits.
    """
    own = [task for task in tasks if task.reason == REASON]
    if not all(task.failure_count for task in own):
        raise errors.InvalidInput(reason='its periods are being rated again')
    if not is_free or len(own) >= HELD_MAX:
        raise errors.InvalidInput(reason='rating its periods again fails')
