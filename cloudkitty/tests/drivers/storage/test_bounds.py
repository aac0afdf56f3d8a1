"""Two of everything at the bounds of what a store does: times, pages, scopes, keys and caches."""

import itertools
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.drivers.storage.questions import (
    ALWAYS,
    CALENDAR,
    DAY,
    HOUR,
    JUNE,
    MAY,
    check,
    frame,
    point,
    prices,
    stored,
    sums,
)


def test_sums_follow_the_points(storage):
    """Of two scopes and two periods, stored, stored again with other points, and taken away."""
    for name in 'ab':
        storage.push(
            [
                frame(MAY + hour * HOUR, point(name, 1, 'x', qty=5), point(name, 10, 'y', qty=7))
                for hour in range(2)
            ],
            name,
        )
    assert sums(storage, ['project_id']) == {('a',): (24, 22), ('b',): (24, 22)}

    storage.push([frame(MAY + hour * HOUR, point('a', 100, 'y', qty=3)) for hour in range(2)], 'a')
    assert sums(storage, ['project_id', 'id']) == {
        ('a', 'y'): (6, 200),
        ('b', 'x'): (10, 2),
        ('b', 'y'): (14, 20),
    }

    storage.delete(MAY, MAY + HOUR, {'project_id': 'a'})
    assert sums(storage, ['project_id']) == {('a',): (3, 100), ('b',): (24, 22)}
    storage.delete(None, None, {'project_id': 'a'})
    assert sums(storage, ['project_id']) == {('b',): (24, 22)}
    if isinstance(storage, SQLStorage):
        assert check(storage) == []
        with storage.database.reader() as connection:
            for table in (tables.rated_days, tables.rated_totals, tables.rated_months):
                assert not connection.execute(sa.select(table).where(table.c.points <= 0)).all()


def test_each_time_a_period_is_stored_it_has_another_revision(sql):
    for price in (1, 2, 3):
        sql.push([frame(MAY, point('a', price)), frame(MAY + price * HOUR, point('a', 1))], 'a')

    with sql.database.reader() as connection:
        table = tables.rated_frames
        assert connection.execute(
            sa.select(table.c.revision).order_by(table.c.begin)
        ).scalars().all() == [3, 1, 1, 1]


def test_sums_have_more_digits_than_any_point(storage):
    """A large and a small price side by side, in one period and over several."""
    large, small = Decimal('12345678901234567890'), Decimal('1e-28')
    for hour in range(3):
        storage.push([frame(MAY + hour * HOUR, point('a', large), point('a', small, 'y'))], 'a')

    expected = Decimal('37037036703703703670.0000000000000000000000000003')
    for begin, end in ((MAY, JUNE), (MAY, MAY + 3 * HOUR), (MAY, MAY + DAY)):
        assert prices(storage, (), begin, end) == {(): expected}


def test_the_last_period_of_a_month_is_of_that_month(storage):
    """A period has the calendar of its begin, not of its end: in sums, points and filters."""
    begin = JUNE - HOUR
    storage.push([frame(begin, point('a', 1))], 'a')
    storage.push([frame(JUNE, point('a', 10))], 'a')
    last = ('152', '21', '5', '2024')
    first = ('153', '21', '6', '2024')

    for window in (ALWAYS, (begin, JUNE + HOUR), (begin - HOUR / 2, JUNE + DAY)):
        assert prices(storage, CALENDAR, *window) == {last: 1, first: 10}
        assert prices(storage, (), *window, filters={'month': '5'}) == {(): 1}
        assert prices(storage, ['month'], *window, filters={'day_of_the_year': '153'}) == {
            ('6',): 10
        }
        assert [row[-1] for row in stored(storage, *window, {'month': '5'})] == [1]
    assert prices(storage, (), begin, JUNE) == prices(storage, (), MAY, JUNE) == {(): 1}
    assert [
        tuple(one.groupby[name] for name in CALENDAR)
        for part in storage.retrieve(*ALWAYS)['dataframes']
        for _, one in part
    ] == [last, first]
    if isinstance(storage, SQLStorage):
        assert check(storage) == []


def test_series_that_come_and_go_are_counted_where_they_were(storage):
    """Stored in one go over the end of a month, each period with other series and prices."""
    begins = [JUNE + hour * HOUR for hour in (-2, -1, 0, 1)]
    present = {'w': (0, 1, 2, 3), 'x': (2, 3), 'y': (1, 2), 'z': (0, 3)}
    weights = dict(zip('wxyz', (1, 10**4, 10**8, 10**12), strict=True))

    storage.push(
        [
            frame(
                begin,
                *(
                    point('a', weights[name] * 10**place, name)
                    for name in 'zwyx'
                    if place in present[name]
                ),
            )
            for place, begin in enumerate(begins)
        ],
        'a',
    )

    assert stored(storage) == [
        (begin, 'cpu', 'a', name, weights[name] * 10**place)
        for place, begin in enumerate(begins)
        for name in 'wxyz'
        if place in present[name]
    ]
    expected = {
        (name, month): weights[name] * total
        for name, month, total in [
            ('w', '5', 11),
            ('w', '6', 1100),
            ('x', '6', 1100),
            ('y', '5', 10),
            ('y', '6', 100),
            ('z', '5', 1),
            ('z', '6', 1000),
        ]
    }
    assert prices(storage, ['id', 'month']) == expected
    if isinstance(storage, SQLStorage):
        assert check(storage) == []


