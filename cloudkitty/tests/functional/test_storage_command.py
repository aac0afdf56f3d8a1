"""cloudkitty-storage finds damage of every kind, repairs what it can, and moves data whole."""

import pathlib
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables as models
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v1.store import TableStorage
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.storage.v2.sql import SQLStorage, rebuild, verify

BIN = pathlib.Path(sys.executable).parent
HOUR = timedelta(hours=1)
APRIL = datetime(2024, 4, 30, 20, tzinfo=UTC)
WINDOW = (APRIL - timedelta(days=40), APRIL + timedelta(days=40))
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
HOURS = 30  # over the end of a month and of a day


def usage(project, hour):
    """Two metrics; numbers that no floating point number holds."""
    price = Decimal('0.1') + Decimal(hour) / 10**28
    return {
        'instance': [
            DataPoint(
                'instance',
                '1',
                price,
                {'project_id': project, 'id': 'i'},
                {'flavor': 'small', 'n': hour % 3},
                'what it is',
            )
        ],
        'volume': [
            DataPoint(
                'GiB',
                '12345678901234567890.123456789',
                price,
                {'project_id': project, 'id': 'v é'},
                {},
            )
        ],
    }


def fill(store, names=('a', 'b')):
    for name in names:
        store.push(
            [
                DataFrame(APRIL + hour * HOUR, APRIL + (hour + 1) * HOUR, usage(name, hour))
                for hour in range(HOURS)
            ],
            name,
        )
    store.push(
        [
            DataFrame(
                APRIL,
                APRIL + HOUR,
                {'credit': [DataPoint('EUR', 1, '-0.25', {'project_id': 'a'}, {})]},
            )
        ]
    )
    with store.database.writer() as connection:
        scope_state.record_seen(
            connection,
            IDENTITY,
            names,
            now=APRIL,
            initial_mark=APRIL + (HOURS - 1) * HOUR,
            final_mark=APRIL,
        )


def content(store):
    """Return all frames and totals that a store has."""
    frames = [
        frame.as_dict(mutable=True)
        for frame in store.retrieve(*WINDOW, paginate=False)['dataframes']
    ]
    for frame in frames:
        for points in frame['usage'].values():
            points.sort(key=str)
    totals = [
        store.total(groups, *WINDOW, paginate=False)['results']
        for groups in (['id', 'type'], ['project_id'], ['time-d'], ['time-m'], [])
    ]
    return frames, totals


@pytest.fixture
def command(tmp_path):
    """Runs the command on the database of a configuration."""

    def run(conf, *arguments, status=0, **options):
        path = _config(tmp_path, conf)
        ended = subprocess.run(
            [BIN / 'cloudkitty-storage', '--config-file', path, *map(str, arguments)],
            capture_output=True,
            timeout=120,
            **options,
        )
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout

    return run


@pytest.fixture
def store(any_database, any_conf):
    opened = SQLStorage(any_conf)
    fill(opened)
    yield opened
    opened.database.engine.dispose()


@pytest.fixture
def other(tmp_path, conf):
    """Another, empty database: a SQLite file."""
    copied = type(conf)()
    configuration.load([], files=[], conf=copied)
    copied.set_override('connection', f'sqlite:///{tmp_path}/other.sqlite', 'database')
    opened = SQLStorage(copied)
    opened.init()
    yield opened
    opened.database.engine.dispose()


