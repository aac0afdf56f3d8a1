"""Schedules of embedded metering: the bus repeats and reorders, and processes are killed."""

import functools
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core.metering import facts, message
from cloudkitty.core.metering.message import Counter
from cloudkitty.db import usage_tables
from cloudkitty.processor.late_usage import LateUsage
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.simulation import drivers, run
from cloudkitty.tests.simulation import world as worlds
from cloudkitty.tests.simulation.world import BEGIN, IDENTITY, LENGTH, START, Faults, World
from cloudkitty.usage.receiving import BUS, Received, Receiver

SECRET = 'simulated-and-known-to-all'
SCOPES = ('p1', 'p2', 'p3')
INTAKES_MAX = 2
# Late usage is looked for every 30 seconds and rated again after that, which a crash of the last
# worker delays; a period is due some seconds before.
END_S = 295
# Usage of the last periods is not due at the end.
SENT_MAX_S = 100
BATCH_MAX = 10
DELAY_MAX_S = 40
UNITS = {'disk': 'GiB', 'cpu': 's', 'request': 'request'}
METRICS = {
    'disk': {'unit': 'GiB', 'groupby': ['type'], 'extra_args': {'kind': 'state'}},
    'cpu': {'unit': 's', 'extra_args': {'kind': 'cumulative'}},
    'request': {'unit': 'request', 'extra_args': {'kind': 'delta'}},
}
# About so many steps has a schedule.
STEPS = 2000
KINDS = (
    lambda choose: Faults(kill_step=choose.randint(1, STEPS)),
    lambda choose: Faults(),
    lambda choose: Faults(kill=0.004),
    lambda choose: Faults(kill=0.002, database=0.003),
    lambda choose: Faults(database=0.01, unknown=0.2),
    lambda choose: Faults(freeze=0.003, locks=0.3),
    lambda choose: Faults(kill=0.002, freeze=0.002, database=0.002, unknown=0.05, locks=0.1),
)


class BusFaults(NamedTuple):
    """How likely a message is delayed, comes twice, and comes again though it was stored."""

    delay: float = 0
    double: float = 0
    lost_ack: float = 0


class Parcel(NamedTuple):
    """A message on the bus, which is delivered from *ready_at_s* on."""

    ready_at_s: float
    number: int
    form: dict[str, Any]


class Bus:
    """A queue: what is not acknowledged is delivered again, to anybody."""

    def __init__(self, world: World, faults: BusFaults):
        self._world = world
        self._faults = faults
        self._parcels: list[Parcel] = []
        for number, (sent_s, form) in enumerate(FORMS):
            for _ in range(1 + self._happens(faults.double)):
                delay_s = 0.0
                if self._happens(faults.delay):
                    delay_s = world.choose.uniform(0, DELAY_MAX_S)
                self._parcels.append(Parcel(sent_s + delay_s, number, form))

    def _happens(self, likelihood: float) -> bool:
        return bool(likelihood) and self._world.choose.random() < likelihood

    def take(self) -> list[Parcel]:
        """Return some messages, in any order, and the quiet world those that came first."""
        ready = [one for one in self._parcels if one.ready_at_s <= self._world.now_s]
        if self._faults != BusFaults():
            self._world.choose.shuffle(ready)
        taken = ready[: self._world.choose.randint(1, BATCH_MAX)]
        for one in taken:
            self._parcels.remove(one)
        return taken

    def acknowledge(self, taken: list[Parcel]) -> None:
        """Forget messages, unless the broker does not get to know."""
        if self._happens(self._faults.lost_ack) and self._world.is_troubled:
            self.give_back(taken)

    def give_back(self, taken: list[Parcel]) -> None:
        self._parcels += [one._replace(ready_at_s=self._world.now_s + 1) for one in taken]


def _counters(scope_id: str) -> Iterator[tuple[float, Counter]]:
    """Yield what is said of a scope, each with the second at which it is sent."""

    def counter(meter, kind, volume, at_s, resource='r1', born_s=None, **more):
        made = Counter(
            meter,
            kind,
            UNITS[meter],
            Decimal(volume),
            scope_id,
            None,
            f'{resource}-{scope_id}',
            _at(at_s),
            more.pop('attributes', {}),
            born=None if born_s is None else _at(born_s),
            **more,
        )
        return max(at_s, 0), made

    shift = SCOPES.index(scope_id) * 1.7
    for life, volume, at_s, kind in (
        ('begin', '3', -140, 'fast'),
        ('change', '5', -20.25, 'fast'),
        ('change', '5', 41.5, 'slow'),
        ('end', '0', 70.125, 'slow'),
        ('begin', '1', 95, 'fast'),
    ):
        attributes = {'type': kind}
        yield counter('disk', facts.STATE, volume, at_s + shift, life=life, attributes=attributes)
    # Its begin was missed.
    for life, at_s in (('seen', 20), ('change', 50), ('presumed_end', 64), ('seen', 85)):
        yield counter('disk', facts.STATE, '2', at_s + shift, 'r2', -100, life=life, attributes={})
    for number in range(16):
        # It begins again now and then.
        yield counter('cpu', facts.CUMULATIVE, f'{number % 6 * 7}.5', number * 15 - 140 + shift)
    for number in range(10):
        yield counter('request', facts.DELTA, '1.25', number * 23 - 120 + shift, id=f'n{number}')


