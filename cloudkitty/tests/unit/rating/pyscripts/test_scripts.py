"""What scripts see, what they may change, and what becomes of it.

Source: doc/source/contributor/compatibility/rating.rst, "Scripts".
"""

from datetime import datetime
from decimal import Decimal

import pytest

from cloudkitty.core.dataframe import DataPoint, Series
from cloudkitty.tests.unit.rating.pyscripts.conftest import HOUR, START, frame, point, script

FIRST = "item = data['usage']['m'][0]\n"
CALENDAR = {'week_of_the_year': '17', 'day_of_the_year': '122', 'month': '5', 'year': '2024'}


def only(rated, name='m'):
    (found,) = rated.usage[name]
    return found


def test_a_script_sees_the_mutable_dict_of_the_frame(pool):
    """Nothing else is there: no scope, no description; numbers are decimals, times are aware."""
    given = frame(
        point(
            '1.50',
            '1E+3',
            tags=['a', {'b': None}],
            size=Decimal('0.10'),
            big=2**60,
            on=True,
            ratio=0.1,
            since=START,
        )
    )
    seen = only(
        pool.rate(
            given,
            FIRST
            + (
                'names = sorted(name for name in globals()\n'
                "               if name[:2] != '__' and name != 'item')\n"
                "item['metadata']['seen'] = repr(names) + repr(data)"
            ),
        )
    )
    expected = given.as_dict(mutable=True)
    names, _, form = seen.metadata['seen'].partition(']')
    assert names == "['data'"
    assert eval(form, {'Decimal': Decimal, 'datetime': __import__('datetime')}) == expected


@pytest.mark.parametrize(
    'change, price',
    [
        ("item['rating']['price'] = item['vol']['qty'] * 2", '9'),
        ("item['rating'] = {'price': 0.1}", '0.1'),
        ("item['rating'] = {'price': 7}", '7'),
        ("item['rating'] = {'price': '1e-9'}", '0.000000001'),
        ("item['rating']['price'] = True", '1'),
        ("del item['rating']", '0'),
        ("item['rating'] = {}", '0'),
        ("item['rating'] = None", '0'),
        (
            "from decimal import *; item['rating']['price'] = Decimal(1) / 3",
            '0.3333333333333333333333333333',
        ),
    ],
)
def test_a_price_is_what_the_script_makes_it(pool, change, price):
    before = point('4.5', '3')
    after = only(pool.rate(frame(before), FIRST + change))
    assert after.price == Decimal(price)
    assert after.series is before.series
    assert (after.qty, after.calendar) == (before.qty, before.calendar)


@pytest.mark.parametrize(
    'source',
    [
        '',
        'data = data',
        "data['usage']['m'][0]['rating']['price']",
        "data['usage']['empty'] = []",
        FIRST + "item['metadata'] = dict(item['metadata'])",
        "data['period']['begin'] = data['period']['begin'].isoformat()"
        "\ndata['usage'] = dict(data['usage'])",
    ],
)
def test_what_is_left_alone_is_the_same_frame(pool, source):
    given = frame(point(), point(a='b'), other=[point(qty=1)])
    assert pool.rate(given, source) is given


def test_points_that_are_left_alone_are_the_same_objects(pool):
    left, changed = point(), point(a='b')
    rated = pool.rate(frame(left, changed), "data['usage']['m'][1]['rating']['price'] = 5")
    assert rated.usage['m'][0] is left
    assert rated.usage['m'][1].series is changed.series
    assert rated.usage['m'][1].price == 5


def test_attributes_and_quantities_can_be_changed(pool):
    """The description stays, and the calendar stays apart from the series."""
    rated = only(
        pool.rate(
            frame(point()),
            FIRST
            + (
                "item['vol'] = {'qty': '2.50', 'unit': ''}\n"
                "item['groupby']['project_id'] = 'q'\n"
                "item['groupby']['list'] = [('a', 1)]\n"
                "item['metadata'] = [('flavor', 'm2'), ('size', 1.5)]\n"
            ),
        )
    )
    assert rated.series == Series(
        '', {'project_id': 'q', 'list': [['a', 1]]}, {'flavor': 'm2', 'size': 1.5}, 'what it is'
    )
    assert (rated.unit, rated.qty, rated.calendar) == ('undefined', Decimal('2.50'), CALENDAR)


@pytest.mark.parametrize(
    'change, value', [('int(old)', 1), ('True', True), ('str(old)', '1.0'), ('old', 1.0)]
)
def test_the_type_of_an_attribute_can_be_changed(pool, change, value):
    """Equal numbers are spelled in different ways, and rules look at the spelling."""
    before = point(cpus=1.0)
    rated = only(
        pool.rate(
            frame(before),
            FIRST + (f"old = item['groupby']['cpus']; item['groupby']['cpus'] = {change}"),
        )
    )
    assert repr(rated.groupby['cpus']) == repr(value)
    assert (rated.series is before.series) is (change == 'old')