# Table, what is done to one of its rows, what verify says, whether rebuild makes it right.
DAMAGE = [
    (models.rated_days, {'qty': Decimal(7)}, 'rated_days: series_id', True),
    (models.rated_days, {'price': Decimal('1e-28')}, 'must be qty', True),
    (models.rated_days, None, 'rated_days: series_id', True),
    (models.rated_series_months, {'qty': Decimal(7)}, 'rated_series_months: series_id', True),
    (models.rated_series_months, None, 'rated_series_months: series_id', True),
    (models.rated_totals, {'points': 77}, 'rated_totals: scope_id', True),
    (models.rated_totals, None, 'missing; must be', True),
    (models.rated_months, {'price': Decimal(7)}, 'rated_months: scope_id', True),
    (models.rated_months, None, 'rated_months: scope_id', True),
    (models.rated_calendar, {'week_of_the_year': '99'}, 'rated_calendar: day', True),
    (models.rated_calendar, None, 'rated_calendar: day', True),
    (models.rated_attributes, {'value': 'other'}, 'rated_attributes: series_id', True),
    (models.rated_attributes, None, 'rated_attributes: series_id', True),
    (models.rated_frames, {'points': 9}, 'points 9', True),
    (models.rated_frames, {'qty': Decimal(9)}, 'qty 9', True),
    (models.rated_frames, {'price': Decimal(9)}, 'price 9', True),
    (models.rated_frames, {'block': b'\x01broken'}, 'the block is corrupt', False),
    (models.rated_frames, {'end': datetime(2024, 6, 1)}, 'a time is rated twice', False),
    (models.rated_series, {'metric': 'other'}, 'is not what was stored', False),
    (models.rated_series, {'groupby': '{'}, 'is not what was stored', False),
    (
        models.scopes,
        {'last_processed_timestamp': datetime(2024, 4, 30, 22)},
        'rated periods begin after that',
        False,
    ),
]


def spoil(store, table, change):
    """Change or take away the first row of *table*."""
    with store.database.writer() as connection:
        keys = list(table.primary_key.columns)
        first = connection.execute(sa.select(*keys).order_by(*keys).limit(1)).one()
        chosen = [key == value for key, value in zip(keys, first, strict=True)]
        connection.execute(
            sa.delete(table).where(*chosen)
            if change is None
            else sa.update(table).where(*chosen).values(**change)
        )


def keep(store, tables):
    with store.database.reader() as connection:
        return {
            table: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in tables
        }


def put_back(store, table, rows):
    keys = list(table.primary_key.columns)
    with store.database.writer() as connection:
        for row in rows:
            connection.execute(
                sa.update(table).where(*(key == row[key.name] for key in keys)).values(**row)
            )


def faults(store, begin=None, end=None, scope_ids=None):
    with store.database.reader() as connection:
        chosen = list_scopes(connection, scope_ids)
    return '\n'.join(
        str(fault) for scope in chosen for fault in verify.check(store.database, scope, begin, end)
    )


def rebuilt(store, scope_ids=None):
    """Rebuild everything; return what cannot be made right."""
    with store.database.reader() as connection:
        chosen = list_scopes(connection, scope_ids)
    return '\n'.join(
        str(fault)
        for make in (rebuild.rebuild_days, rebuild.rebuild_totals)
        for scope in chosen
        for outcome in make(store.database, scope)
        for fault in outcome.left
    )


def test_every_kind_of_damage_is_found_and_healed(store, any_conf):
    """Rows that follow from the points are made right; of the others verify still tells."""
    assert faults(store) == ''
    whole = content(store)
    kept = keep(store, {table for table, _, _, is_healed in DAMAGE if not is_healed})
    for table, change, text, is_healed in DAMAGE:
        spoil(store, table, change)

        assert text in faults(store), (table.name, change)
        left = rebuilt(store)
        if is_healed:
            assert left == '', (table.name, change)
        else:
            assert text in left, (table.name, change)
            assert text in faults(store), (table.name, change)
            put_back(store, table, kept[table])
            rebuilt(store)
        assert faults(store) == '', (table.name, change)
        fresh = SQLStorage(any_conf)
        assert content(fresh) == whole, (table.name, change)
        fresh.database.engine.dispose()


def test_bounds_choose_scopes_and_months(store):
    with store.database.writer() as connection:
        connection.execute(
            sa.update(models.rated_totals)
            .where(models.rated_totals.c.day < datetime(2024, 5, 1).date())
            .values(points=77)
        )

    for begin, end, scope_ids, is_found in (
        (None, None, ['a'], True),
        (None, None, ['c'], False),
        (datetime(2024, 5, 2, tzinfo=UTC), None, None, False),
        (None, datetime(2024, 4, 1, tzinfo=UTC), None, False),
        (None, datetime(2024, 4, 15, tzinfo=UTC), None, True),
        (datetime(2024, 4, 2, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC), None, True),
    ):
        assert bool(faults(store, begin, end, scope_ids)) is is_found, (begin, end, scope_ids)
    assert rebuilt(store, ['a']) == ''
    assert (faults(store, scope_ids=['a']), faults(store) != '') == ('', True)


