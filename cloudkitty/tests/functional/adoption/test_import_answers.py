"""An answer of a former store that is not whole is an error, never a part."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import errors
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import http
from cloudkitty.storage.former import stores
from cloudkitty.tests import faults

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
DAY = Period(BEGIN, BEGIN + timedelta(days=1))
SERIES = {
    'name': 'dataframes',
    'tags': {'project_id': 'p', 'type': 'm'},
    'columns': ['time', 'qty', 'price', 'unit'],
    'values': [[int(BEGIN.timestamp()) * 10**9, 1, 2.5, 'u']],
}


def _lines(*results):
    return faults.text(
        ''.join(json.dumps(result) + '\n' for result in results), content_type='application/json'
    )


def _part(**more):
    return {'results': [{'statement_id': 0, 'series': [SERIES], **more}]}


@pytest.fixture
def influxdb_reader(conf, monkeypatch):
    """Yields (server, reader of it)."""
    monkeypatch.setattr(http, 'BACKOFF_S', 0)
    conf.register_opts(stores.GROUPS['storage_influxdb'], group='storage_influxdb')
    with faults.FaultyServer(_lines(_part())) as server:
        host, _, port = server.address.partition(':')
        for name, value in (('host', host), ('port', port), ('database', 'd'), ('timeout', 1)):
            conf.set_override(name, value, 'storage_influxdb')
        conf.set_override('username', 'reader', 'storage_influxdb')
        conf.set_override('password', 'geheimnis', 'storage_influxdb')
        yield server, stores.get_reader(conf, 'influxdb')


def test_parts_of_an_answer_are_put_together(influxdb_reader):
    """The last one says that it is the last."""
    server, reader = influxdb_reader
    server.answer = _lines(_part(partial=True), _part())

    assert len(list(reader.read(DAY))) == 2
    assert server.requests[0].headers['Authorization'] == 'Basic cmVhZGVyOmdlaGVpbW5pcw=='


@pytest.mark.parametrize(
    'answer, told',
    [
        (_lines(_part(partial=True)), 'breaks off before its last part'),
        (_lines(_part(partial=True), {'error': 'timeout'}), 'timeout'),
        (_lines({'results': [{'error': 'database not found: d'}]}), 'database not found: d'),
        (_lines(), 'breaks off before its last part'),
        (faults.text('<html>', status=200), 'the answer is no JSON'),
        (faults.text('[]', status=200), 'not from InfluxDB'),
        (faults.as_json({'error': 'authorization failed'}, status=401), 'check the login'),
        (faults.as_json({'error': 'bad'}, status=400), 'HTTP status 400: {"error": "bad"}'),
        (faults.text('later', status=503), 'HTTP status 503: later'),
        (
            _lines({'results': [{'series': [{**SERIES, 'values': [[0, None, 2, 'u']]}]}]}),
            "scope 'p', metric 'm', period 1970-01-01T00:00:00.00:00: None is not a number",
        ),
        (
            faults.text(json.dumps(_part()).replace('2.5', 5000 * '1')),
            '1[.]{3} has more than 500 characters',
        ),
        (
            faults.text(json.dumps(_part()).replace('2.5', 'NaN')),
            "scope 'p', metric 'm', period 2026-11-01T00:00:00.00:00: 'NaN' is not a finite",
        ),
    ],
)
def test_influxdb_is_not_read_in_part(influxdb_reader, answer, told):
    """The reason is one line with the address and without the password."""
    server, reader = influxdb_reader
    server.answer = answer

    with pytest.raises(errors.SourceError, match=told) as raised:
        list(reader.read(DAY))

    assert 'geheimnis' not in str(raised.value)
    assert '\n' not in str(raised.value)


def test_a_server_that_breaks_off(influxdb_reader):
    """It announced more than it sends."""
    server, reader = influxdb_reader
    body = json.dumps(_part()).encode()
    server.answer = lambda handler, request: handler.send(200, body, length=len(body) + 9)

    with pytest.raises(errors.SourceError, match='breaks off|no answer in time'):
        list(reader.read(DAY))


def test_a_refusal_for_now_is_repeated(influxdb_reader):
    """A few times, and the pause that the server asks for is bounded."""
    server, reader = influxdb_reader

    def answer(handler, request):
        if len(server.requests) < http.ATTEMPTS_MAX:
            handler.send(429, b'', headers={'Retry-After': '0'})
        else:
            _lines(_part())(handler, request)

    server.answer = answer

    assert len(list(reader.read(DAY))) == 1
    assert len(server.requests) == http.ATTEMPTS_MAX
