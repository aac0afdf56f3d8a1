"""cloudkitty-storage compare finds every difference of two bills, and its cause.

The API of the earlier release is our own over another database: their summaries have one form.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal

import pytest
import sqlalchemy as sa
import webob
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors, storage
from cloudkitty.api import app
from cloudkitty.cli import storage_compare
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables
from cloudkitty.storage import http
from cloudkitty.storage.former import causes
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import faults, formers

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
HOURS = 48
SCOPES = ('a', 'b')


def _points(scope_id, hour):
    """Return an instance, and two volumes that have their type in metadata only."""
    factor = Decimal(1000 + hour * hour) * 1000 / 7919
    groupby = {'project_id': scope_id}
    return {
        'instance': [DataPoint('instance', 1, factor, {**groupby, 'id': 'i'}, {'flavor': 'small'})],
        'volume': [
            DataPoint('GiB', qty, qty * factor, groupby, {'volume_type': name})
            for name, qty in (('ssd', 40), ('hdd', 10))
        ],
    }


def _frame(hour, usage):
    return DataFrame(BEGIN + hour * HOUR, BEGIN + (hour + 1) * HOUR, usage)


def _fill(store):
    for scope_id in SCOPES:
        store.push([_frame(hour, _points(scope_id, hour)) for hour in range(HOURS)], scope_id)


@pytest.fixture
def new(database, conf):
    """The store of this service."""
    opened = SQLStorage(conf)
    _fill(opened)
    yield opened
    opened.database.close()


@pytest.fixture
def old(tmp_path):
    """The store of the former service."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', f'sqlite:///{tmp_path}/old.sqlite', 'database')
    conf.set_override('coordination_url', f'file://{tmp_path}/locks', 'orchestrator')
    conf.set_override('auth_strategy', 'noauth')
    opened = SQLStorage(conf)
    opened.init()
    yield opened
    opened.database.close()


@contextlib.contextmanager
def _served(store, send=lambda handler, status, body: handler.send(status, body)):
    """Yield a server of the API over *store*."""
    application = app.build(
        store.conf, database=store.database, storage=storage.get_driver(store.conf)
    )

    def answer(handler, request):
        blank = webob.Request.blank(f'{request.path}?{request.query}')
        answered = blank.get_response(application)
        send(handler, answered.status_int, answered.body)

    with faults.FaultyServer(answer) as server:
        yield server


def _run(conf, server, *arguments):
    """Return the exit status of a comparison of the two days."""
    parser = argparse.ArgumentParser()
    for name in ('--begin', '--end'):
        parser.add_argument(name, type=timeframe.parse)
    parser.add_argument('--scope', action='append')
    storage_compare.add_arguments(parser)
    words = ['--with', f'http://{server.address}', '--begin', '2026-11-01', '--end', '2026-11-03']
    store = SQLStorage(conf)
    try:
        return storage_compare.run(conf, store, parser.parse_args([*words, *arguments]))
    finally:
        store.database.close()


def test_equal_bills(new, old, conf, capsys):
    """By day, by period, and by period of each scope."""
    _fill(old)
    with _served(old) as server:
        for arguments, cells in (((), 8), (('--periods',), 192), (('--loki',), 192)):
            assert _run(conf, server, *arguments) == 0
            assert capsys.readouterr().out == f'{cells} equal, 0 within, 0 different\n'


def test_equal_bills_of_version_1(new, old, conf, capsys):
    """It tells prices only, with five digits after the point."""
    _fill(old)
    with _served(old) as server:
        assert _run(conf, server, '--v1') == 0
    captured = capsys.readouterr()
    assert captured.out == '0 equal, 8 within, 0 different\n'
    assert 'its API shows five digits after the point' in captured.err


def test_the_former_data_equals_itself(old, database, conf, capsys):
    """55 totals, and 2,186 of each period."""
    new = SQLStorage(conf)
    cells = formers.expected_cells()
    for store in (old, new):
        list(store.cells.write(cells))
    with _served(old) as server:
        assert _run(conf, server, '--begin', '2026-10-31', '--end', '2026-11-05', '--periods') == 0
    new.database.close()
    assert capsys.readouterr().out == '2186 equal, 0 within, 0 different\n'


