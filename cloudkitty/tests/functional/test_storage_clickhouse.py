"""cloudkitty-storage with points in ClickHouse, and between it and a SQL database."""

import argparse
import itertools
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import conf as configuration
from cloudkitty import db, errors
from cloudkitty.cli import storage as command
from cloudkitty.core.dataframe import DataFrame, Series
from cloudkitty.core.timeframe import Period
from cloudkitty.db import clickhouse_tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import former
from cloudkitty.storage.former import stores
from cloudkitty.storage.v2.clickhouse.client import Client
from cloudkitty.storage.v2.series import cells
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.clickhouse import empty
from cloudkitty.tests.functional.test_storage_command import (
    APRIL,
    HOUR,
    HOURS,
    WINDOW,
    content,
    fill,
    usage,
)

pytestmark = pytest.mark.xdist_group('clickhouse')


@pytest.fixture
def store(clickhouse, conf, database):
    with empty(conf, clickhouse.url) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def others(clickhouse, conf, tmp_path):
    """Empty stores, each with a SQL database of its own: of SQL, and of ClickHouse."""
    made = []
    for name in ('sql', 'clickhouse'):
        copied = type(conf)()
        configuration.load([], files=[], conf=copied)
        copied.set_override('connection', f'sqlite:///{tmp_path}/{name}.sqlite', 'database')
        made.append(copied)
    plain = SQLStorage(made[0])
    plain.init()
    with empty(made[1], clickhouse.url) as other:
        yield plain, other
    plain.database.engine.dispose()


def run(store, *arguments):
    """Return the exit status of the command, in this process."""
    parser = argparse.ArgumentParser()
    command._add_commands(parser.add_subparsers(dest='name'))
    job = command._Job(store.conf, parser.parse_args(list(map(str, arguments))))
    status = job.run()
    job.database.engine.dispose()
    return status


def marks(store):
    with store.database.reader() as connection:
        return {scope.scope_id: scope.mark for scope in scope_state.list_scopes(connection)[1]}


def rows(store):
    (body,) = store.body.all
    return body.client.rows(f'SELECT count() FROM {body.database}.frames')[0][0]


@pytest.mark.parametrize('form', ['jsonl', 'parquet'])
def test_an_export_is_imported_to_the_last_digit(store, others, tmp_path, form):
    """From ClickHouse to SQL, and from there to ClickHouse; the same points make the same file."""
    plain, other = others
    path, again = tmp_path / 'one', tmp_path / 'two'

    assert run(store, 'export', '--format', form, path) == 0
    assert run(plain, 'import', '--format', form, path) == 0
    assert content(plain) == content(store)
    assert run(plain, 'export', '--format', form, again) == 0
    assert again.read_bytes() == path.read_bytes()
    assert run(other, 'import', '--format', form, again) == 0
    assert content(other) == content(store)
    assert marks(other) == marks(plain) == {name: APRIL + (HOURS - 1) * HOUR for name in 'ab'}


def test_the_same_content_is_not_written_twice(store, others, tmp_path, capsys):
    """A period of a file replaces the stored one if it is another one, and only then."""
    _, other = others
    path = tmp_path / 'all.jsonl'
    assert run(store, 'export', path) == 0
    for _ in range(2):
        assert run(other, 'import', path) == 0
    assert rows(other) == 2 * HOURS + 1
    other.push([DataFrame(APRIL, APRIL + HOUR, usage('a', 5))], 'a')
    assert content(other) != content(store)
    capsys.readouterr()

    assert run(other, 'import', path) == 0

    assert capsys.readouterr().err.startswith(f'1 periods imported, {2 * HOURS} were there')
    assert rows(other) == 2 * HOURS + 3
    assert content(other) == content(store)


def test_a_part_is_exported(store, others, tmp_path):
    plain, _ = others
    path = tmp_path / 'part.jsonl'
    bounds = ('--scope', 'b', '--begin', APRIL + HOUR, '--end', APRIL + 3 * HOUR)

    assert run(store, 'export', *bounds, path) == 0
    assert run(plain, 'import', path) == 0

    assert [row['project_id'] for row in plain.total(['project_id'], *WINDOW)['results']] == ['b']
    assert plain.retrieve(*WINDOW)['total'] == 4
    assert marks(plain) == {}


