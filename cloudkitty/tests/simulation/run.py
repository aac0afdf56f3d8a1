"""Schedules: workers on one database until a seed says what goes wrong, then a comparison."""

import functools
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import conf as configuration
from cloudkitty import db, errors, pipeline
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration, tables
from cloudkitty.processor import discovery, reprocessing, settings, worker
from cloudkitty.processor.resets import Resets
from cloudkitty.rating import module_state, skip
from cloudkitty.rating.hashmap.processor import HashMap
from cloudkitty.rating.hashmap.store import mappings, services
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.rating.noop import Noop
from cloudkitty.scopes import admin as scope_admin
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import stored
from cloudkitty.tests.functional.worker_run import LONG_AGO
from cloudkitty.tests.simulation import drivers
from cloudkitty.tests.simulation import world as worlds
from cloudkitty.tests.simulation.scheduler import Process
from cloudkitty.tests.simulation.world import BEGIN, IDENTITY, LENGTH, START, Faults, World

WORKERS_MAX = 3
SKEW_MAX_S = 4
RESTART_MAX_S = 20
FAULTS_END_S = 90
# Everything was tried again by then; a few seconds after a period is due, by any clock.
END_S = 175
RULE_START = START + timedelta(seconds=90)
# About so many steps has a schedule.
STEPS = 500
KINDS = (
    lambda choose: Faults(kill_step=choose.randint(1, STEPS)),
    lambda choose: Faults(kill=0.01, locks=0.2),
    lambda choose: Faults(kill=0.01, database=0.005),
    lambda choose: Faults(freeze=0.02, locks=0.3),
    lambda choose: Faults(freeze=0.01, slow=0.02, locks=0.5),
    lambda choose: Faults(database=0.02, unknown=0.2),
    lambda choose: Faults(source=0.3, slow=0.02),
    lambda choose: Faults(
        kill=0.004, freeze=0.004, database=0.004, unknown=0.05, slow=0.01, source=0.1, locks=0.1
    ),
)


class Result(NamedTuple):
    """What became of a schedule.

    :ivar problem: how it differs from the undisturbed run; empty: it does not.
    :ivar log: what happened, if it was asked for.
    """

    seed: int
    steps: int
    problem: str
    log: list[str]