def _change(store, scope_id, hour, change):
    """Replace the points of a period by what *change* makes of them."""
    usage = {
        name: [made for point in points for made in change(name, point)]
        for name, points in _points(scope_id, hour).items()
    }
    store.push([_frame(hour, usage)], scope_id)


def _only(metric, change):
    return lambda name, point: change(point) if name == metric else [point]


def _doubled(store, scope_id, hour):
    _change(store, scope_id, hour, _only('instance', lambda point: [point, point]))


def _double_there(old, new, scope_id, hour):
    _doubled(old, scope_id, hour)


def _double_here(old, new, scope_id, hour):
    _doubled(new, scope_id, hour)


def _overwrite(old, new, scope_id, hour):
    _change(
        old,
        scope_id,
        hour,
        lambda name, point: [] if point.metadata.get('volume_type') == 'ssd' else [point],
    )


def _round(old, new, scope_id, hour):
    def rounded(point):
        price = Context(prec=9).create_decimal(point.price)
        return [DataPoint.of(point.series, point.qty, price)]

    _change(old, scope_id, hour, _only('instance', rounded))


def _reprocess(old, new, scope_id, hour):
    _change(old, scope_id, hour, _only('instance', lambda point: []))
    end = timeframe.to_naive(BEGIN + (hour + 1) * HOUR)
    with new.database.writer() as connection:
        connection.execute(
            tables.tasks.insert().values(
                identifier=scope_id,
                start_reprocess_time=end - 5 * HOUR,
                end_reprocess_time=end,
                current_reprocess_time=end,
                reason='r',
                kept_periods=0,
            )
        )


def _be_late(old, new, scope_id, hour):
    _change(old, scope_id, hour, _only('instance', lambda point: []))
    begin = timeframe.to_naive(BEGIN + hour * HOUR)
    with new.database.writer() as connection:
        key = connection.execute(
            tables.scopes.insert().values(
                identifier=scope_id, last_processed_timestamp=begin, active=True
            )
        ).inserted_primary_key[0]
        connection.execute(
            tables.notes.insert().values(
                state_id=key, begin=begin, end=begin + HOUR, reason='it lagged'
            )
        )


def _delete_a_rule(old, new, scope_id, hour):
    _change(
        old,
        scope_id,
        hour,
        _only('instance', lambda point: [DataPoint.of(point.series, point.qty)]),
    )
    with new.database.writer() as connection:
        if connection.scalar(sa.select(sa.func.count()).select_from(tables.hashmap_mappings)):
            return
        service = connection.execute(
            tables.hashmap_services.insert().values(service_id='s', name='instance')
        ).inserted_primary_key[0]
        begin = timeframe.to_naive(BEGIN)
        connection.execute(
            tables.hashmap_mappings.insert().values(
                mapping_id='m',
                cost=1,
                map_type='flat',
                service_id=service,
                name='gone',
                created_at=begin,
                start=begin,
                deleted=begin + HOURS * HOUR,
                created_by='u',
            )
        )


@pytest.mark.parametrize(
    'plant, metric, cause',
    [
        (_double_there, 'instance', causes.DOUBLED_THERE),
        (_double_here, 'instance', causes.DOUBLED_HERE),
        (_overwrite, 'volume', causes.OVERWRITTEN),
        (_round, 'instance', causes.ROUNDED),
        (_reprocess, 'instance', causes.LAST_OF_REPROCESSING),
        (_be_late, 'instance', causes.LATE),
        (_delete_a_rule, 'instance', causes.DELETED_RULE.format(name='gone')),
    ],
)
@pytest.mark.parametrize('arguments', [(), ('--periods',)])
def test_faults_are_found_with_their_cause(new, old, conf, capsys, plant, metric, cause, arguments):
    """Two of a kind, in two scopes and days; nothing else differs."""
    _fill(old)
    plant(old, new, 'a', 5)
    plant(old, new, 'b', 31)

    with _served(old) as server:
        assert _run(conf, server, '--json', *arguments) == 1

    told = json.loads(capsys.readouterr().out)
    assert [(one['scope_id'], one['type'], one['cause']) for one in told['differences']] == [
        ('a', metric, cause),
        ('b', metric, cause),
    ]
    assert told['different'] == 2
    assert told['equal'] == (190 if arguments else 6)


