"""Elasticsearch, OpenSearch, Loki and InfluxDB 2 give back what InfluxDB 1 does."""

import contextlib
import functools
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.cli import storage_import
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import http
from cloudkitty.storage.former import importer, stores
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import fake_influxdb2, fake_loki, fake_search, faults, formers

BEGIN = datetime(2026, 10, 31, tzinfo=UTC)
ALL = Period(BEGIN, BEGIN + timedelta(days=4))
DAY = Period(BEGIN + timedelta(days=1), BEGIN + timedelta(days=2))
NAMES = ('elasticsearch', 'elasticsearch-6', 'opensearch', 'loki', 'loki-one-stream', 'influxdb-2')


@functools.cache
def _documents():
    """Return the former points as documents of a store."""
    return [
        {
            'start': form['begin'],
            'end': form['end'],
            'type': point['metric'],
            'unit': point['unit'],
            'description': point['description'],
            'qty': float(point['qty']),
            'price': float(point['price']),
            'groupby': {
                **point['groupby'],
                **timeframe.calendar_of(datetime.fromisoformat(form['begin'])),
            },
            'metadata': point['metadata'],
        }
        for form in formers.expected_points()
        for point in form['points']
    ]


def _entries(documents, *, has_label=True):
    """Return lines of Loki for documents."""
    for document in documents:
        labels = {'service': 'cloudkitty'}
        if has_label and 'project_id' in document['groupby']:
            labels['project_id'] = document['groupby']['project_id']
        at = int(datetime.fromisoformat(document['start']).timestamp()) * 10**9
        yield labels, at, json.dumps(document)


def _points(documents):
    """Return points of InfluxDB 2 for documents."""
    for document in documents:
        begin, end = (datetime.fromisoformat(document[name]) for name in ('start', 'end'))
        tags = {name: text for name, text in document['groupby'].items() if text}
        fields = {
            **document['metadata'],
            'unit': document['unit'],
            'qty': Decimal(repr(document['qty'])),
            'price': Decimal(repr(document['price'])),
            'groupby': '|'.join(document['groupby']),
            'metadata': '|'.join(document['metadata']),
            '__ck_collect_period': int((end - begin).total_seconds()),
        }
        if document['description'] is not None:
            fields['description'] = document['description']
        yield begin, {**tags, 'type': document['type']}, fields


def _fake(name, documents):
    match name:
        case 'elasticsearch' | 'elasticsearch-6':
            return fake_search.Search(documents, is_six=name.endswith('6'))
        case 'opensearch':
            # Its index was given the mapping as a document.
            mapping = {'dynamic': False, 'properties': {}}
            return fake_search.Search([mapping, *documents], text_field='.keyword')
        case 'loki' | 'loki-one-stream':
            return fake_loki.Loki(_entries(documents, has_label=name == 'loki'))
        case _:
            return fake_influxdb2.InfluxDB2(list(_points(documents)))


@contextlib.contextmanager
def _served(conf, name, fake):
    """Yield (server that answers as *fake*, reader of it)."""
    store, _, release = name.partition('-')
    group = f'storage_{store}'
    conf.register_opts(stores.GROUPS[group], group=group)
    with faults.FaultyServer(fake) as server:
        url = f'http://{server.address}'
        if store == 'loki':
            conf.set_override('url', f'{url}/loki/api/v1', group)
        elif store == 'influxdb':
            for option, value in (('url', url), ('token', 'secret'), ('version', int(release))):
                conf.set_override(option, value, group)
        else:
            conf.set_override('host', f'http://reader:geheimnis@{server.address}', group)
        yield server, stores.get_reader(conf, store)


@pytest.fixture
def serve(conf, monkeypatch):
    """Serves documents as a store does; yields the reader."""
    monkeypatch.setattr(http, 'BACKOFF_S', 0)
    return functools.partial(_served, conf)


def _as_counted(points):
    return Counter(
        (point.begin, point.end, point.metric, point.qty, point.price, point.series)
        for point in points
    )


