"""Frames of ClickHouse as cells, for exports, imports and report files."""

import itertools

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.timeframe import month_at
from cloudkitty.db import billing_tables, tables
from cloudkitty.storage.v2.clickhouse.writer import Writer
from cloudkitty.storage.v2.series import cells, changes, retention_cutoff
from cloudkitty.storage.v2.series.cells import Cell, Extent
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.clickhouse import empty
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point, totals
from cloudkitty.write_orchestrator import UNCHANGED, WRITTEN, WriteOrchestrator
from cloudkitty.writer.csv_rows import CSVWriter
from cloudkitty.writer.jsonl import JSONLinesWriter

pytestmark = pytest.mark.xdist_group('clickhouse')


@pytest.fixture
def storage(clickhouse, conf, database):
    with empty(conf, clickhouse.url) as opened:
        yield opened


def usage(scope, price, *ids):
    return {'cpu': [point(scope, 1, price, id=one) for one in ids or ('x',)]}


@pytest.fixture
def filled(storage):
    """Three scopes of four hours, rows that were replaced or removed, pushed points."""
    for scope, hour in itertools.product('abc', range(4)):
        storage.push([frame(MAY + hour * HOUR, usage(scope, 7))], scope)
        storage.push([frame(MAY + hour * HOUR, usage(scope, hour, *'xyz'[: hour % 4]))], scope)
    storage.push([frame(MAY + hour * HOUR, usage('b', -1, 'p')) for hour in (0, 2)])
    storage.delete(MAY + HOUR, MAY + 2 * HOUR, {'project_id': 'a'})
    return storage


def of(storage, extent=None):
    return list(storage.cells.read(extent or Extent()))