def test_a_deletion_takes_what_begins_in_it(storage):
    """Of the scope that is named, from its begin on and without its end."""
    for name in 'ab':
        storage.push([frame(MAY + hour * HOUR, point(name, 10**hour)) for hour in range(5)], name)

    storage.delete(MAY + HOUR, MAY + 3 * HOUR, {'project_id': 'a'})

    assert prices(storage, ['project_id']) == {('a',): 11001, ('b',): 11111}
    storage.delete(MAY + 4 * HOUR)
    assert prices(storage, ['project_id']) == {('a',): 1001, ('b',): 1111}
    storage.delete(None, MAY + HOUR)
    assert prices(storage, ['project_id']) == {('a',): 1000, ('b',): 1110}


def test_a_window_has_what_begins_in_it(storage):
    """Whatever is grouped by and filtered, over months, days, parts of days and pushed points."""
    begins = [MAY - 31 * DAY, MAY - DAY, MAY - HOUR, MAY, MAY + HOUR, MAY + DAY, JUNE - HOUR]
    begins += [JUNE, JUNE + HOUR, JUNE + 9 * DAY, JUNE + 31 * DAY]
    for name in 'ab':
        storage.push([frame(begin, point(name, 1), point(name, 2, 'y')) for begin in begins], name)
    storage.push([frame(begin, point('a', 4, 'z'), metric='credit') for begin in begins])
    edges = [MAY - 32 * DAY, MAY - DAY, MAY, MAY + HOUR, MAY + DAY, JUNE - HOUR / 2, JUNE]
    edges += [JUNE + HOUR, JUNE + 9 * DAY + HOUR / 2, JUNE + 40 * DAY]

    for begin, end in itertools.combinations(edges, 2):
        count = sum(begin <= one < end for one in begins)
        by_day = {}
        for one in begins:
            if begin <= one < end:
                day = (str(one.timetuple().tm_yday),)
                by_day[day] = by_day.get(day, 0) + 10
        window = (begin, end)
        assert prices(storage, ['project_id'], *window) == (
            {('a',): 7 * count, ('b',): 3 * count} if count else {}
        ), window
        assert prices(storage, ['type'], *window, filters={'project_id': 'a'}) == (
            {('cpu',): 3 * count, ('credit',): 4 * count} if count else {}
        ), window
        assert prices(storage, ['day_of_the_year'], *window) == by_day, window
        assert prices(storage, ['id'], *window, filters={'id': ['y', 'z']}) == (
            {('y',): 4 * count, ('z',): 4 * count} if count else {}
        ), window
        for wanted, price in (({'no': ''}, 10), ({'no': 'x'}, 0), ({'flavor': 'small'}, 10)):
            assert prices(storage, (), *window, filters=wanted) == (
                {(): price * count} if count and price else {}
            ), (window, wanted)
        if isinstance(storage, SQLStorage):
            assert prices(storage, ['flavor'], *window) == ({('',): 10 * count} if count else {})
        assert len(stored(storage, *window)) == 5 * count, window


@pytest.mark.parametrize('group, count', [('id', 3), ('time', 6)])
def test_a_page_beyond_the_end_knows_how_many_there_are(storage, group, count):
    storage.push(
        [frame(MAY + hour * HOUR, *(point('a', 1, one) for one in 'xyz')) for hour in range(6)],
        'a',
    )

    for offset in (0, count - 1, count, count + 5):
        for end in (JUNE, MAY + 6 * HOUR):
            page = storage.total([group], MAY, end, offset=offset, limit=2)
            assert page['total'] == count, (offset, end)
            assert len(page['results']) == max(min(2, count - offset), 0), (offset, end)


def test_pages_of_points_are_the_whole(storage):
    """Of any size, from any point on, whatever filters there are."""
    for name in 'ab':
        storage.push(
            [
                frame(
                    MAY + hour * HOUR,
                    *(point(name, f'{hour}.{number}', f'{name}{number}') for number in range(3)),
                )
                for hour in (0, 1, 23, 24, 25, 50)
            ],
            name,
        )
    storage.push([frame(MAY + HOUR, point('a', 9, 'p'))])
    wanted = (None, {'project_id': 'a'}, {'id': ['a1', 'b2', 'p']}, {'month': '5', 'id': 'b0'})

    for filters, begin in itertools.product(wanted, (MAY, MAY + HOUR)):
        whole = stored(storage, begin, JUNE, filters)
        for limit in (1, 2, 5, 7):
            found = []
            for offset in range(0, len(whole) + 1, limit):
                page = storage.retrieve(begin, JUNE, filters, offset=offset, limit=limit)
                assert page['total'] == len(whole)
                rows = [
                    (part.start, metric, one.groupby['project_id'], one.groupby['id'], one.price)
                    for part in page['dataframes']
                    for metric, one in part
                ]
                assert len(rows) == min(limit, len(whole) - offset), (filters, offset, limit)
                found += rows
            assert sorted(found) == whole, (filters, limit)


def test_pushed_points_are_added_or_replaced_one_by_one(storage):
    """A point of the same metric and attributes is replaced, all others stay."""
    storage.push([frame(MAY, point('a', 1, 'x'), point('a', 2, 'y'))])
    storage.push([frame(MAY, point('a', 4, 'y'), metric='disk')])
    storage.push([frame(MAY, point('b', 8, 'x'))])
    assert prices(storage, ['project_id']) == {('a',): 7, ('b',): 8}

    storage.push([frame(MAY, point('a', 16, 'y'), point('a', 32, 'z'))])

    assert stored(storage) == [
        (MAY, 'cpu', 'a', 'x', 1),
        (MAY, 'cpu', 'a', 'y', 16),
        (MAY, 'cpu', 'a', 'z', 32),
        (MAY, 'cpu', 'b', 'x', 8),
        (MAY, 'disk', 'a', 'y', 4),
    ]
    assert prices(storage, ['project_id']) == {('a',): 53, ('b',): 8}
