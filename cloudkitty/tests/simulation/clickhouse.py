"""The driver clickhouse in a simulation: a real engine, and all that can happen on the way to it.

A second of a simulation is an hour for revisions: they live and die within a schedule.
"""

import functools
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NoReturn

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import calendar_of
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import query, v2
from cloudkitty.storage.v2 import clickhouse
from cloudkitty.storage.v2.clickhouse import client, literals, revisions
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.storage.v2.clickhouse.reader import Reader
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.clickhouse.writer import Writer
from cloudkitty.storage.v2.series import changes
from cloudkitty.storage.v2.series.answers import Slice
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.series.series_ids import IdCache
from cloudkitty.tests import stored
from cloudkitty.tests.simulation.drivers import Job
from cloudkitty.tests.simulation.scheduler import Killed, Process
from cloudkitty.tests.simulation.world import Database, Faults, World

ORIGIN = datetime(2099, 1, 1, tzinfo=UTC)
# A number that changes nothing else: the time of the server.
CLOCK = 'http_max_uri_size'
ENGINE = re.compile(r'ENGINE = ReplacingMergeTree .*')
NOW, TIME = 'now()', f"toDateTime(getSetting('{CLOCK}'), 'UTC')"
STEPS = 900
LATE_MAX_S = 60
CHORES_PAUSE_MAX_S, READ_PAUSE_MAX_S = 15, 40
# Whole days, so that sums are read where they are folded.
WINDOW = query.Window(datetime(2024, 5, 31, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC), None, {})
EVERYTHING = Where(WINDOW.begin, WINDOW.end)
GROUPS = ('project_id', 'type', 'day_of_the_year')
AWAY = (errors.DatabaseAway, db_exception.DBError)


def _time(second: float) -> datetime:
    return ORIGIN + timedelta(hours=second)


class Direct(client.Client):
    """The connection to the server itself, whose clock is the simulation's.

    :ivar clocks: how often the clock of the server is in the definitions of the tables.
    """

    clocks = 0

    def execute_everywhere(self, statement: str) -> None:
        self.clocks += statement.count(NOW)
        # Nothing merges: a row stays there as often as it arrived, and no time goes into files.
        super().execute_everywhere(ENGINE.sub('ENGINE = Memory', statement.replace(NOW, TIME)))


