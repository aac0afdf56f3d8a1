"""Rated data for benchmarks: one month of 10,000 series of 500 scopes, in databases of its own."""

import contextlib
import gc
import os
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.db import tables
from cloudkitty.processor.service import GC_THRESHOLDS
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import ScopeBatch
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import databases

MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
METRICS = ('instance', 'volume', 'image', 'network.in', 'network.out')
SCOPES = [f'project-{number:03}' for number in range(500)]
SERIES_PER_METRIC = 4  # of one scope: 500 x 5 x 4 = 10,000 series
SERIES = len(SCOPES) * len(METRICS) * SERIES_PER_METRIC
SCOPES_PER_COMMIT = 100  # the default of [orchestrator]batch_scopes
DEPARTMENTS = 40
SERVERS = {
    kind: os.environ.get(f'CLOUDKITTY_TEST_{kind.upper()}', server.standard_url)
    for kind, server in (('postgresql', databases.PostgreSQL), ('mariadb', databases.MariaDB))
}
KINDS = ('sqlite', *SERVERS)


@contextlib.contextmanager
def store(kind: str, folder: Path) -> Iterator[SQLStorage]:
    """Yield an empty store in a file in *folder*, or in a database of a server.

    Garbage is collected as seldom as in a worker.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    name = f'bench_{uuid.uuid4().hex[:12]}'
    if kind == 'sqlite':
        url, admin = f'sqlite:///{folder}/{name}.sqlite', None
    else:
        url = f'{SERVERS[kind]}/{name}'
        admin = sa.create_engine(
            f'{SERVERS[kind]}/{"postgres" if kind == "postgresql" else ""}',
            isolation_level='AUTOCOMMIT',
        )
        with admin.connect() as connection:
            connection.execute(sa.text(f'CREATE DATABASE {name}'))
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', url, 'database')
    conf.set_override('auth_strategy', 'noauth')
    storage = SQLStorage(conf)
    try:
        storage.init()
        yield storage
    finally:
        storage.database.engine.dispose()
        if admin is not None:
            with admin.connect() as connection:
                # Sessions of what was measured may still be open.
                forced = ' WITH (FORCE)' if kind == 'postgresql' else ''
                connection.execute(sa.text(f'DROP DATABASE {name}{forced}'))
            admin.dispose()


class Usage:
    """What 500 scopes use in a month of *periods* periods, handed out as a worker commits it."""

    def __init__(self, storage: SQLStorage, periods: int):
        self.periods = periods
        self.length = (JUNE - MAY) / periods
        self._dice = random.Random(5)
        self._series = {name: _series_of(name, number) for number, name in enumerate(SCOPES)}
        self._points = {name: self._variants(name) for name in SCOPES}
        identity = Settings.of(storage.conf).identity
        with storage.database.writer() as connection:
            scope_state.record_seen(
                connection,
                identity,
                SCOPES,
                now=MAY,
                initial_mark=MAY - self.length,
                final_mark=MAY,
            )
            table = tables.scopes
            self._states = {
                row.identifier: row.id
                for row in connection.execute(sa.select(table.c.identifier, table.c.id))
            }

    def _variants(self, name):
        """Return points of each series: machines use the same each period, networks never."""
        variants = {}
        for metric, members in self._series[name].items():
            changing = metric.startswith('network')
            variants[metric] = []
            for one in members:
                steady = Decimal(self._dice.choice((1, 2, 4, 8)))
                amounts = [
                    Decimal(self._dice.randrange(10**10)).scaleb(-6) if changing else steady
                    for _ in range(50 if changing else 1)
                ]
                variants[metric].append(
                    [DataPoint.of(one, qty, qty * Decimal('0.0123')) for qty in amounts]
                )
        return variants

    def batches(self, first: int, last: int, length: int) -> Iterator[list[ScopeBatch]]:
        """Yield the commits of periods [first, last), *length* periods of 100 scopes each."""
        for start in range(first, last, length):
            end = min(start + length, last)
            for place in range(0, len(SCOPES), SCOPES_PER_COMMIT):
                yield [
                    ScopeBatch(
                        self._states[name],
                        name,
                        self.begin(start - 1),
                        self.begin(end - 1),
                        ScopePeriods.of_frames(
                            name, [self._frame(name, number) for number in range(start, end)]
                        ),
                    )
                    for name in SCOPES[place : place + SCOPES_PER_COMMIT]
                ]

    def begin(self, number: int) -> datetime:
        """Return when period *number* begins."""
        return MAY + number * self.length

    def _frame(self, name, number):
        frame = DataFrame(self.begin(number), self.begin(number + 1))
        for metric, members in self._points[name].items():
            frame.add_points(
                [self._dice.choice(points) if len(points) > 1 else points[0] for points in members],
                metric,
            )
        return frame


def _series_of(name, number):
    return {
        metric: [
            Series(
                'unit',
                {
                    'project_id': name,
                    'id': f'{name}-{metric}-{n}',
                    'user_id': f'user-{n % 3}-{name}',
                    'department': f'department-{(number + n * 7) % DEPARTMENTS}',
                },
                {'flavor': f'f{n % 3}'},
            )
            for n in range(SERIES_PER_METRIC)
        ]
        for metric in METRICS
    }


def count_points(commits: list[list[ScopeBatch]]) -> int:
    """Return how many points *commits* hold."""
    return sum(part.usage.points for commit in commits for part in commit)
