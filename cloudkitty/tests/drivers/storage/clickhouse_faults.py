"""Writers that die, and what SQL says that they committed: for test_clickhouse_faults."""

import contextlib
import os
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import http, query
from cloudkitty.storage.v2 import ScopeBatch
from cloudkitty.storage.v2.clickhouse import ClickHouseStorage
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.storage.v2.clickhouse.writer import Writer
from cloudkitty.storage.v2.series.answers import Slice
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point
from cloudkitty.tests.drivers.storage import clickhouse_dialect

PERIODS = 3
TIMEOUT_S = 5
SCOPES = ('a', 'b', 'c')
# From before the first to after the last period.
EVERYTHING = query.Window(MAY - HOUR, MAY + timedelta(days=3650), None, {})
# What exists: the scope's number, begin of the period (naive UTC), and the quantity of its points.
ORACLE = sa.Table(
    'test_oracle',
    sa.MetaData(),
    sa.Column('scope_id', sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column('begin', sa.DateTime, primary_key=True),
    sa.Column('qty', sa.BigInteger, nullable=False),
)


class RecordingWriter(Writer):
    """Writes what it commits into the table of the test, too, in the same transaction."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._notes = {}

    def write(self, parts, tickets=None):
        written = super().write(parts, tickets)
        for part, one in zip(parts, written, strict=True):
            self._notes[one.ticket.revision] = [
                (one.owner, timeframe.to_naive(found.start), int(qty))
                for found in part.usage
                for qty in {point.qty for _, point in found}
            ]
        return written

    def remove(self, ticket, where):
        written = super().remove(ticket, where)
        self._notes[ticket.revision] = [
            (owner, timeframe.to_naive(where.begin), None) for owner in where.owners
        ]
        return written

    def close(self, connection, written):
        stale = super().close(connection, written)
        for one in written:
            for note in self._notes[one.ticket.revision] if one not in stale else ():
                _record(connection, *note)
        return stale


class DyingWriter(RecordingWriter):
    """Inserts some rows twice, is slow at times, and dies between the two steps."""

    def write(self, parts, tickets=None):
        written = super().write(parts, tickets)
        fate = random.random()
        if fate < 0.1:
            os._exit(1)
        if fate < 0.3:
            super().write(parts, [one.ticket for one in written])
        elif fate < 0.4:
            time.sleep(0.2)
        return written


def _record(connection, owner, begin, qty):
    gone = ORACLE.c.begin >= begin if qty is None else ORACLE.c.begin == begin
    connection.execute(sa.delete(ORACLE).where(ORACLE.c.scope_id == owner, gone))
    if qty is not None:
        connection.execute(sa.insert(ORACLE).values(scope_id=owner, begin=begin, qty=qty))


class Place(NamedTuple):
    """Where usage is stored.

    :ivar connection: URL of the SQL database.
    :ivar shards: URLs of the replicas of each shard.
    :ivar name: the database in ClickHouse.
    :ivar is_cluster: whether it is a cluster of clickhouse_cluster.
    """

    connection: str
    shards: Sequence[Sequence[str]]
    name: str
    is_cluster: bool = False


def open_storage(place, writer, **options):
    """Return a storage whose writer is of a class of this module."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    group = ClickHouseStorage.GROUP
    conf.register_opts(ClickHouseStorage.OPTS, group=group)
    conf.set_override('connection', place.connection, 'database')
    # Whoever opens it writes to another replica, and reads from another one.
    shards = [random.sample(urls, len(urls)) for urls in place.shards]
    for name, value in {
        'shards': shards,
        'database': place.name,
        'replicated': place.is_cluster,
        'timeout': TIMEOUT_S,
        **options,
    }.items():
        conf.set_override(name, value, group)
    storage = ClickHouseStorage(conf)
    if place.is_cluster:
        clickhouse_dialect.adapt(storage)
    storage._writer = writer(storage.database, storage.id_cache, storage.body, None)
    return storage


def write(place):
    """Rate periods of all scopes until the process is killed."""
    http.BACKOFF_S = 0
    storage = open_storage(place, DyingWriter)
    while True:
        with storage.database.reader() as connection:
            scopes = scope_state.list_scopes(connection)[1]
        with contextlib.suppress(errors.DatabaseAway):
            storage.commit([_batch(scope) for scope in random.sample(scopes, 2)])


def _batch(scope):
    begins = [scope.mark + (number + 1) * HOUR for number in range(PERIODS)]
    frames = _frames(scope, begins)
    return ScopeBatch(scope.id, scope.scope_id, scope.mark, begins[-1], frames)


def _frames(scope, begins):
    """Return frames whose points have a quantity of their own."""
    qty = random.randrange(1, 1 << 40)
    usage = {'cpu': [point(scope.scope_id, qty, 1, id=one) for one in ('x', 'y')]}
    return [frame(begin, usage) for begin in begins]


def replace(storage):
    """Store some of the periods of a scope again; return whether it has any."""
    with storage.database.reader() as connection:
        scope = random.choice(scope_state.list_scopes(connection)[1])
    many = (scope.mark - MAY) // HOUR + 1
    if many < 1:
        return False
    first = random.randrange(many)
    begins = [MAY + hour * HOUR for hour in range(first, min(first + PERIODS, many))]
    storage.push(_frames(scope, begins), scope.scope_id)
    return True


def set_back(storage):
    """Reset one of the scopes by some periods."""
    with storage.database.reader() as connection:
        scope = random.choice(scope_state.list_scopes(connection)[1])
    mark = max(scope.mark - random.randrange(1, 9) * HOUR, MAY - HOUR)
    storage.database.write(lambda connection: resets.order(connection, [scope.id], mark, now=JUNE))
    storage.reset(resets.Reset(scope.id, scope.scope_id, mark))


def differences(storage):
    """Return how many periods an answer has, and which ones differ from what SQL committed.

    Any replica is asked first.
    """
    for body in storage.body.all:
        body.client._first = random.randrange(len(body.client._urls))
    with storage._reader() as reader:
        rows = reader.connection.execute(sa.select(ORACLE)).all()
        expected = {(row.scope_id, row.begin): [row.qty] * 2 for row in rows}
        found = {}
        for key, quantities in _answer(storage, reader.snapshot):
            # A period that two shards have, or that is there twice, is as wrong as a missing one.
            found[key] = found.get(key, []) + quantities
        points = reader.retrieve(EVERYTHING, Slice(0, 1))['total']
        sums = reader.total(EVERYTHING, (), query.DEFAULT_FIELDS, Slice(0, None))['results']
    wrong = {key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)}
    if points != 2 * len(expected):
        wrong.add(f'{points} points in {len(expected)} periods')
    total = sum(sum(quantities) for quantities in expected.values())
    if sum(row['qty'] for row in sums) != total:
        wrong.add(f'{sums} where {total} should be')
    return len(found), wrong


def _answer(storage, snapshot):
    """Yield what exists, by the rows of ClickHouse, with its quantities."""
    for body in storage.body.all:
        visible = body.visible(snapshot, Where(*EVERYTHING[:2]), 'quantities')
        for scope, micros, quantities in body.client.rows(
            f'SELECT scope, toUnixTimestamp64Micro(begin), quantities FROM ({visible}) '
            'WHERE notEmpty(quantities)'
        ):
            begin = timeframe.EPOCH + timedelta(microseconds=micros)
            yield (scope, timeframe.to_naive(begin)), [int(Decimal(one)) for one in quantities]
