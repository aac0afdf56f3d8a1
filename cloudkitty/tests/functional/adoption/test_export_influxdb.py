"""The way back of rated data: what was rated here is written to the former InfluxDB 1."""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.cli import storage, storage_export
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.db.adoption import journal, scope_rows
from cloudkitty.storage.former import importer, influxdb_writer, stores
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import formers

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 11, 5, tzinfo=UTC)
ALL = Period(datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC))
COMMAND = 'from cloudkitty.cli import storage; storage.main()'
pytestmark = pytest.mark.xdist_group('influxdb')


@pytest.fixture
def store(conf, influxdb):
    """The former store, empty."""
    conf.register_opts(stores.GROUPS['storage_influxdb'], group='storage_influxdb')
    for name, value in (('host', '127.0.0.1'), ('port', influxdb.port), ('database', 'back')):
        conf.set_override(name, value, 'storage_influxdb')
    with influxdb.database('back'):
        yield influxdb_writer.InfluxDBWriter(conf)


@pytest.fixture
def export(database, conf, store, capsys):
    """Does `cloudkitty-storage export --to influxdb`; returns what it printed."""
    parser = argparse.ArgumentParser()
    storage._add_commands(parser.add_subparsers())
    ours = SQLStorage(conf)

    def run(*arguments, status=0):
        chosen = parser.parse_args(['export', '--to', 'influxdb', *arguments])
        extent = Extent(chosen.begin, chosen.end, chosen.scope)
        capsys.readouterr()
        assert storage_export.run(conf, ours, chosen, extent) == status
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


def _push(conf, scope_id, begin, *points):
    frame = DataFrame(begin, begin + HOUR)
    for point in points:
        frame.add_point(point, 'cpu')
    SQLStorage(conf).push([frame], scope_id)


def _point(qty='1', price='2', groupby=None, **metadata):
    names = groupby or {'project_id': 'p', 'id': 'vm'}
    return DataPoint('core', Decimal(qty), Decimal(price), names, metadata)


def _writable(row):
    """Return a point as it is to be written: an answer has whole floats without a point."""
    return row._replace(fields={**row.fields, 'qty': 1.0, 'price': 2.0})


def _number(value):
    return float(value) if isinstance(value, Decimal | int) else value


def _plain(rows):
    """Return rows, but for calendar attributes, which points of before release 20 lack."""
    found = []
    for begin, metric, tags, fields in rows:
        if metric == 'weird reserved metadata':
            # A field `type` made the former API read every metric as null.
            continue
        kept = {name: value for name, value in tags.items() if name not in timeframe.CALENDAR_KEYS}
        # The value of an attribute `type` was lost in the former store.
        names = set(fields['groupby'].split('|')) - {*timeframe.CALENDAR_KEYS, 'type'}
        values = {name: _number(value) for name, value in fields.items() if value != ''}
        values['groupby'] = sorted(names)
        values['metadata'] = sorted(fields['metadata'].split('|'))
        found.append(json.dumps([str(begin), metric, kept, values], sort_keys=True))
    return sorted(found)


def test_the_former_data_comes_back_as_it_was(conf, database, influxdb, store, export):
    """All 8,666 points with each tag and field; again it changes nothing."""
    with influxdb.database('rated'):
        influxdb.write('rated', formers.influxdb_lines())
        conf.set_override('database', 'rated', 'storage_influxdb')
        reader = stores.get_reader(conf, 'influxdb')
        ours = SQLStorage(conf)
        choice = importer.Choice(Extent())
        importer.Importer(ours.cells, reader, choice).run(ALL)
        before = _plain(reader.rows(ALL))
        sums = reader.sums(ALL)
        conf.set_override('database', 'back', 'storage_influxdb')

    told = export()
    again = export()

    assert '8666 points in 724 periods written, 0 were there' in told
    assert '0 points in 0 periods written, 724 were there, 0 replaced, 0 differ' in again
    assert _plain(store.rows(ALL)) == before
    assert {key: round(one.price, 6) for key, one in store.sums(ALL).items()} == {
        key: round(one.price, 6) for key, one in sums.items()
    }


def test_what_was_rated_since_the_adoption_is_written(conf, database, store, export):
    """Of a scope that was adopted; all of another one. --begin chooses otherwise."""
    with database.writer() as connection:
        journal.make(connection)
        for scope_id in ('p', 'own'):
            connection.execute(
                tables.scopes.insert().values(
                    identifier=scope_id, last_processed_timestamp=datetime(2026, 11, 5)
                )
            )
        key = connection.scalar(
            sa.select(tables.scopes.c.id).where(tables.scopes.c.identifier == 'p')
        )
        mark = {'row_id': key, 'before': '2026-11-05 00:00:00', 'after': '2026-11-05 00:00:00'}
        journal.record(connection, tables.scopes.name, scope_rows.MARK, [mark])
    for hour in range(3):
        _push(conf, 'p', BEGIN + hour * HOUR, _point())
        _push(conf, 'own', BEGIN + hour * HOUR, _point(groupby={'project_id': 'own'}))

    rehearsed = export('--dry-run')
    assert not list(store.rows(ALL))
    told = export()

    assert '5 points in 5 periods would be written' in rehearsed
    assert '5 points in 5 periods written' in told
    found = sorted((row.tags['project_id'], row.begin) for row in store.rows(ALL))
    assert found == [
        *(('own', BEGIN + hour * HOUR) for hour in range(3)),
        *(('p', BEGIN + hour * HOUR) for hour in (1, 2)),
    ]
    assert '1 points in 1 periods written' in export('--begin', '2026-11-05', '--scope', 'p')