def _at(second: float) -> int:
    return facts.to_us(START) + round(second * facts.SECOND_US)


FORMS = [
    (sent_s, message.build(counter, SECRET))
    for scope_id in SCOPES
    for sent_s, counter in _counters(scope_id)
    if sent_s <= SENT_MAX_S
]


class Simulation(run.Simulation):
    """Runs schedules in which usage comes over the bus.

    :param receiver: the class that stores messages; one that breaks a rule must be found out.
    """

    def __init__(
        self, folder: Path, receiver: Callable = Receiver, driver: drivers.SQL | None = None
    ):
        super().__init__(folder, driver)
        self._receiver = receiver
        self._conf.set_override('wait_periods', 1, 'collect')
        self._conf.set_override('secrets', [SECRET], 'metering')
        self._conf.register_opts(MeteringCollector.OPTS, MeteringCollector.GROUP)
        for number in range(INTAKES_MAX):
            self._databases[f'intake-{number}'] = worlds.Database(self._conf)

    def prepare(self, connection):
        run.make_rules(connection)
        scope_state.record_seen(
            connection, IDENTITY, SCOPES, now=START, initial_mark=BEGIN - LENGTH, final_mark=START
        )

    def run(self, seed: int, *, has_log: bool = False) -> run.Result:
        """Run the schedule of a seed."""
        if self._expected is None:
            self._play_usage(World(0), BusFaults(), workers=1, intakes=1)
            self._expected = self._dump()[0]
        world = World(seed, has_log=has_log)
        choose = world.choose
        world.faults = self._faults(choose, KINDS)
        bus = BusFaults(
            choose.choice([0, 0.2, 0.6]), choose.choice([0, 0.1, 0.5]), choose.choice([0, 0.1, 0.4])
        )
        self._play_usage(
            world, bus, workers=choose.choice([1, 2]), intakes=choose.choice([1, INTAKES_MAX])
        )
        return self._result(seed, world)

    def _play_usage(self, world, bus_faults, *, workers, intakes):
        self._restore()
        bus = Bus(world, bus_faults)
        work = functools.partial(self._work, size=run.size_of(workers, (10, 10)))
        for number in range(workers):
            self._start(world, f'worker-{number}', work, ready_at_s=0, end_s=END_S)
        take = functools.partial(self._take, bus=bus)
        for number in range(intakes):
            self._start(world, f'intake-{number}', take, ready_at_s=0, end_s=END_S)
        self._start_jobs(world, END_S)
        world.run(END_S)
        world.end()

    def _take(self, world, process, database, bus):
        receiver = self._receiver(self._conf, database, world.clock(process))
        while True:
            taken = bus.take()
            if not taken:
                world.pause(process, 0.5)
                continue
            world.say(process, f'takes messages {[one.number for one in taken]}')
            is_stored = False
            try:
                receiver.store([Received(one.form, 'agent') for one in taken], BUS)
                is_stored = True
            except (db_exception.DBError, errors.DatabaseUnavailable):
                world.pause(process, 1)
            finally:
                # Of a process that dies, too.
                (bus.acknowledge if is_stored else bus.give_back)(taken)

    def _collector(self, world, process, database):
        driver = MeteringCollector(
            period=int(LENGTH.total_seconds()),
            service_conf=self._conf,
            conf={'metrics': METRICS},
        )
        driver._opened = database
        return driver

    def _fetcher(self, world, process):
        return Fetcher(world, process)

    def _more_jobs(self, shared):
        return [LateUsage(late_max=worlds.LENGTH * 10_000, pause_percent=4, **shared)]

    def _dump(self):
        found, again = super()._dump()
        return found + b'\n' + self._usage(), again

    def _usage(self) -> bytes:
        """Return facts and lives, without what may differ from run to run."""
        series = usage_tables.series
        lines = []
        with self._plain.reader() as connection:
            for table, names in (
                (usage_tables.samples, ('at', 'stage', 'tag', 'quantity', 'born', 'voided_at')),
                (usage_tables.lives, ('begin', 'end', 'quantity', 'evidence')),
                (usage_tables.rejects, ()),
            ):
                columns = [table.c[name] for name in names]
                statement = sa.select(sa.func.count()).select_from(table)
                if names:
                    statement = sa.select(series.c.meter, series.c.resource_id, *columns).join_from(
                        series, table, table.c.series_id == series.c.id
                    )
                rows = [list(map(str, row)) for row in connection.execute(statement)]
                lines += [f'{table.name} {json.dumps(row)}' for row in sorted(rows)]
        return '\n'.join(lines).encode()


class Fetcher(worlds.Fetcher):
    """Lists the scopes, which stay."""

    def get_tenants(self):
        super().get_tenants()
        return list(SCOPES)