def test_the_exit_status_tells(database, conf, command):
    opened = SQLStorage(conf)
    fill(opened, ['a'])
    assert command(conf, 'verify') == b''
    spoil(opened, models.rated_months, None)

    assert b'a: rated_months: scope_id' in command(conf, 'verify', status=1)
    assert command(conf, 'verify', '--end', '2024-04-01') == b''
    assert command(conf, 'rebuild', '--scope', 'a') == b''
    assert command(conf, 'verify') == b''
    opened.database.engine.dispose()


@pytest.mark.parametrize('form', ['jsonl', 'parquet'])
def test_an_export_is_imported_to_the_last_digit(store, any_conf, command, other, form):
    """Into a database of another kind, through a pipe, twice, with the progress of the scopes."""
    exported = command(any_conf, 'export', '--format', form)

    for _ in range(2):
        command(other.conf, 'import', '--format', form, input=exported)
        assert content(other) == content(store)
    command(other.conf, 'verify')
    with other.database.reader() as connection:
        assert {scope.scope_id: scope.mark for scope in scope_state.list_scopes(connection)[1]} == {
            name: APRIL + (HOURS - 1) * HOUR for name in 'ab'
        }


def test_a_part_is_exported_to_a_file(database, conf, command, other, tmp_path):
    opened = SQLStorage(conf)
    fill(opened)
    path = tmp_path / 'part.jsonl'

    command(
        conf, 'export', '--scope', 'b', '--begin', APRIL + HOUR, '--end', APRIL + 3 * HOUR, path
    )
    command(other.conf, 'import', path)

    assert [path.name for path in tmp_path.glob('part*')] == ['part.jsonl']
    assert [row['project_id'] for row in other.total(['project_id'], *WINDOW)['results']] == ['b']
    assert other.retrieve(*WINDOW)['total'] == 4
    with other.database.reader() as connection:
        assert scope_state.list_scopes(connection)[0] == 0
    opened.database.engine.dispose()


@pytest.mark.parametrize('bound', ['--begin', '--end'])
def test_a_part_says_nothing_of_progress(database, conf, command, other, bound):
    """A scope would count as rated where the file has nothing."""
    opened = SQLStorage(conf)
    fill(opened)

    command(other.conf, 'import', input=command(conf, 'export', bound, APRIL + HOUR))

    assert len(other.total(['project_id'], *WINDOW)['results']) == 2
    with other.database.reader() as connection:
        assert scope_state.list_scopes(connection)[0] == 0
    opened.database.engine.dispose()


