"""Rules over time, and a book that many scopes, services and periods share."""

import gc
from decimal import Decimal

import pytest

from cloudkitty.core import dataframe
from cloudkitty.core.pricing import book
from cloudkitty.tests.unit.core.pricing.tariffs import HOUR, NOON, flat, level, price, rate


def test_a_book_that_has_priced_much_prices_like_a_new_one():
    """Several services, scopes and times: whatever was asked before, the rules decide."""
    rules = [
        flat('1', start=NOON - 9 * HOUR, end=NOON),
        flat('2', start=NOON),
        flat('3', scope='t1', start=NOON - HOUR, end=NOON + HOUR),
        flat('4', field='flavor', value='m1'),
        flat('5', field='flavor', value='m1', scope='t2', end=NOON),
        flat('6', field='month', value='5', group='m'),
        flat('7', service='volume'),
        flat('10', service='disk'),
        rate('0.5', service='volume', scope='t1', level=level(2)),
        flat('8', service='volume', scope='t2', start=NOON),
        flat('9', service='lent', scope='t3'),
    ]
    questions = [
        (service, scope, flavor, month, NOON + hours * HOUR)
        for hours in (-10, -2, -1, 0, 1, 2)
        for scope in ('t0', 't1', 't2', 't3', None)
        for service in ('instance', 'volume', 'disk', 'lent')
        for flavor in ('m1', 'm2')
        for month in ('5', '6')
    ]
    seen = book.RuleBook(rules)
    for service, scope, flavor, month, instant in [*questions, *reversed(questions)]:
        series = dataframe.Series('u', {}, {'flavor': flavor})
        one = dataframe.DataPoint.of(series, Decimal(3), calendar={'month': month})
        fresh, _ = book.RuleBook(rules).price_points(service, [one], scope=scope, instant=instant)

        priced, _ = seen.price_points(service, [one], scope=scope, instant=instant)

        assert priced[0].price == fresh[0].price, (service, scope, flavor, month, instant)


def test_a_service_that_only_one_scope_has_rules_of_costs_the_others_nothing():
    rules = [flat('9', scope='t1')]
    assert [price(rules, 1, scope=scope) for scope in ('t1', 't0', None)] == [9, 0, 0]


@pytest.mark.parametrize(
    'end, deleted, hours',
    [
        (2, 1, 1),
        (1, 2, 1),
        (None, 1, 1),
        (1, None, 1),
        (2, 2, 2),
    ],
)
@pytest.mark.parametrize('add', [flat, lambda cost, **more: flat(cost, level=level(0), **more)])
def test_a_rule_is_over_at_its_end_or_its_deletion_whichever_is_first(add, end, deleted, hours):
    """A mapping that was deleted before its end bills no more; its end changes nothing then."""
    instants = {
        'end': end and NOON + end * HOUR,
        'deleted': deleted and NOON + deleted * HOUR,
    }
    rules = [add('1', **instants)]

    prices = [price(rules, 1, instant=NOON + number * HOUR) for number in range(4)]

    assert prices == [1] * hours + [0] * (4 - hours)


def test_of_two_deleted_mappings_the_one_deleted_last_decides():
    """It is the later correction of the two."""
    start = NOON - 9 * HOUR
    first = flat('1', start=start, deleted=NOON - HOUR, order=2)
    second = flat('2', start=start, deleted=NOON, order=1)
    for rules in ([first, second], [second, first]):
        assert price(rules, 1, instant=NOON - 2 * HOUR) == 2


def test_plans_that_were_forgotten_are_worked_out_again():
    """Beyond the bound every point still gets its price."""
    compiled = book.RuleBook([flat('2')], formulas_max=3)
    for count in range(1, 9):
        points = [dataframe.DataPoint('u', 1, 0, {'n': n}, {}) for n in range(count)]
        priced, _ = compiled.price_points('instance', points, scope=None, instant=NOON)
        assert [point.price for point in priced] == [2] * count


