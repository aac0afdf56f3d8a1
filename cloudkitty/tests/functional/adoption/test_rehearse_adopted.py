"""cloudkitty-status rehearse after an adoption: the last periods of the former service again."""

import json
from argparse import Namespace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.cli import rehearse
from cloudkitty.collector.file import FileCollector
from cloudkitty.db import tables
from cloudkitty.storage.former import causes
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import formers
from cloudkitty.tests.functional.adoption.conftest import adopt

HOURS = 6
BEGIN = datetime(2026, 11, 3, 18, tzinfo=UTC)
# Those of the source and the collector that are active.
SCOPES = tuple(f'p0000{number}' for number in range(8))
METRICS = """
metrics:
  instance:
    unit: instance
    groupby: [id, user_id]
    metadata: [flavor_id, flavor_name, vcpus]
  net_out:
    unit: MB
    groupby: [user_id]
  volume.size:
    unit: GiB
    groupby: [user_id]
    metadata: [volume_type]
"""


def _collected(metric, point):
    """Return (quantity, more attributes) of what the source has for a former point.

    The former service rounded quantities to nine digits; here they are thirds. Of two volumes that
    only metadata tells apart its storage kept one.
    """
    if metric == 'net_out':
        yield round(3 * point.qty) / Decimal(3), {}
    elif metric == 'volume.size':
        yield 40, {'volume_type': 'ssd'}
        yield 30, {'volume_type': 'hdd'}
    else:
        yield point.qty, {}


def _lines(cell):
    for metric, point in cell.frame:
        for quantity, more in _collected(metric, point):
            yield json.dumps(
                {
                    'metric': metric,
                    'quantity': str(quantity),
                    'begin': cell.frame.start.isoformat(),
                    'end': cell.frame.end.isoformat(),
                    **point.groupby,
                    **point.metadata,
                    **more,
                }
            )


@pytest.fixture
def adopted(former_25, conf, tmp_path):
    """The adopted database with the former points of the last hours, and the usage behind them."""
    adopt(former_25)
    cells = [
        cell
        for cell in formers.expected_cells()
        if cell.owner in SCOPES and cell.frame.start >= BEGIN
    ]
    store = SQLStorage(conf)
    list(store.cells.write(cells))
    store.database.close()
    (tmp_path / 'metrics.yml').write_text(METRICS)
    usage = tmp_path / 'usage.jsonl'
    usage.write_text(''.join(f'{line}\n' for cell in cells for line in _lines(cell)))
    with former_25.writer() as connection:
        scopes = tables.scopes
        connection.execute(
            scopes.update()
            .where(scopes.c.fetcher == 'source', scopes.c.collector == 'prometheus')
            .values(fetcher='file', collector='file')
        )
    conf.set_override('metrics_conf', str(tmp_path / 'metrics.yml'), 'collect')
    conf.set_override('collector', 'file', 'collect')
    conf.set_override('backend', 'file', 'fetcher')
    conf.register_opts(FileCollector.OPTS, group='collector_file')
    conf.set_override('files', [str(usage)], 'collector_file')
    return former_25


def _differences(conf, capsys):
    """Return in how many of how many scopes each metric differs, and the cause."""
    assert rehearse.run(conf, Namespace(hours=HOURS, scope=None)) == rehearse.DIFFERENT
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith('| ')]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in table[1:]]
    return {metric: (differ, scopes, cause) for metric, _, _, _, scopes, differ, cause in rows}


def test_only_faults_of_the_former_bill_differ(adopted, conf, capsys):
    """Instances cost the same in all scopes, but for rules that were deleted since.

    Those apply here to the periods before; the former service forgets them.
    """
    faults = {
        'net_out': ('8', '8', causes.ROUNDED),
        'volume.size': ('8', '8', causes.OVERWRITTEN),
    }
    gone = causes.DELETED_RULE.format(name='gone')
    assert _differences(conf, capsys) == {'instance': ('8', '8', gone), **faults}

    with adopted.writer() as connection:
        mappings = tables.hashmap_mappings
        deleted = connection.execute(mappings.delete().where(mappings.c.deleted.is_not(None)))
        assert deleted.rowcount == 2
    assert _differences(conf, capsys) == {'instance': ('0', '8', ''), **faults}
