"""Databases of earlier releases, see fixtures/adoption/README.rst."""

import gzip
import io
import json
import pathlib
from decimal import Decimal

import pymysql
import sqlalchemy as sa
from pymysql.constants import CLIENT

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage.v2.series.cells import Cell
from cloudkitty.storage.v2.series.frame_rows import RATED

FOLDER = pathlib.Path(__file__).parent / 'fixtures' / 'adoption'
# What the former tables were made with.
MARIADB_OPTIONS = 'CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci'


def kind_of(name: str) -> str:
    """Return the kind of server that the database *name* is for."""
    return 'postgresql' if 'postgresql' in name else 'mariadb'


def load(name: str, url: str) -> None:
    """Fill the empty database at *url* with the dump *name*."""
    text = gzip.decompress((FOLDER / f'cloudkitty-{name}.sql.gz').read_bytes()).decode()
    engine = sa.create_engine(url)
    try:
        if kind_of(name) == 'postgresql':
            _load_postgresql(engine, text)
        else:
            _load_mariadb(engine, text)
    finally:
        engine.dispose()


def _load_mariadb(engine, text):
    place = engine.url
    connection = pymysql.connect(
        host=place.host,
        port=place.port or 3306,
        user=place.username,
        password=place.password or '',
        database=place.database,
        charset='utf8mb4',
        client_flag=CLIENT.MULTI_STATEMENTS,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(text)
        while cursor.nextset():
            pass
        connection.commit()


def _load_postgresql(engine, text):
    """Run a dump: statements, and rows after COPY up to a line with a backslash and a dot."""
    raw = engine.raw_connection()
    cursor = raw.cursor()
    head = []
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        if line.startswith('COPY '):
            _execute(cursor, head)
            rows = iter(lambda: next(lines), '\\.\n')
            cursor.copy_expert(line, io.StringIO(''.join(rows)))
        elif not line.startswith('--'):
            head.append(line)
    _execute(cursor, head)
    raw.commit()
    raw.close()


def _execute(cursor, lines):
    if ''.join(lines).strip():
        cursor.execute(''.join(lines))
    lines.clear()


def contents(connection: sa.Connection, *, ignored: tuple[str, ...] = ()) -> dict[str, list]:
    """Return the columns and the rows of all tables, by name."""
    found = {}
    inspector = sa.inspect(connection)
    for name in sorted(set(inspector.get_table_names()) - set(ignored)):
        quoted = connection.dialect.identifier_preparer.quote(name)
        columns = [(column['name'], str(column['type'])) for column in inspector.get_columns(name)]
        rows = connection.execute(sa.text(f'SELECT * FROM {quoted}'))
        found[name] = [columns, sorted(str(tuple(map(_plain, row))) for row in rows)]
    return found


def _plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


def expected_lines(name: str) -> list:
    """Return the answers of the former API, one a line of the file *name*."""
    text = (FOLDER / f'expected-{name}.jsonl').read_text()
    return [json.loads(line) for line in text.splitlines()]


def influxdb_lines() -> list[str]:
    """Return the rated points of the former store in line protocol."""
    path = FOLDER / 'cloudkitty-25-influxdb1.lp.gz'
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def expected_points() -> list[dict]:
    """Return the former store's periods as they are to be imported."""
    path = FOLDER / 'cloudkitty-25-influxdb1-as-import.jsonl.gz'
    _, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return [form for form in map(json.loads, lines) if 'points' in form]


def expected_cells() -> list[Cell]:
    """Return the same as cells of a store."""
    return [
        Cell(
            form['scope'],
            RATED,
            DataFrame(*map(timeframe.parse, (form['begin'], form['end'])), _usage(form['points'])),
        )
        for form in expected_points()
    ]


def _usage(points):
    usage = {}
    for point in points:
        made = DataPoint(
            point['unit'], point['qty'], point['price'], point['groupby'], point['metadata']
        )
        usage.setdefault(point['metric'], []).append(made)
    return usage


def expected_totals() -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Return quantity and price by scope and metric that the former API answered."""
    text = (FOLDER / 'expected-influxdb-v2-summary.json').read_text()
    rows = json.loads(text, parse_float=Decimal, parse_int=Decimal)['results']
    return {(scope_id, metric): (qty, price) for _, _, qty, price, scope_id, metric in rows}
