"""Reading crosses the bounds of its statements unnoticed: here each has very few rows."""

import pytest
import sqlalchemy as sa

from cloudkitty.db import tables, upsert
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v1 import migrate
from cloudkitty.storage.v1 import table as v1_table
from cloudkitty.storage.v1.store import TableStorage
from cloudkitty.storage.v2.series import cells, faults, series_ids
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED
from cloudkitty.storage.v2.sql import SQLStorage, points, verify
from cloudkitty.tests.drivers.storage.questions import (
    HOUR,
    JUNE,
    MAY,
    check,
    frame,
    point,
    prices,
    stored,
)

SMALL = [
    (points, 'ROWS_AT_ONCE'),
    (cells, 'FRAMES_AT_ONCE'),
    (cells, 'KEYS_AT_ONCE'),
    (verify, 'ROWS_AT_ONCE'),
    (faults, 'ROWS_AT_ONCE'),
    (series_ids, 'IDS_PER_STATEMENT'),
    (scope_state, 'CHUNK'),
    (upsert, 'ROWS_PER_STATEMENT'),
    (v1_table, 'ROWS_AT_ONCE'),
]
FIELDS = 'max(price) AS top, min(price) AS low, count(qty) AS n, sum(price) AS total'


def fill(storage):
    """Three scopes, of which two have points that were pushed beside those that were rated."""
    for name in 'abc':
        storage.push(
            [
                frame(
                    MAY + hour * HOUR,
                    *(point(name, hour + number, f'{name}{number}') for number in range(4)),
                )
                for hour in range(5)
            ],
            name,
        )
        if name != 'c':
            storage.push(
                [
                    frame(MAY + hour * HOUR, point(name, 100, 'p'), metric='credit')
                    for hour in range(4)
                ]
            )


def spoil(storage):
    """Make a sum in the last rated frame, one in the last pushed one and an attribute wrong."""
    table, attributes = tables.rated_frames, tables.rated_attributes
    with storage.database.writer() as connection:
        for origin in (RATED, PUSHED):
            found = connection.execute(
                sa.select(table.c.scope_id, table.c.begin)
                .where(table.c.origin == origin)
                .order_by(table.c.scope_id.desc(), table.c.begin.desc())
            ).first()
            connection.execute(
                sa.update(table)
                .where(
                    table.c.scope_id == found.scope_id,
                    table.c.begin == found.begin,
                    table.c.origin == origin,
                )
                .values(price=7777)
            )
        last = connection.scalar(sa.select(sa.func.max(attributes.c.series_id)))
        connection.execute(
            sa.update(attributes)
            .where(attributes.c.series_id == last, attributes.c.name == 'id')
            .values(value='other')
        )


@pytest.mark.parametrize('size', [1, 2, 3, 7])
def test_answers_do_not_depend_on_pages_inside(storage, tmp_path, monkeypatch, size):
    """Reading, verifying, exporting and importing cross the bounds of their statements unnoticed.

    How many rows a statement has is nobody's business; here it has very few.
    """
    for module, name in SMALL:
        monkeypatch.setattr(module, name, size)
    fill(storage)

    assert len(stored(storage)) == 3 * 5 * 4 + 2 * 4
    assert len(stored(storage, filters={'id': ['a1', 'c3', 'p']})) == 5 + 5 + 8
    by_time = storage.total(['time'], MAY, JUNE, custom_fields=FIELDS)['results']
    assert [row['total'] for row in by_time] == [3 * (4 * hour + 6) + 200 for hour in range(4)] + [
        66
    ]
    (row,) = storage.total(['year'], MAY, MAY + 5 * HOUR, custom_fields=FIELDS)['results']
    assert (row['top'], row['low'], row['n'], row['total']) == (100, 0, 68, 3 * 70 + 800)
    assert prices(storage, ['project_id'], MAY, MAY + 5 * HOUR) == {
        ('a',): 470,
        ('b',): 470,
        ('c',): 70,
    }
    if isinstance(storage, SQLStorage):
        check_dump(storage, size, tmp_path)


def check_dump(storage, size, folder):
    assert check(storage) == []
    whole = stored(storage)
    found = list(storage.cells.read(Extent()))
    assert len(found) == 3 * 5 + 2 * 4
    assert sorted(map(cells.key_of, found)) == list(map(cells.key_of, found))
    assert len(set(map(cells.key_of, found))) == len(found)
    part = Extent(MAY + HOUR, MAY + 4 * HOUR, ['a', 'c'])
    some = list(storage.cells.read(part))
    assert len(some) == storage.cells.count(part) == 3 + 3 + 3
    storage.delete()
    counts = list(storage.cells.write(iter(found)))
    assert (sum(counts), max(counts)) == (23, size)
    assert stored(storage) == whole
    spoil(storage)
    told = '\n'.join(check(storage))
    assert told.count('price 7777') == 2
    assert told.count('rated_attributes') == 1


def test_a_migration_does_not_depend_on_pages_inside(conf, database, sql, monkeypatch):
    former = TableStorage(conf)
    former.init()
    fill(former)
    whole = stored(former)
    for size in (1, 3, 8):
        monkeypatch.setattr(v1_table, 'ROWS_AT_ONCE', size)
        for name in migrate.list_owners(former.database, Extent()):
            count = migrate.migrate_owner(former.database, sql.cells, name, Extent())
            assert count == (9 if name != 'c' else 5, 0, 0)
        assert stored(sql) == whole
        sql.delete()
    former.database.engine.dispose()