def keys(found):
    return [(cell.owner, (cell.frame.start - MAY) // HOUR, cell.origin) for cell in found]


@pytest.mark.parametrize('size', [1, 2, 5])
def test_an_export_does_not_depend_on_pages_inside(filled, monkeypatch, size):
    """By scope, time and origin, each cell once, whatever the bounds of statements."""
    whole = of(filled)
    wanted = [('a', hour, RATED) for hour in (0, 2, 3)]
    wanted += sorted(
        [('b', hour, RATED) for hour in range(4)] + [('b', hour, PUSHED) for hour in (0, 2)]
    )
    assert keys(whole) == wanted + [('c', hour, RATED) for hour in range(4)]
    for name in ('KEYS_AT_ONCE', 'FRAMES_AT_ONCE', 'POINTS_AT_ONCE'):
        monkeypatch.setattr(cells, name, size)

    found = of(filled)
    assert keys(found) == keys(whole)
    assert all(map(cells.is_same, found, whole))
    part = Extent(MAY + HOUR, MAY + 3 * HOUR, ['a', 'b'])
    assert keys(of(filled, part)) == [key for key in wanted if key[1] in (1, 2)]
    assert (filled.cells.count(Extent()), filled.cells.count(part)) == (len(whole), 4)
    filled.delete()
    assert of(filled) == []
    assert sum(filled.cells.write(whole)) == len(whole)
    assert all(map(cells.is_same, of(filled), whole))


def test_an_export_shows_what_was_there_when_it_began(filled, monkeypatch):
    monkeypatch.setattr(cells, 'KEYS_AT_ONCE', 2)
    expected = of(filled)

    reading = filled.cells.read(Extent())
    first = next(reading)
    filled.delete(filters={'project_id': 'c'})
    filled.push([frame(MAY + 3 * HOUR, usage('b', 99))], 'b')
    filled.push([frame(MAY + 4 * HOUR, usage('b', 99))], 'b')

    assert all(map(cells.is_same, [first, *reading], expected))


def test_a_batch_has_few_points(filled, monkeypatch):
    """Memory does not grow with the number of points of frames."""
    monkeypatch.setattr(cells, 'POINTS_AT_ONCE', 4)
    sizes = []
    (body,) = filled.body.all
    points = body.points

    def counted(*where):
        found = list(points(*where))
        sizes.append(sum(len(one.columns[0]) for one in found))
        return found

    monkeypatch.setattr(body, 'points', counted)
    assert len(of(filled)) == 13
    # What is pushed comes with what is rated of the same period.
    assert max(sizes) <= 4 + 3


def test_what_is_overtaken_is_stored_nevertheless(filled, monkeypatch):
    """A worker stores something of one scope; of the other one nothing is written again."""
    written = []
    write = Writer.write

    def overtaken(self, parts, *more):
        found = write(self, parts, *more)
        written.append([part.owner for part in parts])
        if len(written) == 1:
            with monkeypatch.context() as patched:
                patched.setattr(Writer, 'write', write)
                filled.push([frame(MAY + 9 * HOUR, usage('a', 50))], 'a')
        return found

    monkeypatch.setattr(Writer, 'write', overtaken)
    new = [Cell(scope, RATED, frame(MAY + 8 * HOUR, usage(scope, 100))) for scope in 'ab']
    assert list(filled.cells.write(new)) == [2]

    assert written == [['a', 'b'], ['a']]
    after = totals(filled, ['project_id'], MAY + 8 * HOUR, JUNE)
    assert after == [('a', 2, 150), ('b', 1, 100)]


def test_periods_before_the_cutoff_are_refused(filled):
    filled.database.write(lambda connection: retention_cutoff.move(connection, JUNE.date(), JUNE))
    assert of(filled) == []
    with pytest.raises(errors.InvalidInput, match='older than'):
        list(filled.cells.write([Cell('a', RATED, frame(MAY, usage('a', 1)))]))


def test_changes_of_months_that_may_be_closed_are_recorded(storage):
    cell = Cell('a', RATED, frame(MAY, usage('a', 1)))
    noted = changes.Changes(lambda: JUNE + 40 * 24 * HOUR)

    for _ in range(2):
        list(storage.cells.update([cell], noted))

    with storage.database.reader() as connection:
        rows = connection.execute(sa.select(billing_tables.changes)).all()
    assert [(row.month, row.changes) for row in rows] == [(MAY.date(), 1)]


def test_a_series_that_is_missing_is_told(filled):
    filled.id_cache.clear()
    with filled.database.writer() as connection:
        connection.execute(sa.delete(tables.rated_attributes))
        connection.execute(sa.delete(tables.rated_series))
    with pytest.raises(errors.InvalidInput, match=r'rated_series: \d+ is missing'):
        of(filled)


def test_report_files_are_written_again_if_points_change(filled, conf, tmp_path):
    """And are those that the driver sql makes of the same points."""
    conf.set_override('basepath', str(tmp_path / 'files'), 'output')
    conf.set_override('pipeline', [], 'output')

    def write():
        made = WriteOrchestrator(conf, filled.database, lambda: JUNE)
        made.use({'jsonl': JSONLinesWriter(), 'csv': CSVWriter()})
        return [outcome.state for outcome in made.generate('b', month_at(MAY))]

    def content():
        return {path.name: path.read_bytes() for path in (tmp_path / 'files').rglob('b-*')}

    assert write() == [WRITTEN, WRITTEN]
    assert write() == [UNCHANGED, UNCHANGED]
    filled.push([frame(MAY + 5 * HOUR, usage('b', '0.125'))], 'b')
    assert write() == [WRITTEN, WRITTEN]
    filled.push([frame(MAY, usage('b', 3))], 'b')
    assert write() == [WRITTEN, WRITTEN]
    found = content()
    assert len(found) == 2
    assert all(b'0.125' in data for data in found.values())
    conf.set_override('backend', 'sql', 'storage')
    other = SQLStorage(conf)
    list(other.cells.write(filled.cells.read(Extent())))
    conf.set_override('basepath', str(tmp_path / 'others'), 'output')
    with filled.database.writer() as connection:
        connection.execute(sa.delete(tables.metadata.tables['output_files']))
    assert write() == [WRITTEN, WRITTEN]
    others = {path.name: path.read_bytes() for path in (tmp_path / 'others').rglob('b-*')}
    assert others == found
    other.database.engine.dispose()
