"""cloudkitty-status rehearse compares what is stored with what would be rated now."""

import hashlib
import json
import zlib
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.cli import rehearse
from cloudkitty.collector.file import FileCollector
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.former import causes
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.clickhouse import empty

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
HOURS = 6
SCOPES = ('a', 'b')
METRICS = """
metrics:
  instance:
    unit: instance
    groupby: [id]
    metadata: [flavor]
  volume:
    unit: GiB
    groupby: []
    metadata: [volume_type]
"""


def _usage(scope_id, hour):
    """Return (metric, quantity, attributes) of each point."""
    yield 'instance', '1', {'id': 'i', 'flavor': 'small'}
    yield 'volume', f'{40 + hour}.123456789012', {'volume_type': 'ssd'}
    yield 'volume', '10', {'volume_type': 'hdd'}


@pytest.fixture
def store(database, conf, tmp_path):
    """Two scopes, rated for six hours by rules that cost 3 for an instance and 2 for a GiB."""
    (tmp_path / 'metrics.yml').write_text(METRICS)
    lines = [
        {
            'metric': metric,
            'quantity': quantity,
            'project_id': scope_id,
            'begin': (BEGIN + hour * HOUR).isoformat(),
            'end': (BEGIN + (hour + 1) * HOUR).isoformat(),
            **attributes,
        }
        for scope_id in SCOPES
        for hour in range(HOURS)
        for metric, quantity, attributes in _usage(scope_id, hour)
    ]
    (tmp_path / 'usage.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    for group, name, value in (
        ('collect', 'metrics_conf', str(tmp_path / 'metrics.yml')),
        ('collect', 'collector', 'file'),
        ('fetcher', 'backend', 'file'),
    ):
        conf.set_override(name, value, group)
    opened = SQLStorage(conf)
    conf.register_opts(FileCollector.OPTS, group='collector_file')
    conf.set_override('files', [str(tmp_path / 'usage.jsonl')], 'collector_file')
    for scope_id in SCOPES:
        opened.push([_frame(scope_id, hour) for hour in range(HOURS)], scope_id)
    with database.writer() as connection:
        scope_state.record_seen(
            connection,
            scope_state.Identity.of(conf),
            SCOPES,
            now=BEGIN,
            initial_mark=BEGIN + (HOURS - 1) * HOUR,
            final_mark=BEGIN,
        )
        _add_rules(connection)
    yield opened
    opened.database.close()


def _add_rules(connection):
    connection.execute(tables.modules.insert().values(name='hashmap', state=True, priority=1))
    for number, (metric, cost) in enumerate((('instance', 3), ('volume', 2)), 1):
        connection.execute(
            tables.hashmap_services.insert().values(id=number, service_id=metric, name=metric)
        )
        _add_rule(connection, number, metric, cost)


def _add_rule(connection, service, name, cost, *, deleted=None, group=None):
    begin = timeframe.to_naive(BEGIN - HOUR)
    connection.execute(
        tables.hashmap_mappings.insert().values(
            mapping_id=name,
            cost=cost,
            map_type='flat',
            service_id=service,
            group_id=group,
            name=name,
            created_at=begin,
            start=begin,
            deleted=deleted,
            created_by='u',
        )
    )


def _frame(scope_id, hour, change=lambda metric, points: points):
    points = {'instance': [], 'volume': []}
    for metric, quantity, attributes in _usage(scope_id, hour):
        qty = Decimal(quantity)
        metadata = {
            name: value for name, value in attributes.items() if name in ('flavor', 'volume_type')
        }
        groupby = {name: value for name, value in attributes.items() if name not in metadata}
        points[metric].append(
            DataPoint(
                'instance' if metric == 'instance' else 'GiB',
                qty,
                qty * (3 if metric == 'instance' else 2),
                {**groupby, 'project_id': scope_id},
                metadata,
            )
        )
    usage = {metric: change(metric, own) for metric, own in points.items()}
    begin = BEGIN + hour * HOUR
    return DataFrame(begin, begin + HOUR, usage)


def _run(conf, scopes=None, hours=72):
    return rehearse.run(conf, Namespace(hours=hours, scope=scopes))


def _contents(database):
    with database.reader() as connection:
        return [
            connection.execute(sa.select(table)).all() for table in tables.metadata.sorted_tables
        ]


def test_equal_prices(store, conf, database, capsys):
    """Nothing differs, and nothing is written."""
    before = _contents(database)

    assert _run(conf, hours=6) == 0

    assert capsys.readouterr().out.endswith('\n4 equal or within rounding, 0 different\n')
    assert _contents(database) == before


def test_hours_before_the_data_of_the_source(store, conf, capsys):
    """What the source does not have stays as it is, and is counted."""
    store.push([_frame('a', hour) for hour in (-1, -2)], 'a')

    assert _run(conf, hours=72) == 0

    assert '2 stored periods have no data in the source' in capsys.readouterr().err