def test_another_time_zone(new, old, conf, capsys):
    """All periods of both scopes are three hours off."""
    for scope_id in SCOPES:
        frames = [_frame(hour + 3, _points(scope_id, hour)) for hour in range(-3, HOURS)]
        old.push(frames, scope_id)

    with _served(old) as server:
        assert _run(conf, server, '--json', '--end', '2026-11-02') == 1

    told = json.loads(capsys.readouterr().out)['differences']
    assert {one['cause'] for one in told} == {causes.SHIFTED.format(hours=3)}
    assert len(told) == 4


def test_other_names(new, old, conf, capsys):
    """A scope and a metric have other names there."""
    for hour in range(HOURS):
        renamed = _points('x', hour)
        old.push([_frame(hour, renamed)], 'x')
        usage = _points('b', hour)
        old.push([_frame(hour, {'vm': usage['instance'], 'volume': usage['volume']})], 'b')

    with _served(old) as server:
        assert _run(conf, server, '--json', '--end', '2026-11-02') == 1

    told = json.loads(capsys.readouterr().out)['differences']
    assert {(one['scope_id'], one['type']): one['cause'] for one in told} == {
        ('a', 'instance'): causes.SCOPE_NAME.format(name='x', where='there'),
        ('a', 'volume'): causes.SCOPE_NAME.format(name='x', where='there'),
        ('x', 'instance'): causes.SCOPE_NAME.format(name='a', where='here'),
        ('x', 'volume'): causes.SCOPE_NAME.format(name='a', where='here'),
        ('b', 'instance'): causes.METRIC_NAME.format(name='vm', where='there'),
        ('b', 'vm'): causes.METRIC_NAME.format(name='instance', where='here'),
    }


def test_a_difference_without_a_known_cause(new, old, conf, capsys):
    """It is told all the same, in a table."""
    _fill(old)
    _change(
        old,
        'a',
        5,
        _only('instance', lambda point: [DataPoint.of(point.series, Decimal(3), Decimal(9))]),
    )

    with _served(old) as server:
        assert _run(conf, server) == 1
        assert _run(conf, server, '--tolerance', '0.9') == 0
        assert _run(conf, server, '--scope', 'b') == 0

    out = capsys.readouterr().out
    assert '| a     | instance | price | ' in out
    assert '| unknown |' in out
    assert '7 equal, 0 within, 1 different' in out
    assert '7 equal, 1 within, 0 different' in out
    assert '4 equal, 0 within, 0 different' in out


def test_a_price_that_other_rules_made(new, old, conf, capsys):
    """The quantities are equal, which says that the rules are not."""
    _fill(old)
    _change(old, 'a', 5, _only('instance', lambda point: [point.set_price(9)]))

    with _served(old) as server:
        assert _run(conf, server) == 1
    out = capsys.readouterr().out
    assert '| a     | instance | price | ' in out
    assert causes.REPRICED in out


def test_floats_are_tolerated(new, old, conf, capsys):
    """As much as adding them rounds, and not more."""
    _fill(old)
    error = Decimal('1e-15')
    _change(old, 'a', 5, _only('instance', lambda one: [one.set_price(one.price + error)]))
    with _served(old) as server:
        assert _run(conf, server) == 0
    assert '7 equal, 1 within, 0 different' in capsys.readouterr().out


@pytest.mark.parametrize(
    'answer, told',
    [
        (faults.text('no', status=401), 'HTTP status 401 (check the login in [compare])'),
        (faults.text('oops', status=500), 'HTTP status 500: oops'),
        (faults.text('<html>'), 'the answer is no JSON'),
        (faults.as_json([]), 'not from CloudKitty'),
        (faults.as_json({'total': 1, 'columns': []}), 'not from CloudKitty'),
        (
            faults.as_json({'total': 5, 'columns': ['qty'], 'results': []}),
            'returned 0 rows instead of 5',
        ),
        (lambda handler, request: handler.server.owner.is_closing.wait(3), 'no answer in time'),
    ],
)
def test_an_old_side_that_fails(new, conf, capsys, monkeypatch, answer, told):
    """It is an error, and never "equal"."""
    monkeypatch.setattr(http, 'BACKOFF_S', 0)
    monkeypatch.setattr(storage_compare, 'TIMEOUT_S', 1)
    with faults.FaultyServer(answer) as server, pytest.raises(errors.SourceError) as raised:
        _run(conf, server)

    assert told in str(raised.value)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('status', http.DOWN_STATUSES)