def test_points_are_migrated_from_one_driver_to_the_other(store, conf, capsys):
    """There and back, in one SQL database; again, nothing changes, and what differs is told."""
    whole = content(store)
    conf.set_override('backend', 'sql', 'storage')
    plain = SQLStorage(conf)
    for moved in (2 * HOURS + 1, 0):
        capsys.readouterr()
        assert run(plain, 'migrate', '--from', 'clickhouse') == 0
        assert capsys.readouterr().err.startswith(f'{moved} periods migrated, ')
        assert content(plain) == whole
    plain.push([DataFrame(APRIL, APRIL + HOUR, usage('a', 5))], 'a')
    assert run(plain, 'migrate', '--from', 'clickhouse') == 1
    told = capsys.readouterr().out
    assert told.startswith(
        'a: 1 periods have different points here and are not changed\na: instance:'
    )
    assert run(plain, 'migrate', '--from', 'clickhouse', '--replace') == 0
    assert (content(plain), run(plain, 'verify')) == (whole, 0)

    store.delete()
    conf.set_override('backend', 'clickhouse', 'storage')
    assert run(store, 'migrate', '--from', 'sql') == 0
    assert (content(store), run(store, 'verify')) == (whole, 0)
    store.push([DataFrame(APRIL + 99 * HOUR, APRIL + 100 * HOUR, usage('a', 5))], 'a')
    capsys.readouterr()
    assert run(store, 'migrate', '--from', 'sql', '--scope', 'b') == 0
    assert run(store, 'migrate', '--from', 'sql') == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(': quantity')[0] for line in lines] == ['a: instance', 'a: volume']
    with pytest.raises(errors.InvalidInput, match=r'\[storage\]backend names this driver'):
        run(store, 'migrate', '--from', 'clickhouse')
    plain.database.engine.dispose()


class Former(former.Reader):
    """A store of an earlier release with two hours of one scope."""

    def __init__(self, conf):
        self.scope_key, self.period_s = 'project_id', 3600
        self.remarks, self.points_max = former.Remarks(), None

    def extent(self):
        return Period(APRIL, APRIL + 2 * HOUR)

    def read(self, window):
        for begin in (APRIL, APRIL + HOUR):
            if window.begin <= begin < window.end:
                series = Series('h', {'project_id': 'z', 'id': 'i'}, {})
                end = begin + HOUR
                yield former.Point(begin, end, 'cpu', series, Decimal(2), Decimal('0.5'))

    def sums(self, window):
        count = len(list(self.read(window)))
        return {('z', 'cpu'): former.Sum(Decimal(2 * count), Decimal(count) / 2)}


def test_a_store_of_an_earlier_release_is_imported(store, monkeypatch, capsys):
    """Again, nothing is written; a period with other points stays, and the sums tell."""
    monkeypatch.setattr(stores, 'get_reader', lambda conf, name: Former(conf))
    for line in ('2 periods imported, 0 were there', '0 periods imported, 2 were there'):
        assert run(store, 'import', '--from', 'influxdb') == 0
        assert line in capsys.readouterr().err
    store.push([DataFrame(APRIL, APRIL + HOUR, usage('z', 1))], 'z')

    assert run(store, 'import', '--from', 'influxdb') == 1
    told = capsys.readouterr().out
    assert 'z: 1 periods have different points here and are not changed' in told
    assert 'z: cpu of 2024-04: price is 0.5 here, 1.0 there' in told


def test_damage_is_told_and_repaired(store, capsys):
    """The exit status tells."""
    assert (run(store, 'verify'), capsys.readouterr().out) == (0, '')
    with store.database.writer() as connection:
        connection.execute(sa.update(clickhouse_tables.latest).values(rated_until=None))

    assert run(store, 'verify', '--scope', 'b') == 1
    assert capsys.readouterr().out.startswith('b: rated_latest: scope_id ')
    assert run(store, 'rebuild') == 0
    assert capsys.readouterr().err == '2 scopes rebuilt, 2 rows corrected, 0 faults left\n'
    assert run(store, 'verify') == 0


class Killed(Exception):
    """In place of a signal."""


def dying(method, left):
    def run(self, *arguments, **settings):
        if next(left) <= 0:
            raise Killed
        return method(self, *arguments, **settings)

    return run


def test_a_killed_import_is_done_again(store, others, tmp_path, monkeypatch):
    """Before each of its statements in turn: nothing is lost, nothing is there twice."""
    _, other = others
    monkeypatch.setattr(cells, 'FRAMES_AT_ONCE', 10)
    path = tmp_path / 'all.jsonl'
    assert run(store, 'export', path) == 0
    died = 0
    for count in range(100):
        with monkeypatch.context() as patched:
            left = itertools.count(count, -1)
            for kind, name in ((Client, 'execute'), (db.Database, 'write')):
                patched.setattr(kind, name, dying(getattr(kind, name), left))
            try:
                run(other, 'import', path)
            except Killed:
                died += 1
                continue
        break
    assert died > 5
    assert content(other) == content(store)
    assert marks(other) == marks(store)
