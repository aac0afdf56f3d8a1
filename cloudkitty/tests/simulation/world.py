"""What a simulated worker sees: database, lock service, source and fetcher, and their faults."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.core.dataframe import DataPoint, Series
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import v2
from cloudkitty.storage.v2 import sql
from cloudkitty.storage.v2.series import changes
from cloudkitty.storage.v2.series.series_ids import IdCache
from cloudkitty.tests import fakes
from cloudkitty.tests.simulation.scheduler import Process, Scheduler

LENGTH = timedelta(minutes=1)
# The border of a day and a month lies in the backlog.
START = datetime(2024, 6, 1, 0, 0, 30, tzinfo=UTC)
BEGIN = START - timedelta(minutes=2, seconds=30)
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')
LOCK_LIFE_S = 15
# Names tell what happens to a scope.
GONE, BACK, OFF, NEW = 'gone', 'back', 'off', 'new'
OLD = (GONE, BACK, OFF)
AWAY_S, RETURN_S, NEW_S = 20, 80, 35
OFF_S, ON_S = 20, 80
METRICS = ('cpu', 'disk')


class Faults(NamedTuple):
    """How likely each fault is at a step where it can happen.

    :ivar kill_step: number of the step at which the process at work is killed; 0: none is.
    :ivar unknown: a transaction, or a statement to ClickHouse, succeeds and its answer is lost.
    :ivar away: ClickHouse does not answer.
    :ivar late: a copy of an insert arrives later.
    :ivar half: an insert is cut off.
    :ivar until_s: no faults from then on.
    """

    kill_step: int = 0
    kill: float = 0
    freeze: float = 0
    database: float = 0
    unknown: float = 0
    slow: float = 0
    source: float = 0
    locks: float = 0
    away: float = 0
    late: float = 0
    half: float = 0
    until_s: float = 0


class World(Scheduler):
    """The time, and what goes wrong; see the classes below for whom it hits.

    :ivar problems: wrong answers meanwhile.
    """

    def __init__(self, seed: int, *, has_log: bool = False):
        super().__init__(seed, START, has_log=has_log)
        self.faults = Faults()
        self.holders: dict[bytes, Process] = {}
        self.problems: list[str] = []

    @property
    def is_troubled(self) -> bool:
        return self.now_s < self.faults.until_s

    def happens(self, likelihood: float) -> bool:
        return bool(likelihood) and self.is_troubled and self.choose.random() < likelihood

    def step(self, process: Process, what: str) -> None:
        """Something leaves the process: others may go on, and it may be killed or freeze here."""
        if process.is_dead:
            return
        self.steps += 1
        self.say(process, what)
        seconds = self.choose.random() * 0.02
        if process.is_worker and (
            self.happens(self.faults.kill) or self.steps == self.faults.kill_step
        ):
            self.say(process, '*** killed')
            process.die(self.now_s)
        elif process.is_worker and self.happens(self.faults.freeze):
            seconds = min(
                self.choose.uniform(0.5, 4) * LOCK_LIFE_S, self.faults.until_s - self.now_s
            )
            process.frozen_at_s = self.now_s
            self.say(process, f'*** frozen for {seconds:.0f} s')
        elif self.happens(self.faults.slow):
            seconds = self.choose.uniform(1, 10)
        self.pause(process, seconds)

    def is_valid(self, holder: Process) -> bool:
        """Say whether the lock service still counts on a process."""
        silent_since_s = holder.frozen_at_s
        return silent_since_s is None or self.now_s < silent_since_s + LOCK_LIFE_S


class Database(db.Database):
    """The SQL database as one process sees it."""

    def __init__(self, conf: cfg.ConfigOpts):
        super().__init__(conf)
        self.conf = conf
        self.world: World | None = None
        self.process: Process | None = None
        sa.event.listen(self.engine, 'before_cursor_execute', self._before_statement)
        sa.event.listen(self.engine, 'commit', self._before_commit)

    @contextlib.contextmanager
    def writer(self):
        try:
            with super().writer() as connection:
                yield connection
        finally:
            if self.world.writer is self.process:
                self.world.writer = None
        self.world.step(self.process, 'committed')
        if self.world.happens(self.world.faults.unknown):
            self.world.say(self.process, '*** connection lost after the commit')
            raise db_exception.DBConnectionError('lost after the commit')

    def sleep(self, seconds):
        self.world.pause(self.process, 1)

    def _before_statement(self, connection, cursor, statement, parameters, context, executemany):
        if self.process.is_dead:
            return
        self.world.step(self.process, statement if self.world.log is not None else '')
        if self.world.happens(self.world.faults.database):
            self._fail()
        if statement == 'BEGIN IMMEDIATE':
            self.world.take_writer(self.process)

    def _before_commit(self, connection):
        if self.world.writer is not self.process:
            return
        self.world.step(self.process, 'COMMIT')
        if self.world.happens(self.world.faults.database):
            self._fail()

    def _fail(self):
        kind = self.world.choose.choice(
            [db_exception.DBConnectionError, db_exception.DBDeadlock, db_exception.DBError]
        )
        self.world.say(self.process, f'*** {kind.__name__}')
        raise kind('simulated')


class Storage(sql.SQLStorage):
    """The SQL storage of a process on a database that is open already."""

    def __init__(self, conf: cfg.ConfigOpts, database: Database):
        v2.BaseStorage.__init__(self, conf)
        self.database = database
        self.changes = changes.of(conf)
        self.id_cache = IdCache(conf.collect.scope_key)


class Locks:
    """The lock service as one process sees it: locks live as long as their holder shows life."""

    def __init__(self, world: World, process: Process):
        self._world, self._process = world, process

    @contextlib.contextmanager
    def hold(self, lock_name: bytes) -> Iterator[bool]:
        world, process = self._world, self._process
        world.step(process, 'lock')
        if world.happens(world.faults.locks):
            self._fail()
        holder = world.holders.get(lock_name)
        is_mine = holder is None or not world.is_valid(holder)
        if world.happens(world.faults.locks):
            is_mine = False
        if is_mine:
            world.holders[lock_name] = process
        yield is_mine
        # Not done by one that was killed; and a lock that was lost belongs to another.
        if world.holders.get(lock_name) is process:
            del world.holders[lock_name]

    def _fail(self):
        self._world.say(self._process, '*** the lock service forgets all')
        self._world.holders.clear()


class Sleep(threading.Event):
    """What a worker waits for when nothing is due."""

    def __init__(self, world: World, process: Process):
        super().__init__()
        self._world, self._process = world, process

    def wait(self, timeout=None):
        self._world.say(self._process, f'sleeps {timeout:.1f} s')
        self._world.pause(self._process, max(timeout, 0.01))
        return self.is_set()


class Inline(futures.Executor):
    """A pool of no threads."""

    def submit(self, call, /, *arguments, **options):
        future = futures.Future()
        try:
            future.set_result(call(*arguments, **options))
        except Exception as exc:
            future.set_exception(exc)
        return future


class Source:
    """Where usage comes from. The same question always has the same answer, or none for now."""

    collector_name = 'fake'
    conf = {name: fakes.FakeMetric(name) for name in METRICS}
    _series = {
        (name, scope_id): Series('unit', {'project_id': scope_id, 'id': f'{name}-1'}, {})
        for name in METRICS
        for scope_id in (*OLD, NEW)
    }

    def __init__(self, world: World, process: Process):
        self._world, self._process = world, process

    def refresh(self):
        """There is nothing to look up."""

    def collect(self, metric_name, periods, scope_ids):
        self._world.step(
            self._process,
            f'asks for {metric_name} of {", ".join(scope_ids)} in {len(periods)} periods',
        )
        if self._world.happens(self._world.faults.source):
            raise self._failure()
        return [
            (scope_id, period, [DataPoint.of(self._series[metric_name, scope_id], quantity)])
            for scope_id in scope_ids
            for period in periods
            if (quantity := usage(metric_name, scope_id, period.begin)) is not None
        ]

    def _failure(self):
        self._world.say(self._process, '*** the source fails')
        return self._world.choose.choice(
            [
                errors.SourceUnreachable(collector='fake', reason='simulated'),
                errors.CollectError(collector='fake', reason='simulated'),
                ValueError('simulated'),
            ]
        )


def usage(metric: str, scope_id: str, begin: datetime) -> Decimal | None:
    """Return what a scope used in the period that begins at *begin*; it used nothing while away."""
    away = {GONE: (AWAY_S, None), BACK: (AWAY_S, RETURN_S), OFF: (OFF_S, ON_S)}
    number = (begin - BEGIN) // LENGTH
    if scope_id in away:
        since_s, until_s = away[scope_id]
        if begin + LENGTH > START + timedelta(seconds=since_s) and (
            until_s is None or begin < START + timedelta(seconds=until_s)
        ):
            return None
    if metric == 'disk' and (number + len(scope_id)) % 3 == 0:
        return None
    return Decimal(number * 7 + sum(map(ord, scope_id)) % 11) / 4


class Fetcher:
    """Lists the scopes that exist at the time."""

    name = 'fake'

    def __init__(self, world: World, process: Process):
        self._world, self._process = world, process

    def get_names(self):
        return {}

    def get_tenants(self):
        now_s = self._world.now_s
        self._world.step(self._process, 'asks for the scopes')
        if self._world.happens(self._world.faults.source):
            raise errors.FetcherError(fetcher='fake', reason='simulated')
        return [
            OFF,
            *([GONE] if now_s < AWAY_S else []),
            *([BACK] if not AWAY_S <= now_s < RETURN_S else []),
            *([NEW] if now_s >= NEW_S else []),
        ]
