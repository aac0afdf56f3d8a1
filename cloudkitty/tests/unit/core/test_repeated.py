"""What is computed once for each distinct value is what would be computed for each item."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from cloudkitty.core import decimals, repeated
from cloudkitty.core.columns import Column
from cloudkitty.core.dataframe import Series
from cloudkitty.core.pricing.formula import Formula, Term
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.series import frame_rows

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Equal numbers with other digits are other items.
TEXTS = st.sampled_from(['0', '0.00', '1', '1.0', '1.5', '3E+3', '0.1234567890123456789012345678'])


@hypothesis.given(st.lists(TEXTS, max_size=12))
def test_repeated_items_are_the_items(texts):
    found = repeated.find(texts)

    assert list(found) == texts
    assert set(repeated.distinct_of(found)) == set(texts)
    assert list(repeated.apply(len, found)) == list(map(len, texts))
    assert list(repeated.constant(7, found)) == [7] * len(texts)


@pytest.mark.parametrize(
    'texts, expected', [(['1'] * 4, 1), (['1', '2'] * 4, 2), (['1', '1', '1', '2'], 2)]
)
def test_a_function_is_called_once_for_each_distinct_value(texts, expected):
    calls = []

    repeated.apply(calls.append, repeated.find(texts))

    assert len(calls) == expected


@pytest.mark.parametrize('texts', [[], ['1'] * 3, ['1', '2', '3', '4', '1', '2', '3'], '12345'])
def test_items_that_hardly_repeat_are_left_as_they_are(texts):
    assert repeated.find(texts) is texts


def test_columns_share_a_pattern_if_one_was_made_from_the_other():
    one, other = (repeated.find(['1', '2'] * 3) for _ in range(2))

    assert repeated.spread_of(one, one.map(Decimal)) is one.spread
    assert repeated.spread_of(one, other) is None
    assert repeated.spread_of(one, list(one)) is None
    assert repeated.spread_of(list(one), one) is None


# Products of them are rounded, and have exponents above and below 0.
NUMBERS = st.decimals('-1e25', '1e25', allow_nan=False) | st.sampled_from(
    [Decimal(text) for text in ('0', '-0.0', '2E+7', '0.00', '1E-20', '1.0')]
)


@hypothesis.given(
    st.lists(NUMBERS, min_size=1, max_size=6),
    st.lists(st.just(Decimal(0)) | NUMBERS, min_size=1, max_size=2),
    st.lists(NUMBERS, min_size=1, max_size=3),
)
def test_prices_of_a_column_are_those_of_its_points(quantities, prices, factors):
    """To the last digit, whether the prices before were 0 or not, and whether values repeat."""
    plan = Formula([Term(factor) for factor in factors])
    before = [prices[place % len(prices)] for place in range(len(quantities))]
    expected = [str(plan.price(qty, price)) for qty, price in zip(quantities, before, strict=True)]

    assert list(map(str, plan.prices(quantities, before))) == expected

    places = [place for place in range(len(quantities)) for _ in range(4)]
    random.Random(1).shuffle(places)
    pattern = repeated.find(places)
    distinct = pattern.distinct
    found = plan.prices(
        repeated.Repeated.of([quantities[place] for place in distinct], pattern.spread),
        repeated.Repeated.of([before[place] for place in distinct], pattern.spread),
    )

    assert list(map(str, found)) == [expected[place] for place in places]
    assert len(repeated.distinct_of(found)) == len(quantities)


COLUMNS = st.lists(
    st.tuples(
        st.lists(TEXTS, min_size=8, max_size=8),
        st.sampled_from(['0', '1', '0.0123', '0.00000123456789', '1E+2']),
    ),
    max_size=6,
)


@hypothesis.given(COLUMNS)
def test_rows_of_repeated_numbers_are_those_of_the_same_numbers(columns):
    frames, sums = [], []
    for is_repeated in (True, False):
        made = []
        for texts, rate in columns:
            items = repeated.find(texts) if is_repeated else texts
            quantities = repeated.apply(Decimal, items)
            prices = repeated.apply(
                lambda qty, rate=rate: decimals.CONTEXT.multiply(qty, Decimal(rate)), quantities
            )
            made.append(Column('m', Series('u', {}, {}), range(8), quantities, prices))
        periods = [Period(BEGIN + n * HOUR, BEGIN + (n + 1) * HOUR) for n in range(8)]
        layout = frame_rows.Layout(range(len(made)), range(len(made)), '')
        part = frame_rows.Part(0, ScopePeriods('s', periods, made, offsets=range(8)))
        numbered = frame_rows._numbered(part, 1, made, layout)
        frames.append([frame.block for frame in numbered.frames])
        sums.append([str(sum(frame.prices)) for frame in numbered.frames])

    assert frames[0] == frames[1]
    assert sums[0] == sums[1]