@pytest.mark.xdist_group('clickhouse')
def test_points_in_clickhouse(store, clickhouse, conf, capsys):
    with empty(conf, clickhouse.url) as other:
        assert sum(other.cells.write(store.cells.read(Extent()))) == 2 * HOURS
        store.delete()
        assert _run(conf, hours=6) == 0
        other.push([_frame('a', 3, _price)], 'a')
        assert _run(conf, hours=6) == 1

    assert capsys.readouterr().out.endswith('\n3 equal or within rounding, 1 different\n')


def _overwrite(metric, points):
    return points[-1:] if metric == 'volume' else points


def _round(metric, points):
    context = Context(prec=9)
    return [
        DataPoint.of(point.series, *map(context.create_decimal, (point.qty, point.price)))
        for point in points
    ]


def _price(metric, points):
    factor = 3 if metric == 'volume' else 1
    return [DataPoint.of(point.series, point.qty, point.price * factor) for point in points]


def _double(metric, points):
    return points * 2 if metric == 'instance' else points


@pytest.mark.parametrize(
    'change, metric, cause',
    [
        (_overwrite, 'volume', causes.OVERWRITTEN),
        (_round, 'volume', causes.ROUNDED),
        (_double, 'instance', causes.DOUBLED_THERE),
        (_price, 'volume', causes.REPRICED),
    ],
)
def test_differences_of_the_old_bill(store, conf, capsys, change, metric, cause):
    """Two of a kind, in two scopes, each with its cause."""
    store.push([_frame('a', 2, change)], 'a')
    store.push([_frame('b', 4, change)], 'b')

    assert _run(conf, hours=6) == 1

    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if cause in line]
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert (cells[0], cells[4], cells[5], cells[6]) == (metric, '2', '2', cause)
    assert out.endswith('\n2 equal or within rounding, 2 different\n')


def test_a_deleted_rule(store, conf, database, capsys):
    """It goes on applying to what was used before it was deleted."""
    with database.writer() as connection:
        connection.execute(tables.hashmap_groups.insert().values(id=1, group_id='g', name='g'))
        deleted = timeframe.to_naive(BEGIN + HOURS * HOUR)
        _add_rule(connection, 1, 'gone', 5, deleted=deleted, group=1)

    assert _run(conf, ['a'], hours=6) == 1

    (row,) = [line for line in capsys.readouterr().out.splitlines() if '| instance |' in line]
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    cause = causes.DELETED_RULE.format(name='gone')
    assert cells == ['instance', '18.0', '48.0', '30.0', '1', '1', cause]


def test_a_metric_that_no_rule_prices_here(store, conf, database, capsys):
    """Its rule was not carried over: the quantities are the same, and all of it is free."""
    with database.writer() as connection:
        mappings = tables.hashmap_mappings
        connection.execute(mappings.delete().where(mappings.c.mapping_id == 'volume'))

    assert _run(conf, hours=6) == 1

    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if '| volume ' in line]
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert (cells[2], cells[4:]) == ('0.0', ['2', '2', causes.UNPRICED])


def test_a_source_that_fails(store, conf, tmp_path):
    """Nobody knows: it is an error, which the command ends with status 255 for."""
    (tmp_path / 'usage.jsonl').write_text('{')

    with pytest.raises(errors.SourceError):
        _run(conf)


def test_what_cannot_be_rated(store, conf, capsys, database):
    """The reason is told, and nobody knows."""
    with database.writer() as connection:
        connection.execute(tables.modules.insert().values(name='pyscripts', state=True, priority=9))
        _add_script(connection)

    assert _run(conf, hours=6) == 255
    assert '2 scopes could not be rated: rating: ' in capsys.readouterr().err


def _add_script(connection):
    source = b'1 / 0'
    begin = timeframe.to_naive(BEGIN - HOUR)
    connection.execute(
        tables.pyscripts_scripts.insert().values(
            script_id='s',
            name='s',
            data=zlib.compress(source),
            checksum=hashlib.sha512(source).hexdigest(),
            created_at=begin,
            start=begin,
            created_by='u',
        )
    )


@pytest.mark.parametrize(
    'arguments, told', [({'scopes': ['x']}, 'No active'), ({'hours': 0}, 'one')]
)
def test_nothing_to_rehearse(store, conf, arguments, told):
    """An unknown scope, no period."""
    with pytest.raises(errors.ServiceError, match=told):
        _run(conf, **arguments)


def test_batches_that_are_too_large_are_halved(store, conf, capsys):
    """Nothing is left out."""
    conf.set_override('batch_points', 3, 'orchestrator')

    assert _run(conf, hours=6) == 0
    assert capsys.readouterr().out.endswith('\n4 equal or within rounding, 0 different\n')