class Simulation:
    """Runs schedules one after another on one SQLite file.

    :param folder: best in memory.
    :param driver: the storage driver.
    """

    def __init__(self, folder: Path, driver: drivers.SQL | None = None):
        self._driver = driver or drivers.SQL()
        self._conf = _load_conf(folder / 'cloudkitty.sqlite')
        self._driver.prepare(self._conf)
        plain = db.Database(self._conf)
        migration.upgrade(plain)
        plain.write(self.prepare)
        plain.engine.dispose()
        shutil.copy(folder / 'cloudkitty.sqlite', folder / 'template.sqlite')
        self._plain = plain
        names = [f'worker-{number}' for number in range(WORKERS_MAX)]
        names += ['operator', *(job.name for job in self._driver.jobs)]
        self._databases = {name: worlds.Database(self._conf) for name in names}
        self._admin = sqlite3.connect(folder / 'cloudkitty.sqlite', isolation_level=None)
        self._admin.execute(f"ATTACH '{folder / 'template.sqlite'}' AS template")
        self._expected: bytes | None = None

    def prepare(self, connection: sa.Connection) -> None:
        """Fill the database that each schedule begins with."""
        make_rules(connection)
        scope_state.record_seen(
            connection,
            IDENTITY,
            worlds.OLD,
            now=START,
            initial_mark=BEGIN - LENGTH,
            final_mark=START,
        )

    def close(self) -> None:
        for database in (*self._databases.values(), self._plain):
            database.engine.dispose()
        self._admin.close()

    def run(self, seed: int, *, has_log: bool = False) -> Result:
        """Run the schedule of a seed."""
        if self._expected is None:
            quiet = World(0)
            self._play(quiet, workers=1, orders=[], batch=(10, 10))
            self._expected = self._dump()[0]
        world = World(seed, has_log=has_log)
        choose = world.choose
        world.faults = self._faults(choose, KINDS)
        orders = list(_orders(choose))
        self._play(
            world,
            workers=choose.choice([1, 2, 2, 3]),
            orders=orders,
            batch=(choose.choice([1, 2, 10, 10]), choose.choice([1, 2, 10])),
        )
        return self._result(seed, world)

    def _faults(self, choose, kinds):
        faults = self._driver.spoil(choose.choice(kinds)(choose), choose)
        return faults._replace(until_s=FAULTS_END_S)

    def _result(self, seed, world):
        found, stored_again = self._dump()
        problems = [stored.difference(self._expected, found), *world.problems]
        if stored_again:
            problems.append(f'{stored_again} frames were stored more than once')
        return Result(seed, world.steps, '\n'.join(filter(None, problems)), world.log or [])

    def _play(self, world, *, workers, orders, batch):
        self._restore()
        size = size_of(workers, batch)
        work = functools.partial(self._work, size=size)
        for number in range(workers):
            self._start(world, f'worker-{number}', work, ready_at_s=0)
        self._start_jobs(world)
        fixed = [Order(10, _change_rules), _switch(worlds.OFF_S, False), _switch(worlds.ON_S, True)]
        orders = sorted([*fixed, *orders], key=lambda order: order.at_s)
        operator = Process(
            'operator', lambda process: self._operate(world, process, orders), is_worker=False
        )
        world.processes.append(operator)
        world.run(END_S)
        world.end()

    def _start_jobs(self, world, end_s=END_S):
        for job in self._driver.jobs:
            self._start(world, job.name, job.work, ready_at_s=0, end_s=end_s)

    def _start(self, world, name, work, *, ready_at_s, end_s=END_S):
        def main(process):
            try:
                work(world, process, self._open(world, process))
            finally:
                # Its master starts another one, unless the end of the world has come.
                if world.now_s < end_s:
                    self._start(
                        world,
                        name,
                        work,
                        ready_at_s=world.now_s + world.choose.uniform(0, RESTART_MAX_S),
                        end_s=end_s,
                    )

        skew_s = world.choose.uniform(-SKEW_MAX_S, SKEW_MAX_S)
        world.processes.append(Process(name, main, skew_s=skew_s, ready_at_s=ready_at_s))

    def _work(self, world, process, database, size):
        store = self._driver.open(database)
        shared = {
            'database': database,
            'locks': worlds.Locks(world, process),
            'settings': size,
            'clock': world.clock(process),
        }
        rating = pipeline.Pipeline(
            collector=self._collector(world, process, database),
            commit=store.commit,
            modules=ModuleSet(self._conf, database, {'hashmap': HashMap, 'noop': Noop}),
            skips=skip.SkipFilter('False', {}),
            pool=worlds.Inline(),
            timeout_s=10**6,
        )
        one = worker.Worker(
            discovery=discovery.Discovery(fetcher=self._fetcher(world, process), **shared),
            pipeline=rating,
            background_jobs=[
                *self._more_jobs(shared),
                Resets(reset=store.reset, **shared),
                reprocessing.Reprocessing(
                    pipeline=rating,
                    replace=store.replace,
                    rated_prices=store.rated_prices,
                    **shared,
                ),
            ],
            **shared,
        )
        one._waking = worlds.Sleep(world, process)
        one.run()

    def _collector(self, world, process, database):
        return worlds.Source(world, process)

    def _fetcher(self, world, process):
        return worlds.Fetcher(world, process)

    def _more_jobs(self, shared):
        return []

    def _open(self, world, process):
        database = self._databases[process.name]
        database.world, database.process = world, process
        return database

    def _operate(self, world, process, orders):
        database = self._open(world, process)
        for order in orders:
            world.pause(process, max(order.at_s - world.now_s, 0))
            while True:
                try:
                    order.give(database, world.clock(process)())
                except db_exception.DBError:
                    world.pause(process, 1)
                    continue
                # Rows are not what the order needs: it is not to be given.
                except errors.ServiceError as exc:
                    world.say(process, f'refused: {exc}')
                break

    def _restore(self):
        execute = self._admin.execute
        execute('BEGIN IMMEDIATE')
        for table in reversed(tables.metadata.sorted_tables):
            execute(f'DELETE FROM main.{table.name}')
        for table in tables.metadata.sorted_tables:
            execute(f'INSERT INTO main.{table.name} SELECT * FROM template.{table.name}')
        execute('COMMIT')
        self._driver.clear()

    def _dump(self):
        """Return what is stored, and how many frames were stored again though nobody ordered it."""
        with self._plain.reader() as connection:
            again = self._driver.count_again(connection)
            # How far a scope is rated that nobody uses any more depends on when it was missed.
            return self._driver.dump(connection, (worlds.GONE,)), again