def test_a_stopped_export_goes_on(conf, database, store, export):
    """A period of which only a part was written is completed."""
    points = [_point(groupby={'project_id': 'p', 'id': str(number)}) for number in range(3)]
    _push(conf, 'p', BEGIN, *points)
    export()
    (first, *_) = store.rows(ALL)
    store.delete('p', BEGIN)
    store.write([_writable(first)])

    told = export()

    assert '2 points in 1 periods written' in told
    assert len(list(store.rows(ALL))) == 3


def test_what_differs_stays_unless_it_is_to_be_replaced(conf, database, store, export):
    """The exit status tells, and so does a line for each scope."""
    _push(conf, 'p', BEGIN, _point())
    _push(conf, 'p', BEGIN + HOUR, _point())
    export()
    row = next(store.rows(Period(BEGIN, BEGIN + HOUR)))
    store.delete('p', BEGIN)
    store.write([_writable(row)._replace(tags={**row.tags, 'id': 'other'})])

    told = export(status=1)
    assert 'p: 1 periods have different points there and are not changed\n' in told
    replaced = export('--replace')

    assert '0 periods written, 1 were there, 1 replaced' in replaced
    assert {row.tags['id'] for row in store.rows(ALL)} == {'vm'}


@pytest.mark.parametrize(
    'value',
    ['a b,c=d', 'back\\slash\\n', 'line\nfeed', '"quotes" and \'single\'', ' ends ', 'ünï 😀'],
)
def test_attributes_come_through(conf, database, store, export, value):
    """As text of tags, of fields, and as the id of a scope."""
    groupby = {'project_id': value, 'na me=,"x"': value, 'empty': ''}
    _push(conf, value, BEGIN, _point(groupby=groupby, flavor=value, vcpus=4, ratio=0.5, big=True))

    export()
    again = export()

    assert '0 points in 0 periods written, 1 were there' in again
    (found,) = store.read(ALL)
    assert dict(found.series.groupby) == groupby
    metadata = dict(found.series.metadata)
    assert metadata.pop('flavor').replace('\\n', '\n') == value.replace('\\n', '\n')
    assert metadata == {'vcpus': 4, 'ratio': 0.5, 'big': True}


def test_points_that_only_metadata_tells_apart(conf, database, store, export):
    """They are added, because the store would keep one of them."""
    _push(conf, 'p', BEGIN, _point('1.5', '2', kind='ssd'), _point('2.25', '0.5', kind='hdd'))

    told = export()

    assert '1 points were added to another one of their period' in told
    (found,) = store.read(ALL)
    assert (found.qty, found.price) == (Decimal('3.75'), Decimal('2.5'))


def test_what_the_store_cannot_hold(conf, database, store, export):
    """Metadata of another type and of reserved names are left out, long numbers rounded."""
    _push(conf, 'p', BEGIN, _point(size=1.5))
    export()
    names = {'size': 'large', 'price': 'x', 'time': 'y', 'parts': 'z'}
    qty, groupby = Decimal('0.12345678901234567'), {'project_id': 'p'}
    _push(conf, 'p', BEGIN + HOUR, DataPoint('core', qty, Decimal(1), groupby, names))

    told = export()

    assert '3 metadata were left out' in told
    assert '1 quantities or prices have more than 15 digits' in told
    found = list(store.read(Period(BEGIN + HOUR, ALL.end)))
    assert [float(one.qty) for one in found] == [0.12345678901234567]
    assert found[0].price == 1
    assert found[0].series.metadata['parts'] == 'z'


def test_what_the_store_refuses(conf, database, export):
    """It is named before anything of its period is written."""
    _push(conf, 'p', BEGIN, _point(groupby={'project_id': 'p', 'id': 'C:\\'}))

    with pytest.raises(errors.InvalidInput, match="InfluxDB refuses the attribute id = 'C:"):
        export()

    assert '0 points in 0 periods written' in export('--begin', '2026-11-06')


def test_the_command(conf, database, influxdb, store, tmp_path):
    """Its options mean nothing for a file; what it did is told on standard error."""
    _push(conf, 'p', BEGIN, _point())
    path = tmp_path / 'cloudkitty.conf'
    path.write_text(
        f'[database]\nconnection = {conf.database.connection}\n[storage_influxdb]\n'
        f'host = 127.0.0.1\nport = {influxdb.port}\ndatabase = back\n'
    )
    command = [sys.executable, '-c', COMMAND, '--config-file', path, 'export']

    refused = subprocess.run([*command, '--dry-run'], capture_output=True, text=True, timeout=120)
    done = subprocess.run(
        [*command, '--to', 'influxdb'], capture_output=True, text=True, timeout=120
    )

    assert refused.returncode == 1
    assert '--dry-run and --replace need --to' in refused.stderr
    assert (done.returncode, done.stdout) == (0, '')
    assert done.stderr.splitlines()[-1].startswith('1 points in 1 periods written')
    assert len(list(store.rows(ALL))) == 1


def test_other_versions_are_refused(conf, store):
    """InfluxDB 2 is only read."""
    conf.set_override('version', 2, 'storage_influxdb')

    with pytest.raises(errors.ConfigurationError, match='is written to InfluxDB 1 only'):
        influxdb_writer.InfluxDBWriter(conf)