def test_an_old_side_that_is_down(new, old, conf, monkeypatch, status):
    """Asked twice, so that the message comes soon; more often once it has answered."""
    monkeypatch.setattr(http, 'BACKOFF_S', 0)
    down = faults.text('no server', status=status)
    with faults.FaultyServer(down) as server:
        with pytest.raises(errors.SourceError, match=f'HTTP status {status}: no server'):
            _run(conf, server)
        assert len(server.requests) == http.FIRST_ATTEMPTS_MAX
    _fill(old)
    with _served(old) as server:
        answer = server.answer
        server.answer = lambda handler, request: (
            down if 1 < len(server.requests) < 1 + http.ATTEMPTS_MAX else answer
        )(handler, request)

        assert _run(conf, server) == 0


def test_an_old_side_that_takes_no_connection(new, conf, monkeypatch):
    """The reason is one line with its address, after one pause of a second."""
    pauses = []
    monkeypatch.setattr(http.time, 'sleep', pauses.append)
    with faults.FaultyServer(faults.text('')) as server:
        pass
    with pytest.raises(errors.SourceError, match='Connection refused') as raised:
        _run(conf, server)
    assert f'http://{server.address}: ' in str(raised.value)
    assert '\n' not in str(raised.value)
    assert pauses == [1]


@pytest.mark.parametrize('is_cut', [False, True])
def test_an_old_side_of_http_1_0(new, old, conf, capsys, is_cut):
    """The end of its connection is the end of an answer; a part of one is no answer."""
    _fill(old)

    def send(handler, status, body):
        handler.close_connection = True
        handler.wfile.write(b'HTTP/1.0 %d OK\r\n\r\n' % status + body[: -9 if is_cut else None])

    with _served(old, send) as server:
        if is_cut:
            with pytest.raises(errors.SourceError, match='the answer is no JSON'):
                _run(conf, server)
        else:
            assert _run(conf, server) == 0
    assert capsys.readouterr().out == ('' if is_cut else '8 equal, 0 within, 0 different\n')


def test_a_token_is_sent(new, old, conf, tmp_path):
    """That of a file; without one there is none."""
    _fill(old)
    path = tmp_path / 'token'
    path.write_text('geheim\n')
    with _served(old) as server:
        _run(conf, server, '--token-file', str(path))
        assert {one.headers['X-Auth-Token'] for one in server.requests} == {'geheim'}
        server.requests.clear()
        _run(conf, server)
        assert not any('X-Auth-Token' in one.headers for one in server.requests)
        path.write_text('two\nlines')
        with pytest.raises(errors.InvalidInput, match='holds no token'):
            _run(conf, server, '--token-file', str(path))


@pytest.mark.parametrize(
    'end, status, out, err',
    [
        ('2026-11-03', 0, '8 equal, 0 within, 0 different\n', ''),
        ('2026-11-01', 255, '', '--begin must be before --end'),
    ],
)
def test_the_command(new, old, conf, tmp_path, end, status, out, err):
    """Its last line and its exit status: 255 when nobody knows."""
    _fill(old)
    config = tmp_path / 'cloudkitty.conf'
    config.write_text(f'[database]\nconnection = {conf.database.connection}\n')
    code = 'from cloudkitty.cli import storage; storage.main()'
    with _served(old) as server:
        where = ('compare', '--with', f'http://{server.address}')
        ended = subprocess.run(
            [
                *(sys.executable, '-c', code, '--config-file', config),
                *(*where, '--begin', '2026-11-01', '--end', end),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert (ended.returncode, ended.stdout) == (status, out), ended.stderr
    assert err in ended.stderr
