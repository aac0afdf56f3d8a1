"""What the processors live in: database, lock service, Prometheus, and much to rate."""

import contextlib
import signal
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
import yaml
from oslo_db import exception as db_exception

from cloudkitty import db, errors, storage
from cloudkitty.core import timeframe
from cloudkitty.db import migration, tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, mappings, services
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.tests import databases, lock_servers, stored
from cloudkitty.tests import services as daemons
from cloudkitty.tests.clickhouse import ClickHouse
from cloudkitty.tests.functional import worker_run
from cloudkitty.tests.processors import Processor

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
LENGTH = timedelta(minutes=1)
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
FLAVORS = ('small', 'medium', 'large')
# How long a lock lives after the last sign of life of its worker.
LOCK_LIFE_S = 3
METRICS = {
    'test_vcpus': {'unit': 'vcpu', 'groupby': ['resource'], 'metadata': ['flavor']},
    'test_volume_gib': {'unit': 'GiB', 'groupby': ['resource']},
}
# What one who orders something meets when the database does not answer, or the scope is elsewhere.
REFUSALS = (db_exception.DBError, sa.exc.SQLAlchemyError, errors.ServiceError)


class Size(NamedTuple):
    """How much there is to do."""

    scopes: int = 200
    periods: int = 100
    nodes: int = 2

    @property
    def names(self) -> list[str]:
        return [f'scope-{number:03}' for number in range(self.scopes)]

    @property
    def last(self) -> datetime:
        """Begin of the last period."""
        return BEGIN + LENGTH * (self.periods - 1)


class MariaDB(databases.MariaDB):
    """One that keeps what it confirmed when it is killed."""

    def arguments(self):
        return [*super().arguments(), '--innodb-flush-log-at-trx-commit=2']


SERVERS = {'postgresql': databases.PostgreSQL, 'mariadb': MariaDB}
LOCKS = {'redis': lock_servers.Redis, 'etcd': lock_servers.Etcd}