def _expected():
    maker = {}
    return Counter(
        (
            datetime.fromisoformat(form['begin']),
            datetime.fromisoformat(form['end']),
            point['metric'],
            Decimal(repr(float(point['qty']))),
            Decimal(repr(float(point['price']))),
            maker.setdefault(json.dumps(point, sort_keys=True), _series(point)),
        )
        for form in formers.expected_points()
        for point in form['points']
    )


def _series(point):
    series = importer.DataPoint(
        point['unit'], 0, 0, point['groupby'], point['metadata'], point['description']
    )
    return series.series


@pytest.mark.parametrize('name', NAMES)
def test_all_points_are_read(serve, name):
    """8,666 of them, to the last digit, without what follows from the begin of a period."""
    with serve(name, _fake(name, _documents())) as (_, reader):
        found = [point for day in range(4) for point in reader.read(_day(day))]

    assert len(found) == 8666
    assert _as_counted(found) == _expected()


def _day(number):
    return Period(BEGIN + timedelta(days=number), BEGIN + timedelta(days=number + 1))


@pytest.mark.parametrize('name', ['elasticsearch', 'opensearch', 'loki', 'influxdb-2'])
def test_an_import_has_the_totals_of_the_former_api(serve, database, conf, name):
    """And those that the store itself computes."""
    chosen = [one for one in _documents() if one['start'] < '2026-11-02']
    with serve(name, _fake(name, chosen)) as (_, reader):
        store = SQLStorage(conf)
        choice = importer.Choice(Extent(ALL.begin, ALL.end))
        job = importer.Importer(store.cells, reader, choice)

        counts = job.run(job.window())
        again = importer.Importer(store.cells, reader, choice).run(job.window())
        different = importer.compare_sums(
            reader,
            lambda part: storage_import.totals(store, part, 'project_id'),
            counts.window,
            None,
        )

    assert (counts.points, counts.doubles) == (len(chosen), 0)
    assert (again.stored, again.kept) == (0, counts.stored)
    assert different is None if name == 'loki' else list(different) == []
    expected = {}
    for one in chosen:
        key = one['groupby'].get('project_id', ''), one['type']
        expected[key] = expected.get(key, 0) + Decimal(repr(one['price']))
    found = storage_import.totals(store, ALL, 'project_id')
    assert {key: price for key, (_, price, _) in found.items()} == expected
    store.database.close()


@pytest.mark.parametrize('name', ['elasticsearch', 'influxdb-2'])
def test_wrong_sums_of_the_store_are_told(serve, database, conf, name):
    """A point that only the store has."""
    chosen = [one for one in _documents() if one['start'] < '2026-11-01T02']
    with serve(name, _fake(name, chosen)) as (_, reader):
        store = SQLStorage(conf)
        different = importer.compare_sums(
            reader, lambda part: storage_import.totals(store, part, 'project_id'), ALL, ['p00001']
        )
        found = {(one.scope_id, one.name): one.new for one in different}

    assert found == {('p00001', 'qty'): 0, ('p00001', 'price'): 0}
    store.database.close()


