"""Rated data of storage v1 is migrated with metadata apart, as metric definitions say."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
import yaml

from cloudkitty.core import metrics
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.functional.adoption.conftest import adopt

METRICS = """
metrics:
  instance:
    unit: instance
    groupby: [id, user_id]
    metadata: [flavor_name, flavor_id, vcpus]
  volume.size:
    unit: GiB
    groupby: [user_id]
    metadata: [volume_type]
"""


def test_definitions_tell_metadata_apart(former_v1, conf, tmp_path):
    """And a period that is rated here afterwards goes on with the same series."""
    adopt(former_v1)
    path = tmp_path / 'metrics.yml'
    path.write_text(METRICS)
    config = tmp_path / 'cloudkitty.conf'
    config.write_text(
        f'[database]\nconnection = {former_v1.url}\n[storage]\nversion = 1\nbackend = sqlalchemy\n'
    )
    command = [sys.executable, '-c', 'from cloudkitty.cli import storage; storage.main()']
    ended = subprocess.run(
        [*command, '--config-file', config, 'migrate', '--metrics-conf', path, '--scope', 'p00001'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert 'next: when all is migrated, set [storage]version = 2' in ended.stderr

    store = SQLStorage(conf)
    before = _series(store)
    by_metric = {}
    for _, metric, groupby, metadata in before:
        by_metric.setdefault(metric, (set(json.loads(groupby)), set(json.loads(metadata))))
    assert by_metric['instance'] == (
        {'id', 'user_id', 'project_id'},
        {'flavor_name', 'flavor_id', 'vcpus'},
    )
    assert by_metric['volume.size'] == ({'user_id', 'project_id'}, {'volume_type'})
    definitions = metrics.parse(yaml.safe_load(METRICS), scope_key='project_id')
    attributes = {
        **json.loads(next(row[2] for row in before if row[1] == 'instance')),
        **json.loads(next(row[3] for row in before if row[1] == 'instance')),
    }
    point = DataPoint.of(definitions['instance'].series(attributes), Decimal(1), Decimal(1))
    begin = datetime(2026, 11, 20, tzinfo=UTC)
    store.push([DataFrame(begin, begin + timedelta(hours=1), {'instance': [point]})], 'p00001')
    assert _series(store) == before
    store.database.close()


def _series(store):
    with store.database.reader() as connection:
        table = tables.rated_series
        return connection.execute(
            sa.select(table.c.id, table.c.metric, table.c.groupby, table.c.metadata).order_by(
                table.c.id
            )
        ).all()
