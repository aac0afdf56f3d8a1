"""Whatever the process of scripts answers, it becomes a frame that can be stored, or is refused."""

import contextlib
import json
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty import errors
from cloudkitty.core import decimals
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.rating.pyscripts import exchange
from cloudkitty.tests.unit.rating.pyscripts.conftest import frame, point

TAG = 'tag'
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.decimals(),
    st.sampled_from(['1.5', '-1e-9', 'nan', '9e99', '1' * 30, '\0', '\ud800']),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
ATTRIBUTES = st.one_of(
    VALUES, st.dictionaries(st.sampled_from(['project_id', 'a', 'month']), VALUES, max_size=2)
)
FORMS = st.fixed_dictionaries(
    {
        'vol': st.one_of(SCALARS, st.fixed_dictionaries({'unit': SCALARS, 'qty': SCALARS})),
        'groupby': ATTRIBUTES,
        'metadata': ATTRIBUTES,
    },
    optional={
        'rating': st.one_of(SCALARS, st.fixed_dictionaries({'price': SCALARS})),
        'more': SCALARS,
    },
)
ENTRIES = st.one_of(
    VALUES,
    st.integers(0, 1),
    st.tuples(st.one_of(st.none(), st.integers(-1, 2)), st.one_of(SCALARS, FORMS)).map(list),
)
USAGES = st.one_of(
    VALUES,
    st.dictionaries(
        st.one_of(st.sampled_from(['m', 'n']), st.text(max_size=3)),
        st.one_of(VALUES, st.lists(ENTRIES, max_size=3)),
        max_size=3,
    ),
)


@given(USAGES)
def test_an_answer_is_a_frame_that_can_be_stored_or_is_refused(usage):
    before = frame(point(), point(qty='2'))
    sent = exchange.encode(before, TAG)
    with contextlib.suppress(errors.InvalidInput):
        after = exchange.apply(sent, usage, 'project_id')
        assert isinstance(after, DataFrame)
        assert (after.start, after.end) == (before.start, before.end)
        for name, one in after:
            assert 0 < len(name) < 256
            assert decimals.on_grid(one.qty).is_finite()
            assert decimals.on_grid(one.price).is_finite()
            assert one.series.identity
            orjson.dumps([name, one.unit, one.groupby, one.metadata], default=str)


@given(st.one_of(VALUES, st.fixed_dictionaries({'error': VALUES})))
def test_a_failure_has_a_kind_and_a_detail(answer):
    failure = exchange.failure_of(answer)
    assert failure is None or all('\n' not in part for part in failure)


JSON = st.lists(st.integers() | st.text(max_size=3) | st.none(), max_size=3).map(json.dumps)


@given(st.binary(max_size=20) | JSON.map(str.encode))
def test_content_is_read_as_json_or_refused(content):
    try:
        expected = json.loads(content)
    except ValueError:
        with pytest.raises(errors.InvalidInput):
            exchange.decode(content, TAG)
    else:
        assert repr(exchange.decode(content, TAG)) == repr(expected)


@pytest.mark.parametrize(
    'text',
    [
        '{"tag": 1}',
        '{"tag": ["d", "x"]}',
        '{"tag": ["t", "x"]}',
        '{"tag": ["d", [1]]}',
        '[' * 100_000,
        '1' * 5000,
        '{"tag": ["d"]}',
        '{"tag": ["t", null]}',
    ],
)
def test_a_tag_that_means_nothing_is_refused(text):
    with pytest.raises(errors.InvalidInput):
        exchange.decode(text.encode(), TAG)


def test_numbers_keep_all_their_digits():
    number = Decimal('123456789012345678.000000000000000000000000000000000000001000')
    sent = exchange.encode(frame(point(qty=str(number), size=number)), TAG)
    ((_, qty, _, groupby, _),) = json.loads(sent.content)['usage']['m']
    assert qty == str(number)
    assert exchange.decode(json.dumps(groupby['size']).encode(), TAG).as_tuple() == (
        number.as_tuple()
    )
    assert sent.is_tagged
