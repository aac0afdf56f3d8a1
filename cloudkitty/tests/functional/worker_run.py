"""A worker over the history of the tests' Prometheus: its configuration, its rules, its results."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
import yaml
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, storage
from cloudkitty.db import tables
from cloudkitty.processor import service
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, mappings, services
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import history, ini

HOUR = timedelta(hours=1)
# Every hour of the history is due.
NOW = history.BEGIN + history.HOURS * HOUR + HOUR
SCOPES = ('alpha', 'beta')
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
METRICS = {
    'test_vcpus': {'unit': 'vcpu', 'groupby': ['resource'], 'metadata': ['flavor']},
    'test_volume_gib': {'unit': 'GiB', 'groupby': ['resource'], 'metadata': ['volume_type']},
    'test_cpu_seconds_total': {
        'unit': 's',
        'alt_name': 'cpu',
        'groupby': ['resource'],
        'extra_args': {'aggregation_method': 'sum', 'range_function': 'delta'},
    },
    # NaN and infinite values among good ones.
    'test_strange_values': {'unit': 'u', 'groupby': ['resource']},
}


def write_conf(
    folder: Path,
    *,
    connection: str,
    prometheus_url: str,
    timeout_s: float = 10,
    transport_url: str = '',
    lag_max: int = 10800,
    **orchestrator,
) -> Path:
    """Write a configuration with all it refers to; return its path."""
    (folder / 'metrics.yml').write_text(yaml.safe_dump({'metrics': METRICS}))
    options = {
        'DEFAULT': {'debug': False, 'transport_url': transport_url},
        'database': {'connection': connection},
        'collect': {
            'collector': 'prometheus',
            'metrics_conf': folder / 'metrics.yml',
            'lag_max': lag_max,
        },
        'collector_prometheus': {'prometheus_url': prometheus_url, 'timeout': timeout_s},
        'fetcher': {'backend': 'source'},
        'fetcher_source': {'sources': ','.join(SCOPES)},
        'orchestrator': {
            'coordination_url': f'file://{folder}/locks',
            'max_workers': 1,
            'max_threads': 4,
            **orchestrator,
        },
    }
    return ini.write(folder / 'cloudkitty.conf', options)


def load_conf(path: Path) -> cfg.ConfigOpts:
    return configuration.load(['--config-file', str(path)], conf=cfg.ConfigOpts())


def clear(database: db.Database) -> None:
    """Empty the database but for its schema, and make rules that price every metric."""
    with database.writer() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))

    def change(connection):
        module_state.update(connection, 'hashmap', enabled=True)
        for name, cost in (
            ('test_vcpus', '0.0123'),
            ('test_volume_gib', '0.00004'),
            ('cpu', '0.1'),
        ):
            parent = services.create(connection, name)
            mappings.create(
                connection,
                mappings.NewMapping(
                    cost=Decimal(cost), service_id=parent.service_id, value=None, start=LONG_AGO
                ),
                now=NOW,
                author='test',
                force=True,
            )
            if name == 'test_vcpus':
                field = fields.create(connection, 'flavor', parent.service_id)
                mappings.create(
                    connection,
                    mappings.NewMapping(
                        cost=Decimal('1.5'),
                        type='rate',
                        field_id=field.field_id,
                        value='m1.large',
                        start=LONG_AGO,
                    ),
                    now=NOW,
                    author='test',
                    force=True,
                )

    database.write(change)


def build(conf: cfg.ConfigOpts, clock=lambda: NOW) -> service.Parts:
    return service.build(conf, 0, clock=clock)


def results(conf: cfg.ConfigOpts) -> dict:
    """Return all that is stored, in a form that two runs share when they stored the same."""
    store = storage.get_driver(conf)
    window = {
        'begin': history.BEGIN - 24 * HOUR,
        'end': history.BEGIN + 48 * HOUR,
        'paginate': False,
    }
    points = sorted(
        json.dumps(
            [str(frame.start), str(frame.end), name, json.loads(point.json())], sort_keys=True
        )
        for frame in store.retrieve(**window)['dataframes']
        for name, point in frame
    )
    totals = store.total(groupby=['type', 'project_id', 'resource'], **window)['results']
    database = db.Database(conf)
    with database.reader() as connection:
        marks = {
            scope.scope_id: (scope.mark, scope.failure_count)
            for scope in scope_state.list_scopes(connection)[1]
        }
        frames = connection.execute(
            sa.select(sa.func.count()).select_from(tables.rated_frames)
        ).scalar_one()
    database.engine.dispose()
    store.database.engine.dispose()
    return {
        'points': points,
        'totals': [sorted(map(str, row.items())) for row in totals],
        'marks': marks,
        'frames': frames,
    }