def test_a_change_inside_an_attribute_is_seen(pool):
    before, other = point(tags=['a']), point(tags=[{'x': 1}])
    rated = pool.rate(
        frame(before, other), "data['usage']['m'][1]['groupby']['tags'][0]['x'] = 1.0"
    )
    assert rated.usage['m'][0].series is before.series
    assert repr(rated.usage['m'][1].groupby['tags']) == "[{'x': 1.0}]"


def test_a_changed_calendar_attribute_belongs_to_the_series(pool):
    rated = only(
        pool.rate(
            frame(point()),
            FIRST + ("item['groupby']['month'] = 'May'; del item['groupby']['year']"),
        )
    )
    assert rated.series.groupby == {'project_id': 'p', 'month': 'May'}
    assert rated.calendar == {'week_of_the_year': '17', 'day_of_the_year': '122'}


def test_points_can_be_added_doubled_moved_and_removed(pool):
    """New ones get the description of their metric, and the calendar of the frame."""
    given = frame(point('1'), point('2'), gone=[point()], idle=[point('9')])
    rated = pool.rate(
        given,
        (
            'import copy\n'
            "m = data['usage']['m']\n"
            'twin = copy.deepcopy(m[0])\n'
            "data['usage'].update(m=[m[1], m[1], twin], moved=(m[0],), idle=[])\n"
            "data['usage']['made'] = iter([{'vol': {'qty': 3, 'unit': 'x'},\n"
            "    'groupby': {'a': 'b'}, 'metadata': {}}])\n"
            "del data['usage']['gone']"
        ),
    )
    first, second = given.usage['m']
    assert list(rated.usage) == ['m', 'made', 'moved']
    assert rated.usage['m'] == [second, second, first]
    assert rated.usage['m'][0] is second
    assert rated.usage['m'][2].calendar == CALENDAR
    assert only(rated, 'moved') is first
    assert only(rated, 'made') == DataPoint('x', 3, 0, {'a': 'b'}, {})


def test_data_can_be_another_frame(pool):
    rated = pool.rate(
        frame(point()),
        (
            "data = {'period': data['period'], 'usage': {'n': [{'vol': {'unit': 'x', 'qty': 1},\n"
            "'rating': {'price': 2}, 'groupby': {}, 'metadata': {}}]}}"
        ),
    )
    assert [(name, one.price) for name, one in rated] == [('n', 2)]


def test_scripts_are_chained(pool):
    rated = pool.rate(
        frame(point(price='1')),
        *(
            f"for item in data['usage']['m']: item['rating']['price'] {change}"
            for change in ('+= 2', '*= 10', '-= 1')
        ),
    )
    assert only(rated).price == 29


def test_a_frame_without_scripts_or_points_is_left_alone(pool):
    given = frame(point())
    assert pool.rate(given) is given
    empty = frame()
    assert pool.rate(empty, "data['usage'].get('m')") is empty


def test_a_big_frame_goes_through(make_pool):
    given = frame(*(point(qty=str(number), name='x' * 200) for number in range(5000)))
    rated = make_pool().rate(
        given, "for item in data['usage']['m']: item['rating']['price'] = item['vol']['qty']"
    )
    assert sum(one.price for _, one in rated) == sum(range(5000))


def test_a_script_is_compiled_once_for_each_checksum(make_pool, monkeypatch):
    """Its source is sent once, and once more to a new process."""
    pool = make_pool()
    asked = []
    given = frame(point())
    one, other = script('a = 1'), script('a = 2')
    process = pool.host._ready()
    send = process._send
    monkeypatch.setattr(
        process,
        '_send',
        lambda message, deadline: (asked.append(b'"source"' in message), send(message, deadline)),
    )
    for source in (one, one, other, other, one):
        pool.rate(given, source)
    assert asked == [True, False, True, False, False]
    assert pool.host._ready() is process


@pytest.mark.parametrize(
    'hours, names',
    [
        (-2, []),
        (-1, ['ended', 'deleted']),
        (0, ['deleted', 'a', 'b']),
        (1, ['a', 'b']),
        (9, ['a', 'b', 'late']),
    ],
)
def test_scripts_are_chosen_by_the_start_of_the_period(pool, hours, names):
    """Start inclusive, end exclusive; a deleted one is still for what began before."""
    early = START - HOUR
    scripts = [
        script('', 'ended', start=early, end=START),
        script('', 'deleted', start=early, end=START + 5 * HOUR, deleted=START + HOUR / 2),
        script('', 'a'),
        script('', 'b'),
        script('', 'late', start=START + 9 * HOUR),
    ]
    instant: datetime = START + hours * HOUR
    assert [one.name for one in scripts if one.is_valid(instant)] == names