class Order(NamedTuple):
    """What an operator does.

    :ivar give: called with the database and the time.
    """

    at_s: float
    give: Callable[[db.Database, datetime], object]


def _orders(choose) -> Iterator[Order]:
    """Yield orders that change nothing in the end."""
    for _ in range(choose.randrange(4)):
        yield Order(
            choose.uniform(1, FAULTS_END_S),
            _reset(choose.choice(worlds.OLD), BEGIN + LENGTH * choose.randrange(-1, 4)),
        )
    for _ in range(choose.randrange(3)):
        yield Order(
            choose.uniform(1, FAULTS_END_S),
            _reprocess(choose.choice(worlds.OLD), choose.randrange(3), choose.randrange(1, 4)),
        )


def _reset(scope_id, mark):
    def change(connection, now):
        _, found = scope_state.list_scopes(connection, scope_id=[scope_id])
        resets.order(connection, [scope.id for scope in found if scope.mark > mark], mark, now=now)

    return lambda database, now: database.write(lambda connection: change(connection, now))


def _reprocess(scope_id, first, count):
    window = Period(BEGIN + LENGTH * first, BEGIN + LENGTH * (first + count))
    return lambda database, now: database.write(
        lambda connection: scope_reprocessing.create(
            connection, [scope_id], identity=IDENTITY, window=window, reason='simulated'
        )
    )


def _switch(at_s, is_active):
    # Whatever holds the operator up: what is billed depends on the time that an order names.
    moment = worlds.START + timedelta(seconds=at_s)
    return Order(
        at_s,
        lambda database, now: scope_admin.update(
            database, worlds.OFF, now=moment, active=is_active
        ),
    )


def _change_rules(database, now):
    def change(connection):
        (disk,) = [one for one in services.list_all(connection) if one.name == 'disk']
        mappings.create(
            connection,
            mappings.NewMapping(
                cost=Decimal('0.7'), service_id=disk.service_id, value=None, start=RULE_START
            ),
            now=now,
            author='test',
            force=True,
        )

    database.write(change)


def _load_conf(path):
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', f'sqlite:///{path}', 'database')
    conf.set_override('period', int(LENGTH.total_seconds()), 'collect')
    return conf


def size_of(workers: int, batch: tuple[int, int]) -> settings.Settings:
    """Return the settings of each of *workers* workers.

    :param batch: most scopes and periods of a batch.
    """
    return settings.Settings(
        identity=IDENTITY,
        length_s=int(LENGTH.total_seconds()),
        wait_periods=1,
        shards=2,
        batch_scopes=batch[0],
        batch_periods=batch[1],
        workers=workers,
    )


def make_rules(connection: sa.Connection) -> None:
    """Make a service for each metric, and a price for one of them."""
    module_state.update(connection, 'hashmap', enabled=True)
    for name in worlds.METRICS:
        made = services.create(connection, name)
        if name == 'cpu':
            mappings.create(
                connection,
                mappings.NewMapping(
                    cost=Decimal('0.3'), service_id=made.service_id, value=None, start=LONG_AGO
                ),
                now=START,
                author='test',
                force=True,
            )
