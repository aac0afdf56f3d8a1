"""Points of rows, and what cannot be used of them."""

from decimal import Decimal

from cloudkitty.collector import point_builder
from cloudkitty.core import metrics
from cloudkitty.core.columns import NEGATIVE, NOT_NUMBERS, Column, Unusable
from cloudkitty.tests import history

(METRIC,) = metrics.parse(
    {'metrics': {'NAME': {'unit': 'x', 'groupby': ['id']}}},
    scope_key='project_id',
    check_extra_args=metrics.mapping,
).values()
PERIODS = [history.hour(number) for number in range(3)]


def test_numbers_that_cannot_be_stored_are_told_with_the_scope_and_the_period(caplog):
    """One log line for each reason; those of other scopes are not told."""
    gathered = point_builder.Gathering(METRIC, PERIODS, ['a', 'b'])
    for scope_id, hour, raw in (
        ('a', 2, Decimal('NaN')),
        ('a', 1, Decimal('Infinity')),
        ('a', 1, Decimal(4)),
        ('a', 0, Decimal('1e30')),
        ('a', 0, Decimal('1e999999')),
        ('b', 1, -1),
        ('c', 1, -1),
    ):
        gathered.add(scope_id, PERIODS[hour].begin, {'id': 'x', 'project_id': scope_id}, raw)

    found = list(gathered.found())

    columns = [(scope_id, one) for scope_id, one in found if isinstance(one, Column)]
    assert [(scope_id, list(one.offsets), list(one.quantities)) for scope_id, one in columns] == [
        ('a', [1], [4])
    ]
    assert found[len(columns) :] == [
        ('a', Unusable([0, 1, 2], NOT_NUMBERS)),
        ('b', Unusable([1], NEGATIVE)),
    ]
    assert [record.getMessage().partition(', scopes')[0] for record in caplog.records] == [
        'Metric NAME: 1 rows of other scopes skipped',
        'Metric NAME: 4 values that are NaN, infinite or too large left out',
        'Metric NAME: 1 values that are below 0 left out',
    ]


def test_offsets_are_those_of_the_batch():
    assert Unusable([0, 2], NEGATIVE).moved(3) == Unusable([3, 5], NEGATIVE)
