"""While billing is off rating asks the database nothing more, and stores nothing of it."""

import csv
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import storage
from cloudkitty.db import billing_tables, tables
from cloudkitty.processor import service
from cloudkitty.tests import ini

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS = 5
NAMES = [
    table.name
    for table in vars(billing_tables).values()
    if isinstance(table, sa.Table) and table.name != 'output_files'
]


@pytest.fixture
def options(tmp_path, any_conf):
    """Rates the usage of a file; returns the options by section."""
    with (tmp_path / 'usage.csv').open('w') as file:
        rows = csv.writer(file)
        rows.writerow(['begin', 'end', 'metric', 'project_id', 'quantity', 'id'])
        for number in range(HOURS):
            begin = BEGIN + number * HOUR
            rows.writerow([begin.isoformat(), (begin + HOUR).isoformat(), 'cpu', 'a', 2, 'x'])
    (tmp_path / 'metrics.yml').write_text('metrics: {cpu: {unit: u, groupby: [id]}}')
    return {
        'database': {'connection': any_conf.database.connection},
        'fetcher': {'backend': 'source'},
        'fetcher_source': {'sources': 'a'},
        'collect': {
            'collector': 'file',
            'start_date': '2026-10-01',
            'metrics_conf': tmp_path / 'metrics.yml',
        },
        'collector_file': {'files': tmp_path / 'usage.csv'},
        'orchestrator': {'coordination_url': f'file://{tmp_path}/locks'},
    }


def rate(options, folder, database, **billing):
    """Rate the hours; return the statements that the database got."""
    with database.writer() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())
    path = folder / 'cloudkitty.conf'
    ini.write(path, options | {'billing': billing})
    conf = configuration.load(['--config-file', str(path)], conf=cfg.ConfigOpts())
    now = BEGIN + 40 * 24 * HOUR
    parts = service.build(conf, 0, clock=lambda: now)
    seen = []

    def note(connection, cursor, statement, *rest):
        seen.append(statement)

    sa.event.listen(sa.Engine, 'before_cursor_execute', note)
    try:
        for _ in range(3):
            parts.worker.turn()
    finally:
        sa.event.remove(sa.Engine, 'before_cursor_execute', note)
        parts.locks.close()
        parts.database.close()
    rated = storage.get_driver(conf).total(None, BEGIN, BEGIN + HOURS * HOUR)['results']
    assert [row['qty'] for row in rated] == [2 * HOURS]
    return seen


def of_billing(statement):
    return any(name in statement for name in NAMES)


def test_rating_asks_nothing_more(options, tmp_path, any_database):
    """No statement names a table of billing, and none has a row; while it is on some do."""
    off = rate(options, tmp_path, any_database)
    with any_database.reader() as connection:
        rows = {
            name: connection.execute(
                sa.select(sa.func.count()).select_from(sa.table(name))
            ).scalar()
            for name in NAMES
        }
    on = rate(options, tmp_path, any_database, enabled=True)

    assert rows == dict.fromkeys(NAMES, 0)
    assert [one for one in off if of_billing(one)] == []
    assert [one for one in on if of_billing(one)] != []
