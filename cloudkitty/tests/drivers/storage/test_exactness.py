"""Totals equal Python's decimals, whatever was stored, replaced and deleted."""

import decimal
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from cloudkitty.core import block, decimals, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.core.decimals import SUM_CONTEXT
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.db import tables
from cloudkitty.storage.v2.sql import SQLStorage

START = datetime(2024, 1, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBERS = st.decimals(min_value=Decimal('-1e12'), max_value=Decimal('1e12'), places=28) | (
    st.sampled_from(
        [
            Decimal('0.1'),
            Decimal(1),
            Decimal('1e-28'),
            Decimal(0),
            Decimal('12345678901234567890.123456789'),
        ]
    )
)
POINTS = st.lists(
    st.tuples(st.sampled_from(['cpu', 'disk']), st.sampled_from('xyz'), NUMBERS, NUMBERS),
    max_size=4,
)
HOURS = st.integers(0, 80)  # two days of January, the leap day is not far
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just('push'), HOURS, st.sampled_from('ab'), POINTS),
        st.tuples(st.just('delete'), HOURS, st.sampled_from('ab'), HOURS),
    ),
    max_size=12,
)
WINDOWS = st.tuples(HOURS, HOURS)
GROUPS = st.sampled_from(
    [
        (),
        ('type',),
        ('project_id',),
        ('id', 'type'),
        ('time-m',),
        ('time-d', 'project_id'),
        ('time-w',),
        ('time-y', 'id'),
        ('time',),
        ('time', 'type'),
        ('absent', 'type'),
    ]
)
FILTERS = st.sampled_from(
    [
        {},
        {},
        {'project_id': 'a'},
        {'project_id': ['a', 'b']},
        {'id': ['x', 'y']},
        {'type': 'cpu'},
        {'month': '1'},
        {'day_of_the_year': ['31', '32'], 'id': 'x'},
        {'project_id': 'b', 'id': 'z'},
        {'absent': ''},
        {'id': []},
    ]
)
COLUMNS = {
    'time-m': 'month',
    'time-d': 'day_of_the_year',
    'time-w': 'week_of_the_year',
    'time-y': 'year',
}


@hypothesis.given(steps=STEPS, window=WINDOWS, groups=GROUPS, filters=FILTERS)
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_every_total_is_the_sum_of_what_is_stored(
    any_database, any_conf, steps, window, groups, filters
):
    """Whatever was stored, replaced and deleted; pages and other functions agree."""
    storage = SQLStorage(any_conf)
    storage.delete()
    stored = {}
    for kind, hour, project, what in steps:
        if kind == 'push':
            push(storage, stored, hour, project, what)
        else:
            storage.delete(START + hour * HOUR, START + what * HOUR, {'project_id': project})
            for key in [key for key in stored if key[1] == project and hour <= key[0] < what]:
                del stored[key]

    begin, end = (START + hour * HOUR for hour in sorted(window))
    answer = storage.total(list(groups), begin, end, filters=filters, paginate=False)
    page = storage.total(list(groups), begin, end, filters=filters, offset=1, limit=2)
    other = storage.total(
        list(groups),
        begin,
        end,
        filters=filters,
        custom_fields='count(qty) AS n, max(price) AS top, sum(qty) AS qty',
    )
    points = storage.retrieve(begin, end, filters, paginate=False)
    pages = [
        storage.retrieve(begin, end, filters, offset=n, limit=3)
        for n in range(0, points['total'], 3)
    ]
    storage.database.engine.dispose()

    found = expected(stored, (begin, end), groups, filters)
    assert actual(answer, groups, ('qty', 'rate')) == [
        (key, total_of(qtys), total_of(prices)) for key, (qtys, prices) in found
    ]
    assert (page['total'], page['results']) == (len(found), answer['results'][1:3])
    assert actual(other, groups, ('n', 'top', 'qty')) == [
        (key, len(qtys), max(prices), total_of(qtys)) for key, (qtys, prices) in found
    ]
    assert points['total'] == sum(len(qtys) for _, (qtys, _) in found)
    paged = [point for one in pages for point in flatten(one)]
    assert [begin for begin, *_ in paged] == [begin for begin, *_ in flatten(points)]
    # Within a period a frame shows its points by metric, a page only those that lie on it.
    assert sorted(paged, key=repr) == sorted(flatten(points), key=repr)


ODD = st.sampled_from(
    [Decimal(one) for one in ('0.00', '0E-40', '1E+3', '1.50', '-0', f'0.{"1" * 45}', '0.125')]
)
AMOUNTS = NUMBERS | ODD
RATED = st.tuples(AMOUNTS, st.sampled_from([Decimal('0.0123'), Decimal(2)])).map(
    lambda pair: (pair[0], decimals.CONTEXT.multiply(*pair))
)
PERIODS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(['cpu', 'disk']),
            st.sampled_from('xyz'),
            RATED | st.tuples(AMOUNTS, AMOUNTS),
        ),
        min_size=1,
        max_size=5,
    ),
    min_size=1,
    max_size=4,
)