@pytest.mark.parametrize(
    'levels, qty, expected',
    [
        (('2', '1'), 2, '6'),
        (('1', '2'), 2, '12'),
        (('2', '2'), 2, '6'),
    ],
)
def test_of_the_thresholds_of_two_fields_the_highest_counts(levels, qty, expected):
    """At equal levels it is that of the field whose name comes first."""
    rules = [
        flat('1'),
        rate('3', field='a', level=level(levels[0])),
        rate('6', field='b', level=level(levels[1])),
    ]
    assert price(rules, qty, {'a': 5, 'b': 5}) == Decimal(expected)


def test_groups_are_added_in_the_order_of_their_names_the_default_one_first():
    """Where the sum has more than 28 digits, the order makes the last one."""
    big, small = '1000000000000000000000000000', '0.5'
    rules = [flat(small), flat(big, group='b'), flat(small, group='c'), flat(small, group='a')]
    assert price(rules, 1) == Decimal('1000000000000000000000000002')


def test_what_a_price_has_before_stays_in_it():
    """Rules with and without thresholds, of one group and of several, add to it."""
    for rules, expected in (
        ([flat('1')], 12),
        ([flat('1'), flat('3', level=level(2))], 15),
        ([flat('1'), flat('3', level=level(5))], 12),
        ([flat('3', level=level(2), group='g')], 13),
        ([flat('3', level=level(5), group='g')], 10),
        ([flat('1'), flat('1', group='a'), flat('3', level=level(2), group='b')], 17),
    ):
        assert price(rules, 2, incoming=10) == expected


def _alive(kind):
    """Return how many objects of a kind there are."""
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def test_a_book_keeps_a_bounded_number_of_series():
    """What is forgotten is gone from the memory, too."""
    compiled = book.RuleBook([flat('1')], formulas_max=10)
    before = _alive(dataframe.Series)
    for number in range(50):
        point = dataframe.DataPoint('u', 1, 0, {'n': number}, {})
        compiled.price_points('instance', [point], scope=None, instant=NOON)
    del point
    assert _alive(dataframe.Series) <= before + 11


def test_a_book_keeps_rules_of_a_bounded_number_of_scopes_and_times(monkeypatch):
    """Beyond the bound everybody pays what the rules say still."""
    monkeypatch.setattr(book, 'COMPILED_MAX', 4)
    scopes = [f't{number}' for number in range(20)]
    compiled = book.RuleBook(
        [flat('1'), *(flat(str(n + 2), scope=scope) for n, scope in enumerate(scopes))]
    )
    before = _alive(book.ServiceRules)
    for _ in range(2):
        for number, scope in enumerate(scopes):
            point = dataframe.DataPoint('u', 1, 0, {}, {})
            priced, _ = compiled.price_points('instance', [point], scope=scope, instant=NOON)
            assert priced[0].price == number + 2
    assert _alive(book.ServiceRules) <= before + 4


def test_a_book_keeps_a_bounded_number_of_values():
    """Attributes that are never the same again do not fill the memory."""
    compiled = book.RuleBook([flat('1'), flat('2', field='f', value='7')], formulas_max=3)
    before = _alive(book.formula.Formula)
    for number in range(40):
        point = dataframe.DataPoint('u', 1, 0, {'f': number}, {})
        priced, _ = compiled.price_points('instance', [point], scope=None, instant=NOON)
        assert priced[0].price == (2 if number == 7 else 1)
    assert _alive(book.formula.Formula) <= before + 8


@pytest.mark.parametrize(
    'thresholds, expected',
    [
        ([], '24'),
        ([flat('3', field='ram', level=level(1))], '60'),
        ([rate('3', field='ram', level=level(1))], '72'),
        ([flat('3', level=level(1))], '27'),
        ([rate('3', level=level(1))], '72'),
    ],
)
def test_each_kind_of_threshold_meets_flat_rate_and_quantity(thresholds, expected):
    """The five lines of the table in the documentation, for flat 2, rate 3 and quantity 4."""
    rules = [flat('2'), rate('3', field='vcpus', value='2'), *thresholds]
    assert price(rules, 4, {'vcpus': 2, 'ram': 5}) == Decimal(expected)
