"""Rated data of InfluxDB 1 is imported as the former API showed it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import requests

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.storage.former import importer, stores
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import formers
from cloudkitty.tests.influxdb import InfluxDB

HOUR = timedelta(hours=1)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DAY = Period(NOVEMBER, NOVEMBER + 24 * HOUR)
ALL = (datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC))
NS = 10**9
pytestmark = pytest.mark.xdist_group('influxdb')
COMMAND = 'import sys; from cloudkitty.cli import storage; storage.main()'


@pytest.fixture(scope='module')
def filled(influxdb):
    """The server with the former data in database `rated`."""
    with influxdb.database('rated'):
        influxdb.write('rated', formers.influxdb_lines())
        yield influxdb


@pytest.fixture
def scratch(influxdb):
    """Writes lines to an empty database `scratch`."""
    with influxdb.database('scratch'):
        yield lambda *lines: influxdb.write('scratch', lines)


def _configure(conf, server, database):
    conf.register_opts(stores.GROUPS['storage_influxdb'], group='storage_influxdb')
    for name, value in (('host', '127.0.0.1'), ('port', server.port), ('database', database)):
        conf.set_override(name, value, 'storage_influxdb')
    return conf


@pytest.fixture
def reader(conf, influxdb, scratch):
    """Reads database `scratch`."""
    return stores.get_reader(_configure(conf, influxdb, 'scratch'), 'influxdb')


def _line(tags='project_id=p,type=m', fields='qty=1,price=2', hour=0):
    at = int((NOVEMBER + hour * HOUR).timestamp()) * NS
    return f'dataframes,{tags} unit="u",groupby="project_id",metadata="",{fields} {at}'


def _config(folder, conf, server, more=''):
    path = folder / 'cloudkitty.conf'
    path.write_text(
        f'[database]\nconnection = {conf.database.connection}\n{more}\n'
        f'[storage_influxdb]\nhost = 127.0.0.1\nport = {server.port}\ndatabase = rated\n'
    )
    return path


@pytest.fixture
def command(tmp_path, database, conf, filled):
    """Runs `cloudkitty-storage import --from influxdb`; returns what it printed."""

    def run(*arguments, status=0, more='', code=COMMAND):
        config = _config(tmp_path, conf, filled, more)
        ended = subprocess.run(
            [
                sys.executable,
                '-c',
                code,
                '--config-file',
                config,
                'import',
                '--from',
                'influxdb',
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended

    return run


def _points(periods):
    """Return how often each point is there."""
    return Counter(
        json.dumps([form[key] for key in ('scope', 'begin', 'end')] + [point], sort_keys=True)
        for form in periods
        for point in form['points']
    )


def _stored(store):
    cells = store.cells.read(Extent())
    return [
        {
            'scope': cell.owner,
            'begin': cell.frame.start.isoformat(),
            'end': cell.frame.end.isoformat(),
            'points': [
                {
                    'metric': metric,
                    'unit': point.unit,
                    'qty': f'{point.qty.normalize():f}',
                    'price': f'{point.price.normalize():f}',
                    'groupby': dict(point.groupby),
                    'metadata': dict(point.metadata),
                    'description': point.description,
                }
                for metric, point in cell.frame
            ],
        }
        for cell in cells
    ]


def _normalized(periods):
    for form in periods:
        for point in form['points']:
            for name in ('qty', 'price'):
                point[name] = f'{Decimal(point[name]).normalize():f}'
    return periods


def test_all_points_are_those_of_the_former_store(command, conf):
    """8,666 points in 724 periods, to the last digit; again it changes nothing."""
    told = command().stderr

    store = SQLStorage(conf)
    assert '8666 points of 12 scopes read' in told
    assert '724 periods imported, 0 were there, 0 replaced, 0 differ' in told
    assert "the store's own sums by scope, metric and month are the same" in told
    expected = _normalized(formers.expected_points())
    assert _points(_stored(store)) == _points(expected)
    assert '0 periods imported, 724 were there, 0 replaced, 0 differ' in command().stderr
    store.database.close()


def test_sums_are_those_of_the_former_api(command, conf):
    """55 totals, and 2,186 of each hour, within what adding floats rounds."""
    command()
    store = SQLStorage(conf)

    totals = store.total(['project_id', 'type'], *ALL, paginate=False)['results']
    hours = store.total(['time', 'project_id', 'type'], *ALL, paginate=False)['results']

    found = {(row['project_id'] or '', row['type']): (row['qty'], row['rate']) for row in totals}
    assert found.keys() == formers.expected_totals().keys()
    for key, numbers in formers.expected_totals().items():
        for mine, theirs in zip(found[key], numbers, strict=True):
            assert abs(mine - theirs) <= abs(theirs) * Decimal('1e-12'), key
    expected = {}
    for form in formers.expected_points():
        for point in form['points']:
            key = (form['begin'], form['scope'], point['metric'])
            qty, price = expected.get(key, (0, 0))
            expected[key] = (qty + Decimal(point['qty']), price + Decimal(point['price']))
    assert {
        (row['begin'].isoformat(), row['project_id'] or '', row['type']): (row['qty'], row['rate'])
        for row in hours
    } == expected
    assert len(found) == 55
    assert len(hours) == 2186
    store.database.close()


KILLED = """
import os, signal
from cloudkitty.storage.v2.sql.cells import Cells

