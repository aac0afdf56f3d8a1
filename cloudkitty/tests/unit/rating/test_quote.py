"""What things would cost: which scope each item is priced for, and the exact sum."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.rating import quote
from cloudkitty.rating.quote import Item

BEGIN = datetime(2024, 5, 1, 12, tzinfo=UTC)
PERIOD = Period(BEGIN, BEGIN + timedelta(hours=1))


class Tariff:
    """Modules that ask a price of each scope for one unit; they note what they see."""

    def __init__(self, **prices):
        self.prices = prices
        self.seen = []

    def quote(self, frame, scope_id):
        self.seen.append((scope_id, frame))
        unit_price = Decimal(self.prices[scope_id or 'nobody'])
        return DataFrame(
            frame.start,
            frame.end,
            {
                name: [point.set_price(point.qty * unit_price) for point in points]
                for name, points in frame.itertypes()
            },
        )


def item(service='instance', volume=1, **desc):
    return Item(service, desc, Decimal(volume))


def frames(*items):
    return quote.build_frames(items, scope_key='project_id', period=PERIOD)


@pytest.mark.parametrize(
    'desc, groupby, metadata',
    [
        ({}, {}, {}),
        ({'flavor': 'm1', 'vcpus': 2}, {}, {'flavor': 'm1', 'vcpus': 2}),
        ({'groupby': {'id': 'a'}}, {'id': 'a'}, {}),
        ({'groupby': None, 'metadata': None}, {}, {}),
        (
            {'groupby': {'id': 'a'}, 'metadata': {'flavor': 'm1'}, 'vcpus': 2},
            {'id': 'a'},
            {'flavor': 'm1', 'vcpus': 2},
        ),
        ({'metadata': {'flavor': 'm1'}, 'flavor': 'm2'}, {}, {'flavor': 'm1'}),
    ],
)
def test_flat_attributes_are_metadata_and_nested_ones_win(desc, groupby, metadata):
    assert quote.attributes_of(desc) == (groupby, metadata)


@pytest.mark.parametrize('name', ['groupby', 'metadata'])
@pytest.mark.parametrize('value', [[], 'x', 1])
def test_nested_attributes_must_be_an_object(name, value):
    with pytest.raises(errors.InvalidInput, match=f'{name}. Value: .* A JSON object is expected'):
        quote.attributes_of({name: value})


def test_items_are_priced_for_the_scope_they_name():
    """Two projects and nobody in particular: three frames, each with its own items."""
    found = frames(
        item(groupby={'project_id': 'a'}, flavor='m1'),
        item('volume', 2, groupby={'project_id': 'b'}),
        item(project_id='c'),
        item('volume', 3, groupby={'project_id': 'a'}),
    )

    assert found == {
        'a': DataFrame(
            *PERIOD,
            {
                'instance': [DataPoint('undef', 1, 0, {'project_id': 'a'}, {'flavor': 'm1'})],
                'volume': [DataPoint('undef', 3, 0, {'project_id': 'a'}, {})],
            },
        ),
        'b': DataFrame(*PERIOD, {'volume': [DataPoint('undef', 2, 0, {'project_id': 'b'}, {})]}),
        None: DataFrame(*PERIOD, {'instance': [DataPoint('undef', 1, 0, {}, {'project_id': 'c'})]}),
    }


@pytest.mark.parametrize('scope_id', [1, True, ['a'], {'id': 'a'}])
def test_a_scope_that_is_no_text_is_refused(scope_id):
    with pytest.raises(errors.InvalidInput, match='project_id. Value: .* Text is expected'):
        frames(item(groupby={'project_id': scope_id}))


def test_the_total_is_the_exact_sum_over_all_scopes():
    """Digits far apart are not rounded away: a sum has as many as it needs."""
    tariff = Tariff(a='1e15', b='1e-28', nobody='0.3')
    asked = frames(
        item(groupby={'project_id': 'a'}),
        item(groupby={'project_id': 'b'}),
        item('volume', 2, groupby={'project_id': 'b'}),
        item(),
    )

    total = quote.total_price(tariff, asked)

    assert total == Decimal('1000000000000000.3000000000000000000000000003')
    assert tariff.seen == list(asked.items())


def test_nothing_costs_nothing():
    assert quote.total_price(Tariff(), frames()) == 0