class World:
    """Database, lock service, Prometheus, and the processors that talk to them.

    :ivar clickhouse: the server of the storage driver clickhouse; None: the driver is sql.
    """

    def __init__(self, folder: Path, *, database: str, locks: str, driver: str, size: Size):
        self.folder, self.size = folder, size
        self.clickhouse: ClickHouse | None = None
        if driver == 'clickhouse':
            self.clickhouse = ClickHouse(folder / 'clickhouse')
        self.database = SERVERS[database](folder / 'database')
        self.locks = LOCKS[locks](folder / 'locks')
        self.prometheus = daemons.Prometheus(folder / 'prometheus', history=_history(size))
        self.processors: list[Processor | None] = [None] * size.nodes
        self.log_path = folder / 'processor.log'
        self._rounds = 0
        self._body: Shards | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator['World']:
        """Start the peers, prepare the database; at the end all are gone."""
        with contextlib.ExitStack() as stack:
            for server in filter(
                None, (self.database, self.locks, self.prometheus, self.clickhouse)
            ):
                stack.enter_context(server)
                # One that is held would not end in time.
                stack.callback(server.kill)
            stack.callback(self.kill_processors)
            self._create_database()
            self.conf = worker_run.load_conf(self._write_conf())
            self.store = db.Database(self.conf)
            migration.upgrade(self.store)
            stack.callback(lambda: self.store.engine.dispose())
            yield self

    def _create_database(self):
        admin = sa.create_engine(
            f'{self.database.url}/{self._maintenance}', isolation_level='AUTOCOMMIT'
        )
        with admin.connect() as connection:
            connection.execute(sa.text('CREATE DATABASE chaos'))
        admin.dispose()

    def _write_conf(self):
        (self.folder / 'metrics.yml').write_text(yaml.safe_dump({'metrics': METRICS}))
        options = {
            'DEFAULT': {'debug': False},
            'database': {'connection': f'{self.database.url}/chaos'},
            'collect': {
                'collector': 'prometheus',
                'period': int(LENGTH.total_seconds()),
                'wait_periods': 1,
                'metrics_conf': self.folder / 'metrics.yml',
            },
            'collector_prometheus': {'prometheus_url': self.prometheus.url, 'timeout': 3},
            'fetcher': {'backend': 'source'},
            'fetcher_source': {'sources': ','.join(self.size.names)},
            'orchestrator': {
                'coordination_url': self.locks.lock_url(LOCK_LIFE_S),
                'max_workers': 2,
                'max_workers_reprocessing': 2,
                'max_threads': 2,
                'batch_scopes': 20,
                'batch_periods': 2,
            },
        }
        if self.clickhouse is not None:
            self._rounds += 1
            options['storage'] = {'backend': 'clickhouse'}
            options['storage_clickhouse'] = {
                'urls': self.clickhouse.url,
                'database': f'chaos_{self._rounds}',
                'timeout': 3,
            }
        self.conf_path = self.folder / 'cloudkitty.conf'
        self.conf_path.write_text(
            '\n'.join(
                line
                for section, values in options.items()
                for line in (
                    f'[{section}]',
                    *(f'{name} = {value}' for name, value in values.items()),
                )
            )
        )
        return self.conf_path

    @property
    def _maintenance(self):
        return 'postgres' if isinstance(self.database, databases.PostgreSQL) else ''

    def start_processors(self, absent: Collection[int] = ()) -> None:
        """Start those that are not there, as an init system does, but for *absent*."""
        for number, one in enumerate(self.processors):
            if number not in absent and (one is None or not one.is_running):
                self.processors[number] = Processor(self.conf_path, self.log_path)

    def kill_processors(self) -> None:
        for one in self.processors:
            if one is not None and one.is_running:
                one.end(signal.SIGKILL)

    def clear(self) -> None:
        """Empty the database; then make rules, and scopes whose life ends with the history."""

        def change(connection):
            for table in reversed(tables.metadata.sorted_tables):
                connection.execute(sa.delete(table))
            now = datetime.now(UTC)
            # Nobody is to ask the fetcher, who would say that the scopes are alive.
            scope_state.claim_fetch(connection, IDENTITY, seen=None, now=now + timedelta(days=3650))
            scope_state.record_seen(
                connection,
                IDENTITY,
                self.size.names,
                now=now,
                final_mark=now,
                initial_mark=BEGIN - LENGTH,
            )
            connection.execute(
                sa.update(tables.scopes).values(final_mark=timeframe.to_naive(self.size.last))
            )
            _make_rules(connection)

        self.store.write(change)
        if self.clickhouse is not None:
            # A statement of a killed worker may still come to the database of the last round.
            self.conf = worker_run.load_conf(self._write_conf())
            opened = storage.get_driver(self.conf)
            opened.init()
            opened.database.close()
            self._body = opened.body

    def done(self) -> int:
        """Return how many periods of scopes are rated, -1 when the database does not answer."""
        try:
            with self.store.reader() as connection:
                marks = (
                    connection.execute(sa.select(tables.scopes.c.last_processed_timestamp))
                    .scalars()
                    .all()
                )
        except REFUSALS:
            return -1
        return sum((timeframe.from_naive(mark) - BEGIN) // LENGTH + 1 for mark in marks)

    @property
    def is_finished(self) -> bool:
        return (
            self.done() == self.size.scopes * self.size.periods and b'unfinished 0' in self.dump()
        )

    def dump(self) -> bytes:
        with self.store.reader() as connection:
            return stored.dump(connection, body=self._body)


def _history(size):
    start = int(BEGIN.timestamp())
    instants = [start + half * 30 for half in range(2 * size.periods + 1)]
    for kind, name in enumerate(METRICS):
        yield daemons.Family(
            name,
            'gauge',
            [
                (
                    {
                        'project_id': scope_id,
                        'resource': f'{scope_id}-{kind}',
                        'flavor': FLAVORS[number % 3],
                    },
                    [
                        (instant, (number * 7 + instant // 600) % 11 + kind / 4)
                        for instant in instants
                        # Some periods of some scopes are empty.
                        if (number + instant // 300) % 4 or not kind
                    ],
                )
                for number, scope_id in enumerate(size.names)
            ],
        )


def _make_rules(connection):
    module_state.update(connection, 'hashmap', enabled=True)
    for name, cost in (('test_vcpus', '0.0123'), ('test_volume_gib', '0.00004')):
        parent = services.create(connection, name)
        mappings.create(
            connection,
            mappings.NewMapping(
                cost=Decimal(cost),
                service_id=parent.service_id,
                value=None,
                start=worker_run.LONG_AGO,
            ),
            now=worker_run.NOW,
            author='chaos',
            force=True,
        )
        if name == 'test_vcpus':
            field = fields.create(connection, 'flavor', parent.service_id)
            for flavor in FLAVORS[1:]:
                mappings.create(
                    connection,
                    mappings.NewMapping(
                        cost=Decimal(len(flavor)) / 4,
                        type='rate',
                        field_id=field.field_id,
                        value=flavor,
                        start=worker_run.LONG_AGO,
                    ),
                    now=worker_run.NOW,
                    author='chaos',
                    force=True,
                )