def dying(*args, writes=[0], write=Cells._write):
    writes[0] += 1
    if writes[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*args)

Cells._write = dying
"""


def test_a_killed_run_goes_on(command, conf):
    """What was stored stays, the rest is added, nothing is there twice."""
    command(status=-signal.SIGKILL, code=KILLED + COMMAND)

    told = command().stderr

    stored, kept = map(int, re.search(r'(\d+) periods imported, (\d+) were there', told).groups())
    assert stored + kept == 724
    assert kept > 0
    store = SQLStorage(conf)
    assert _points(_stored(store)) == _points(_normalized(formers.expected_points()))
    store.database.close()


def test_a_dry_run_writes_nothing(command, conf):
    """It counts what would be done."""
    told = command('--dry-run').stderr

    assert '724 periods would be imported, 0 were there' in told
    assert told.endswith('nothing was changed; next: run this without --dry-run\n')
    store = SQLStorage(conf)
    assert _stored(store) == []
    store.database.close()


def test_a_part_is_chosen(command, conf):
    """By begin, end and scope; the former store's name in the configuration has to go."""
    part = ('--begin', '2026-11-01', '--end', '2026-11-02', '--scope', 'p00001')
    told = command(*part, more='[storage]\nbackend = influxdb\n').stderr

    assert '24 periods imported' in told
    assert told.splitlines()[-1].startswith('next: set [storage]backend = sql (or remove it)')
    store = SQLStorage(conf)
    assert {form['scope'] for form in _stored(store)} == {'p00001'}
    store.database.close()


def test_what_differs_stays_unless_it_is_to_be_replaced(command, conf):
    """The exit status tells, and so does a line for each scope."""
    command('--scope', 'p00001')
    store = SQLStorage(conf)
    frame = next(cell.frame for cell in store.cells.read(Extent()) if cell.owner == 'p00001')
    store.push([type(frame)(frame.start, frame.end, {'m': frame.usage['instance']})], 'p00001')

    ended = command('--scope', 'p00001', status=1)
    assert 'p00001: 1 periods have different points here and are not changed' in ended.stdout
    assert 'p00001: instance of 2026-11: qty is 710.0 here, 720.0 there' in ended.stdout

    assert '1 replaced, 0 differ' in command('--scope', 'p00001', '--replace').stderr
    store.database.close()


def test_what_this_service_rated_is_not_replaced(command, conf, database):
    """A scope that is known and was not adopted is its own."""
    store = SQLStorage(conf)
    usage = {'m': [DataPoint('u', 1, 1, {}, {})]}
    store.push([DataFrame(NOVEMBER, NOVEMBER + HOUR, usage)], 'p00001')
    with database.writer() as connection:
        connection.execute(
            tables.scopes.insert().values(
                identifier='p00001', last_processed_timestamp=datetime(2026, 11, 1), active=True
            )
        )

    told = command('--scope', 'p00001', '--replace', status=1).stderr

    assert '0 replaced, 1 differ' in told
    store.database.close()