class Client(client.Client):
    """What one process sends to the server, and what becomes of it on the way."""

    def __init__(self, direct: Direct, world: World, process: Process):
        self._direct, self._world, self._process = direct, world, process

    def execute(self, statement: str, data: bytes = b'', **settings: Any) -> None:
        world, faults = self._world, self._world.faults
        send = functools.partial(self._send, statement, data, **settings)
        if statement.startswith('INSERT') and world.happens(faults.late):
            self._send_later(send)
        self._step(statement, faults)
        if world.happens(faults.half):
            lines = data.splitlines(keepends=True)
            self._send(statement, b''.join(lines[: len(lines) // 2]), **settings)
            self._fail('was cut off')
        send()
        world.step(self._process, 'answered')
        if world.happens(faults.unknown):
            self._fail('lost its answer')

    def rows(self, statement: str) -> list[list[Any]]:
        self._step(statement, self._world.faults)
        return self._direct.rows(statement)

    def _step(self, statement, faults):
        if self._process.is_dead:
            raise Killed
        self._world.step(self._process, statement if self._world.log is not None else '')
        if self._world.happens(faults.away):
            self._fail('is away')

    def _fail(self, what) -> NoReturn:
        self._world.say(self._process, f'*** ClickHouse {what}')
        raise errors.DatabaseAway

    def _send(self, statement, data, **settings):
        self._direct.execute(
            statement, data, **settings, **{CLOCK: int(_time(self._world.now_s).timestamp())}
        )

    def _send_later(self, send):
        """Let a copy of a statement arrive later, whatever its sender does then."""

        def main(process):
            self._world.say(process, '*** a statement arrives late, or again')
            try:
                send()
            except errors.DatabaseAway:
                self._world.say(process, 'and is refused')

        delay_s = self._world.choose.uniform(0, LATE_MAX_S)
        self._world.processes.append(
            Process('network', main, ready_at_s=self._world.now_s + delay_s, is_worker=False)
        )


class InTurns(Shards):
    """The tables of all shards, which one process asks one after the other."""

    def rows(self, statements):
        return [shard.client.rows(statement) for shard, statement in statements]


class Storage(clickhouse.ClickHouseStorage):
    """The storage of a process on a database that is open already."""

    def __init__(self, database: Database, body: Shards, clock: Callable[[], datetime]):
        v2.BaseStorage.__init__(self, database.conf)
        self.database = database
        self.id_cache = IdCache(self.conf.collect.scope_key)
        self.body = body
        self._writer = self._build_writer(clock)

    def _build_writer(self, clock):
        return Writer(self.database, self.id_cache, self.body, changes.of(self.conf), clock)


class ClickHouse:
    """The driver clickhouse; see drivers.SQL.

    :param url: of a server.
    :param name: of a database of its own.
    :param shards: number of them, which are databases of the same server.
    """

    def __init__(self, url: str, name: str, shards: int = 1):
        self._url, self._name, self._shards = url, name, shards
        self.jobs = [
            Job('chores-0', self._do_chores),
            Job('chores-1', self._do_chores),
            Job('reader', self._read),
        ]

    def prepare(self, conf: cfg.ConfigOpts) -> None:
        conf.register_opts(client.OPTS, group=client.GROUP)
        conf.set_override('shards', [[self._url]] * self._shards, client.GROUP)
        conf.set_override('database', self._name, client.GROUP)
        options = conf.storage_clickhouse
        self._body = InTurns(options)
        for shard in self._body.all:
            shard.client = Direct(options, [self._url], shard.database)
            shard.client.execute(f'DROP DATABASE IF EXISTS {shard.database} SYNC')
            # Shards refuse a server that has another one.
            shard.create()
            assert shard.client.clocks == 2, 'the tables refuse late rows by another condition'

    def open(self, database: Database) -> Storage:
        world, process = database.world, database.process
        own = InTurns(database.conf.storage_clickhouse)
        for shard, one in zip(own.all, self._body.all, strict=True):
            shard.client = Client(one.client, world, process)
        return Storage(database, own, lambda: _time(world.now_s + process.skew_s))

    def spoil(self, faults: Faults, choose: Random) -> Faults:
        return faults._replace(
            kill_step=choose.randint(1, STEPS) if faults.kill_step else 0,
            unknown=faults.unknown or choose.choice([0, 0, 0.05]),
            away=choose.choice([0, 0, 0.02, 0.1]),
            late=choose.choice([0, 0.1, 0.5]),
            half=choose.choice([0, 0, 0.1]),
        )

    def clear(self) -> None:
        for shard in self._body.all:
            shard.client.execute(f'TRUNCATE ALL TABLES FROM {shard.database}')

    def dump(self, connection: sa.Connection, without_mark: tuple[str, ...]) -> bytes:
        return stored.dump(connection, body=self._body, without_mark=without_mark)

    def count_again(self, connection: sa.Connection) -> int:
        seen = revisions.snapshot(connection)
        scopes, tasks = tables.rated_scopes, tables.tasks
        ordered = connection.execute(
            sa.select(scopes.c.id).where(scopes.c.identifier.in_(sa.select(tasks.c.identifier)))
        )
        chosen = (
            f'NOT {literals.is_in("revision", seen.open)} '
            f'AND NOT {literals.is_in("scope", ordered.scalars().all())}'
        )
        return sum(
            len(
                shard.client.rows(
                    'SELECT arraySort(groupUniqArray((revision, notEmpty(ids)))) AS states '
                    f'FROM {shard.database}.frames WHERE {chosen} '
                    'GROUP BY scope, begin, origin '
                    # A reset removes them in between.
                    'HAVING arrayExists((one, next) -> one.2 AND next.2, '
                    'arrayPopBack(states), arrayPopFront(states))'
                )
            )
            for shard in self._body.all
        )

    def _do_chores(self, world, process, database):
        storage = self.open(database)
        while True:
            world.pause(process, world.choose.uniform(0, CHORES_PAUSE_MAX_S))
            world.say(process, 'sweeps and folds')
            try:
                while storage.fold(_time(world.now_s + process.skew_s)):
                    pass
            except AWAY:
                continue

    def _read(self, world, process, database):
        storage = self.open(database)
        while True:
            world.pause(process, world.choose.uniform(0, READ_PAUSE_MAX_S))
            try:
                with storage._reader() as reader:
                    found = inconsistencies(reader)
            except AWAY:
                continue
            world.problems += found


def inconsistencies(reader: Reader) -> list[str]:
    """Return what cannot be true of the answers of one reader."""
    rows = reader.total(WINDOW, GROUPS, query.DEFAULT_FIELDS, Slice(0, None))['results']
    answered = {tuple(row[name] for name in GROUPS): (row['qty'], row['rate']) for row in rows}
    sums: dict[tuple[str, str, str], tuple] = {}
    count = 0
    for frame in reader.body.points(reader.snapshot, EVERYTHING):
        entries = reader.id_cache.entries(reader.connection, set(frame.columns[0]))
        day = calendar_of(frame.begin)['day_of_the_year']
        for number, qty, price in zip(*frame.columns, strict=True):
            one = entries[number]
            place = (one.series.groupby['project_id'], one.metric, day)
            old = sums.get(place, (ZERO, ZERO))
            sums[place] = (SUM_CONTEXT.add(old[0], qty), SUM_CONTEXT.add(old[1], price))
            count += 1
    found = []
    if answered != sums:
        found.append(f'totals are {answered}, and points {sums}')
    paged = reader.retrieve(WINDOW, Slice(0, 1))['total']
    if paged != count:
        found.append(f'{paged} points are counted of {count}')
    return [*found, *_beyond_marks(reader)]


def _beyond_marks(reader: Reader) -> Iterator[str]:
    """Yield the rated periods that begin after the mark of their scope."""
    _, scopes = scope_state.list_scopes(reader.connection)
    marks = {scope.scope_id: scope.mark for scope in scopes}
    names = {
        row.id: row.identifier for row in reader.connection.execute(sa.select(tables.rated_scopes))
    }
    for key in reader.body.keys(reader.snapshot, EVERYTHING._replace(origin=RATED)):
        if key.begin > marks[names[key.scope]]:
            yield f'{names[key.scope]} is rated at {key.begin}, after its mark'