@hypothesis.given(periods=PERIODS)
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_rows_hold_byte_for_byte_what_they_hold_of_periods_alone(any_database, any_conf, periods):
    """Series that come and go, change their order or come twice; numbers that need rounding."""
    storage = SQLStorage(any_conf)
    frames = []
    for hour, points in enumerate(periods):
        frames.append(DataFrame(START + (22 + hour) * HOUR, START + (23 + hour) * HOUR))
        for metric, resource, (qty, price) in points:
            point = DataPoint('u', qty, price, {'project_id': 'a', 'id': resource}, {})
            frames[-1].add_point(point, metric)

    storage.push(ScopePeriods.of_frames('a', frames), 'a')
    together = rows_of(storage)
    storage.delete()
    for frame in frames:
        storage.push([frame], 'a')
    alone = rows_of(storage)
    storage.delete()
    storage.database.engine.dispose()

    assert together == alone
    for row, frame in zip(together[0], frames, strict=True):
        assert row.block == reference_block(storage, frame)


def rows_of(storage):
    """Return what is stored of frames, and of each roll-up."""
    found = []
    with storage.database.reader() as connection:
        for table in (
            tables.rated_frames,
            tables.rated_days,
            tables.rated_series_months,
            tables.rated_totals,
            tables.rated_months,
        ):
            keys = list(table.primary_key.columns)
            found.append(connection.execute(sa.select(table).order_by(*keys)).all())
    return found


def reference_block(storage, frame):
    """Return the block of a frame as the page on storage describes it."""
    ids = {}
    with storage.database.reader() as connection:
        for row in connection.execute(sa.select(tables.rated_series)):
            ids[row.metric, json.loads(row.groupby)['id']] = row.id
    members = sorted(frame, key=lambda member: ids[member.name, member.point.groupby['id']])
    columns = [[one.point.qty for one in members], [one.point.price for one in members]]
    texts = []
    for column in columns:
        found = [str(one) for one in column]
        if any(len(text) > decimals.INTEGER_DIGITS_MAX or 'E' in text for text in found):
            found = [str(decimals.on_grid(one)) for one in column]
        texts.append(found)
    return block.encode([ids[one.name, one.point.groupby['id']] for one in members], *texts)


def push(storage, stored, hour, project, what):
    frame = DataFrame(START + hour * HOUR, START + (hour + 1) * HOUR)
    for metric, resource, qty, price in what:
        frame.add_point(
            DataPoint('u', qty, price, {'project_id': project, 'id': resource}, {}), metric
        )
    storage.push([frame], project)
    stored[hour, project] = what


def expected(stored, window, groups, filters):
    """Return (group key, (quantities, prices)), sorted."""
    found = defaultdict(lambda: ([], []))
    for (hour, project), what in stored.items():
        at = START + hour * HOUR
        if not window[0] <= at < window[1]:
            continue
        for metric, resource, qty, price in what:
            names = {
                'type': metric,
                'project_id': project,
                'id': resource,
                'absent': '',
                'time': (at, at + HOUR),
                **timeframe.calendar_of(at),
            }
            if all(names[name] in values for name, values in filters.items()):
                columns = found[tuple(names[COLUMNS.get(group, group)] for group in groups)]
                columns[0].append(qty)
                columns[1].append(price)
    return sorted(found.items())


def total_of(numbers):
    with decimal.localcontext(SUM_CONTEXT):
        return sum(numbers, Decimal(0))


def actual(answer, groups, fields):
    return [
        (
            tuple(
                (row['begin'], row['end']) if group == 'time' else row[COLUMNS.get(group, group)]
                for group in groups
            ),
            *(row[field] for field in fields),
        )
        for row in answer['results']
    ]


def flatten(answer):
    return [(frame.start, name, point) for frame in answer['dataframes'] for name, point in frame]


@pytest.mark.timeout(900)
def test_a_million_small_prices_have_an_exact_sum(any_database, any_conf):
    """0.0123 a million times is 12300, whether summed by month, by day or point by point."""
    storage = SQLStorage(any_conf)
    series = [Series('u', {'project_id': 'a', 'id': str(n)}, {}) for n in range(2500)]
    price = Decimal('0.0123')
    points = [DataPoint.of(one, Decimal(1), price) for one in series]
    begins = [START + hour * HOUR for hour in range(400)]
    for part in (begins[n : n + 50] for n in range(0, 400, 50)):
        storage.push([DataFrame(begin, begin + HOUR, {'cpu': points}) for begin in part], 'a')

    whole = storage.total([], START, START + timedelta(days=40))
    by_series = storage.total(['id'], START, START + timedelta(days=40), limit=1)
    cut = storage.total([], START + HOUR / 2, START + timedelta(days=40))
    storage.database.engine.dispose()

    assert [(row['qty'], row['rate']) for row in whole['results']] == [(1000000, 12300)]
    assert [(row['qty'], row['rate']) for row in by_series['results']] == [(400, Decimal('4.92'))]
    assert [row['rate'] for row in cut['results']] == [12300 - 2500 * price]