def test_what_retention_would_remove_is_refused(command):
    """With the day from which on it can be imported."""
    ended = command(status=1, more='[storage]\nretention_period = 24\n')

    assert 'the first period begins at 2026-1' in ended.stderr
    assert '[storage]retention_period removes points before' in ended.stderr
    assert 'or import with --begin 20' in ended.stderr


def test_options_of_stores_need_one(tmp_path, database, conf, filled):
    """They mean nothing for a file."""
    ended = subprocess.run(
        [
            sys.executable,
            '-c',
            COMMAND,
            '--config-file',
            _config(tmp_path, conf, filled),
            'import',
            '--dry-run',
            os.devnull,
        ],
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 1
    assert '--dry-run and --replace need --from' in ended.stderr


@pytest.mark.parametrize(
    'line, groupby, metadata',
    [
        # A metadata key `type` or `id` makes the store rename the tags of all rows.
        (
            _line('project_id=p,type=m,id=i', 'qty=1,price=2,type="t",id="x"'),
            {'id': 'i'},
            {'type': 't', 'id': 'x'},
        ),
        (
            _line('project_id=p,type=m,k|k=v').replace('"project_id"', '"project_id|k|k"'),
            {'k|k': 'v'},
            {},
        ),
        (_line().replace('"project_id"', '"project_id|gone"'), {'gone': ''}, {}),
        (_line().replace('metadata=""', 'metadata="void"'), {}, {'void': ''}),
        (_line('project_id=p,type=m,id=a\\\\b'), {'id': 'a\\b'}, {}),
        (_line('project_id=p,type=m,id=a\\nb'), {'id': 'a\nb'}, {}),
        (_line('project_id=p,type=m,id=\\ a\\,b\\=ü\\ '), {'id': ' a,b=ü '}, {}),
        (_line('project_id=p,type=m,id="東京\0😀"'), {'id': '"東京\0😀"'}, {}),
        (_line('project_id=p,type=m,month=11,year=2026'), {}, {}),
        (
            _line(fields='qty=1,price=2,vcpus=4,size=1.5,is=true'),
            {},
            {'vcpus': '4', 'size': '1.5', 'is': 'True'},
        ),
        (
            _line(fields='qty=1,price=2,note="say \\"hi\\" a\\\\b\\nc ,=ü ",empty=""'),
            {},
            {'note': 'say "hi" a\\b\\nc ,=ü ', 'empty': ''},
        ),
    ],
)
def test_attributes_come_through(reader, scratch, line, groupby, metadata):
    """Whatever the store did to their names and values, and beside another series."""
    scratch(line, _line('project_id=q,type=n,other=o', 'qty=3,price=4,beside="b"'))

    point, other = sorted(reader.read(DAY), key=lambda one: one.metric)

    assert dict(point.series.groupby) == {'project_id': 'p', **groupby}
    assert {key: str(value) for key, value in point.series.metadata.items()} == metadata
    assert (point.metric, point.qty, point.price) == ('m', 1, 2)
    assert dict(other.series.groupby) == {'project_id': 'q', 'other': 'o'}
    assert dict(other.series.metadata) == {'beside': 'b'}


def test_of_points_with_equal_tags_the_last_is_read(reader, scratch):
    """The store kept that one only, whatever metadata the others had; it is what was billed."""
    scratch(_line(fields='qty=4,price=2,volume="ssd"'))
    scratch(_line(fields='qty=1,price=2,volume="hdd"'))

    (point,) = reader.read(DAY)

    assert (point.qty, dict(point.series.metadata)) == (1, {'volume': 'hdd'})


def test_a_store_that_wants_a_login(conf, tmp_path):
    """With the right one it is read; a wrong one is an error, told without the password."""
    server = InfluxDB(tmp_path)
    server.login = ('reader', 'geheimnis')
    with server:
        server.run("CREATE USER reader WITH PASSWORD 'geheimnis' WITH ALL PRIVILEGES")
        with server.database('scratch'):
            server.write('scratch', [_line()])
            _configure(conf, server, 'scratch')
            conf.set_override('username', 'reader', 'storage_influxdb')
            conf.set_override('password', 'geheimnis', 'storage_influxdb')
            assert len(list(stores.get_reader(conf, 'influxdb').read(DAY))) == 1
            conf.set_override('password', 'geheimer', 'storage_influxdb')

            with pytest.raises(errors.SourceError, match='check the login') as raised:
                stores.get_reader(conf, 'influxdb').extent()

    assert 'geheim' not in str(raised.value)


def test_numbers_are_the_texts_of_the_store(reader, scratch):
    """The shortest decimal of each float, whatever its size."""
    texts = ['1.234567e-07', '98765432109876540', '0.1', '-2.5', '5e-324', '1e-30']
    for hour, text in enumerate(texts):
        scratch(_line(fields=f'qty={text},price={text}', hour=hour))

    found = [(point.qty, point.price) for point in reader.read(DAY)]

    assert found == [(Decimal(text), Decimal(text)) for text in texts]


def test_period_and_description(reader, scratch):
    """The length of a period is in the point since release 11, before it is the configured one."""
    scratch(
        _line(fields='qty=1,price=2,__ck_collect_period=300i,description="what"'), _line(hour=1)
    )

    first, second = reader.read(DAY)

    assert (first.end - first.begin, first.series.description) == (HOUR / 12, 'what')
    assert (second.end - second.begin, second.series.description) == (HOUR, None)


def test_lost_keys_are_told(reader, scratch):
    """The store overwrote attributes that have the name of a field of its own."""
    line = _line().replace('"project_id"', '"project_id|type"')
    scratch(line.replace('metadata=""', 'metadata="unit|qty"'))

    (point,) = reader.read(DAY)

    assert reader.remarks.lost_keys == {'type', 'unit', 'qty'}
    assert dict(point.series.groupby) == {'project_id': 'p'}


def test_another_retention_policy(conf, influxdb, scratch):
    """Data is read from the one under which it was written."""
    influxdb.run('CREATE RETENTION POLICY "other" ON "scratch" DURATION INF REPLICATION 1')
    requests.post(
        f'http://{influxdb.address}/write',
        params={'db': 'scratch', 'rp': 'other'},
        data=_line(),
        timeout=10,
    ).raise_for_status()
    _configure(conf, influxdb, 'scratch')

    assert not list(stores.get_reader(conf, 'influxdb').read(DAY))
    conf.set_override('retention_policy', 'other', 'storage_influxdb')
    assert len(list(stores.get_reader(conf, 'influxdb').read(DAY))) == 1


@pytest.mark.parametrize(
    'name, value, told',
    [
        ('database', 'none', 'database not found: none'),
        ('retention_policy', 'none', 'retention policy not found: none'),
        ('port', 1, 'Connection refused'),
    ],
)
def test_what_cannot_be_read(conf, influxdb, scratch, name, value, told):
    """It is an error, and never taken for an empty store."""
    _configure(conf, influxdb, 'scratch').set_override(name, value, 'storage_influxdb')

    with pytest.raises(errors.SourceError, match=told):
        stores.get_reader(conf, 'influxdb').extent()


def test_an_empty_store(reader, database, conf):
    """It holds nothing."""
    store = SQLStorage(conf)
    job = importer.Importer(store.cells, reader, importer.Choice(Extent()))

    assert job.window() is None
    store.database.close()


def test_many_points_of_a_day_are_read_in_parts(reader, scratch, database, conf, monkeypatch):
    """So that memory is bounded; a single period is never cut."""
    monkeypatch.setattr(importer, 'POINTS_MAX', 5)
    scratch(
        *(
            _line(f'project_id=p,type=m,id=i{number}', hour=hour)
            for hour in (0, 1, 5, 30)
            for number in range(7)
        )
    )
    store = SQLStorage(conf)
    job = importer.Importer(store.cells, reader, importer.Choice(Extent()))
    lengths = []

    counts = job.run(job.window(), lengths.append)

    assert (counts.points, counts.stored, counts.holes(3600)) == (28, 4, {'p': 27})
    assert max(lengths) == HOUR
    assert store.total([], *ALL, paginate=False)['results'][0]['qty'] == 28
    store.database.close()