@pytest.mark.parametrize(
    'form, spoiled, text',
    [
        ('jsonl', lambda data: data[: data.rindex(b'{"end"')], b'before its last line'),
        ('jsonl', lambda data: data[:-20], b'unexpected end of data'),
        ('jsonl', lambda data: data.replace(b'"qty":"1"', b'"qty":"one"', 1), b'line 2: '),
        ('jsonl', lambda data: data.replace(b'project_id', b'tenant'), b'[collect]scope_key'),
        ('jsonl', lambda data: b'[]', b'does not begin with the header of a dump'),
        ('parquet', lambda data: data[:-20], b'not a complete Parquet file'),
    ],
)
def test_a_broken_file_is_told(database, conf, command, other, tmp_path, form, spoiled, text):
    opened = SQLStorage(conf)
    fill(opened, ['a'])
    exported = command(conf, 'export', '--format', form)
    path = tmp_path / 'broken'
    path.write_bytes(spoiled(exported))

    ended = subprocess.run(
        [
            BIN / 'cloudkitty-storage',
            '--config-file',
            _config(tmp_path, other.conf),
            'import',
            '--format',
            form,
            path,
        ],
        capture_output=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert text in ended.stderr.splitlines()[-1], ended.stderr
    assert b'Traceback' not in ended.stderr
    opened.database.engine.dispose()


def _config(folder, conf):
    path = folder / 'cloudkitty.conf'
    text = f'[database]\nconnection = {conf.database.connection}\n'
    if conf.storage.backend == 'clickhouse':
        options = conf.storage_clickhouse
        text += (
            '[storage]\nbackend = clickhouse\n[storage_clickhouse]\n'
            f'urls = {options.urls[0]}\ndatabase = {options.database}\n'
        )
    path.write_text(text)
    return path


@pytest.fixture
def former(any_database, any_conf):
    """Table rated_data_frames with the same data."""
    opened = TableStorage(any_conf)
    opened.init()
    fill(opened)
    yield opened
    opened.database.engine.dispose()


def test_version_1_is_migrated(former, any_conf, command, other, tmp_path):
    """Within a database and into another one; again it changes nothing, and later data stays."""
    source = tmp_path / 'source'
    source.write_text(any_conf.database.connection)
    expected = content(former)[1]

    for conf, arguments in ((any_conf, ()), (other.conf, ('--source', f'@{source}'))):
        for _ in range(2):
            command(conf, 'migrate', *arguments)
            migrated = SQLStorage(conf)
            assert content(migrated)[1] == expected
            migrated.database.engine.dispose()
        command(conf, 'verify')
    other.push([DataFrame(APRIL, APRIL + HOUR, {})], 'b')
    other.push([DataFrame(APRIL, APRIL + HOUR, {'instance': usage('b', 5)['instance']})], 'b')
    assert b'b: 1 periods have different points' in command(
        other.conf, 'migrate', '--source', f'@{source}', status=1
    )


@pytest.mark.parametrize('name', ['rebuild', 'export', 'import', 'migrate'])
def test_a_killed_run_is_done_again(database, conf, other, command, tmp_path, name):
    """Killed at its third transaction and run again, each leaves what one whole run leaves."""
    opened = SQLStorage(conf)
    many = [f's{number:02}' for number in range(20)]
    fill(opened, many)
    table = TableStorage(conf)
    table.init()
    fill(table, many)
    expected = content(opened)
    path = tmp_path / 'all.jsonl'
    arguments = {
        'rebuild': (conf, 'rebuild'),
        'export': (conf, 'export', path),
        'import': (other.conf, 'import', path),
        'migrate': (other.conf, 'migrate', '--source', conf.database.connection),
    }[name]
    if name == 'import':
        command(conf, 'export', path)
    if name == 'rebuild':
        with opened.database.writer() as connection:
            connection.execute(sa.update(models.rated_days).values(points=5))
            connection.execute(sa.delete(models.rated_totals))

    ended = subprocess.run(
        [
            sys.executable,
            '-c',
            KILLED,
            '--config-file',
            _config(tmp_path, arguments[0]),
            *arguments[1:],
        ],
        capture_output=True,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    command(*arguments)

    if name == 'export':
        command(other.conf, 'import', path)
    found = SQLStorage(arguments[0] if name == 'rebuild' else other.conf)
    # Version 1 does not keep metadata apart, so only sums are compared.
    part = slice(1, 2) if name == 'migrate' else slice(0, 2)
    assert content(found)[part] == expected[part]
    command(found.conf, 'verify')
    for one in (found, opened, table):
        one.database.engine.dispose()


# The command, which kills itself before the third time that it changes or, to export, reads rows.
KILLED = f"""
import os, signal, sys
from cloudkitty import db
from cloudkitty.cli import storage

def dying(method, uses=[0]):
    def run(self, *args):
        uses[0] += 1
        if uses[0] == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *args)
    return run

kind = 'reader' if 'export' in sys.argv else 'write'
setattr(db.Database, kind, dying(getattr(db.Database, kind)))
sys.argv[0] = {str(BIN / 'cloudkitty-storage')!r}
storage.main()
"""