@pytest.mark.parametrize('name', ['elasticsearch', 'loki', 'influxdb-2'])
def test_the_extent_of_a_store(serve, name):
    """From its first to its last point; of an empty one there is none."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begins = [now - timedelta(days=400), now - timedelta(days=3)]
    some = [
        {**one, 'start': begin.isoformat(), 'end': (begin + timedelta(hours=1)).isoformat()}
        for one, begin in zip(_documents(), begins, strict=False)
    ]
    with serve(name, _fake(name, some)) as (_, reader):
        assert reader.extent() == Period(begins[0], begins[1] + timedelta(seconds=1))
    with serve(name, _fake(name, [])) as (_, reader):
        assert reader.extent() is None


def test_equal_documents_are_both_imported(serve, database, conf):
    """Nobody knows whether they are two volumes or one that was written twice; it is told."""
    one = _documents()[0]
    with serve('elasticsearch', _fake('elasticsearch', [one, one])) as (_, reader):
        store = SQLStorage(conf)
        job = importer.Importer(store.cells, reader, importer.Choice(Extent()))

        counts = job.run(job.window())

    assert (counts.points, counts.doubles, counts.stored) == (2, 1, 1)
    (cell,) = store.cells.read(Extent())
    assert len(list(cell.frame)) == 2
    store.database.close()


@pytest.mark.parametrize(
    'change, told',
    [
        (lambda answer: {**answer, 'timed_out': True}, 'the answer is incomplete'),
        (
            lambda answer: {**answer, '_shards': {'total': 2, 'failed': 1}},
            'the answer is incomplete: 1 shards failed',
        ),
        (lambda answer: {'hits': answer['hits']}, 'the answer is not a search result'),
        (
            lambda answer: {**answer, 'hits': {**answer['hits'], 'hits': []}},
            'returned 0 documents instead of 2880',
        ),
    ],
)
def test_search_is_not_read_in_part(serve, change, told):
    """A part of the index that does not answer is an error, not an empty part."""
    fake = _fake('elasticsearch', _documents())
    fake.spoil = change
    with serve('elasticsearch', fake) as (_, reader), pytest.raises(errors.SourceError) as raised:
        list(reader.read(DAY))

    assert told in str(raised.value)
    assert 'geheimnis' not in str(raised.value)


def test_a_scroll_that_is_gone(serve):
    """It ends with an error after the first page, and what is open is closed."""
    fake = fake_search.Search(_documents(), page_size=100)
    with serve('elasticsearch', fake) as (server, reader):
        points = reader.read(DAY)
        next(points)
        fake.scrolls.clear()

        with pytest.raises(errors.SourceError, match='HTTP status 404: .*search_context_missing'):
            list(points)
        assert server.requests[-1].method == 'DELETE'


def test_an_index_that_is_missing(serve, conf):
    """It is an error, not an empty store."""
    with serve('elasticsearch', _fake('elasticsearch', [])) as (_, reader):
        conf.set_override('index_name', 'other', 'storage_elasticsearch')
        with pytest.raises(errors.SourceError, match='index_not_found_exception'):
            reader.extent()


def _crowd(count, change):
    """Return *count* documents of one period that differ as *change* says."""
    return [{**_documents()[0], **change(number)} for number in range(count)]


@pytest.mark.parametrize(
    'change, has_label',
    [
        (lambda n: {'groupby': {'project_id': f'p{n % 7}', 'id': f'{n:032x}'}}, True),
        (lambda n: {'groupby': {'id': f'{n:032x}'}, 'type': f'm {n % 3}'}, True),
        (lambda n: {'groupby': {'project_id': 'p', 'id': f'x{n}'}, 'type': 'a "b" (c)'}, False),
    ],
)
def test_many_lines_of_one_time(serve, change, has_label):
    """12,000 of them, where an answer has 5,000: by stream, metric and attributes."""
    documents = _crowd(12_000, change)
    fake = fake_loki.Loki(_entries(documents, has_label=has_label))
    begin = datetime.fromisoformat(documents[0]['start'])
    with serve('loki', fake) as (_, reader):
        found = list(reader.read(Period(begin, begin + timedelta(hours=1))))

    assert len(found) == len({point.series.identity + point.metric.encode() for point in found})
    assert len(found) == 12_000


def test_lines_that_cannot_be_told_apart(serve):
    """More of them than an answer has are an error, never a part."""
    documents = _crowd(40, lambda n: {'qty': n})
    fake = fake_loki.Loki(_entries(documents), limit_max=30)
    begin = datetime.fromisoformat(documents[0]['start'])
    with serve('loki', fake) as (_, reader):
        with pytest.raises(errors.SourceError, match='raise max_entries_limit_per_query'):
            list(reader.read(Period(begin, begin + timedelta(hours=1))))


def test_the_limit_of_the_server_is_kept(serve):
    """It is learnt from the refusal."""
    fake = fake_loki.Loki(_entries(_documents()), limit_max=200)
    with serve('loki', fake) as (_, reader):
        assert len(list(reader.read(DAY))) == sum(
            DAY.begin <= datetime.fromisoformat(one['start']) < DAY.end for one in _documents()
        )


@pytest.mark.parametrize(
    'answer, told',
    [
        (faults.text('too many', status=500, content_type='text/plain'), '500: too many'),
        (faults.text('404 page not found', status=404), 'HTTP status 404'),
        (faults.as_json({'status': 'success', 'data': {}}), 'not from Loki'),
        (faults.as_json([]), 'not from Loki'),
    ],
)
def test_loki_is_not_read_in_part(serve, answer, told):
    """An error after some answers is one of the whole day."""
    fake = fake_loki.Loki(_entries(_documents()), limit_max=200)
    with serve('loki', fake) as (server, reader):
        points = reader.read(DAY)
        next(points)
        server.answer = answer

        with pytest.raises(errors.SourceError, match=told):
            list(points)


def test_lines_that_are_no_points(serve):
    """They are counted, as the former API skipped them."""
    good = list(_entries(_documents()[:1]))
    labels, at, line = good[0]
    bad = [(labels, at, text) for text in ('', '{', '[]', '{"start": 1}', line[:-9])]
    begin = datetime.fromisoformat(_documents()[0]['start'])
    with serve('loki', fake_loki.Loki([*good, *bad])) as (_, reader):
        found = list(reader.read(Period(begin, begin + timedelta(hours=1))))

    assert len(found) == 1
    assert reader.remarks.unreadable == 5


@pytest.mark.parametrize(
    'change, told',
    [
        ({'ending': '\r\n,error,reference\r\n,query cancelled,897\r\n'}, 'query cancelled'),
        ({'ending': '\r\n#datatype,string\r\n,x\r\n,1\r\n'}, 'not from InfluxDB 2'),
        ({'token': 'other'}, 'check the login'),
        ({'bucket': 'other'}, 'HTTP status 404'),
    ],
)
def test_influxdb_2_is_not_read_in_part(serve, change, told):
    """An error after some tables is one of the whole day."""
    fake = _fake('influxdb-2', _documents()[:50])
    vars(fake).update(change)
    with serve('influxdb-2', fake) as (_, reader):
        with pytest.raises(errors.SourceError, match=told):
            list(reader.read(ALL))


def test_influxdb_2_holds_a_bounded_number_of_points(serve, database, conf, monkeypatch):
    """Days with more of them are read in parts."""
    monkeypatch.setattr(importer, 'POINTS_MAX', 100)
    chosen = [one for one in _documents() if '2026-11-01T' <= one['start'] < '2026-11-01T03']
    with serve('influxdb-2', _fake('influxdb-2', chosen)) as (_, reader):
        store = SQLStorage(conf)
        job = importer.Importer(store.cells, reader, importer.Choice(Extent()))
        lengths = []

        counts = job.run(job.window(), lengths.append)

    assert counts.points == len(chosen) > 200
    assert max(lengths) == timedelta(hours=1)
    store.database.close()


def test_fields_of_any_type(serve):
    """A tag and a field of one name, text of several lines, quotes and commas."""
    begin = DAY.begin
    fields = {'qty': Decimal(1), 'price': Decimal('1e-07'), 'type': 'a\n"b",c', 'is': True, 'n': 4}
    fake = fake_influxdb2.InfluxDB2([(begin, {'type': 'm', 'project_id': 'p,"x"'}, fields)])
    with serve('influxdb-2', fake) as (_, reader):
        (point,) = reader.read(DAY)

    assert (point.metric, point.qty, point.price) == ('m', 1, Decimal('1e-07'))
    assert dict(point.series.groupby) == {'project_id': 'p,"x"'}
    assert dict(point.series.metadata) == {'type': 'a\n"b",c', 'is': True, 'n': 4}
