"""Parameters of v2 requests."""

from datetime import UTC, datetime

import pytest
from webob.multidict import MultiDict

from cloudkitty import errors
from cloudkitty.api import parameters

PARAMETERS = parameters.PAGE | {
    'begin': parameters.TIME,
    'names': parameters.many(),
    'few': parameters.many(parameters.attribute, maximum=2),
    'filters': parameters.map_many(),
    'only': parameters.map_one(),
    'word': parameters.one(parameters.choice('a', 'b'), default='a'),
}
DEFAULTS = {
    'offset': 0,
    'limit': 100,
    'begin': None,
    'names': None,
    'few': None,
    'filters': None,
    'only': None,
    'word': 'a',
}
TAKEN = [
    ([], {}),
    ([('offset', '3'), ('limit', '1')], {'offset': 3, 'limit': 1}),
    ([('names', '1,2'), ('names', '3')], {'names': ['1', '2', '3']}),
    ([('few', 'a,b')], {'few': ['a', 'b']}),
    ([('names', 'a,')], {'names': ['a', '']}),
    ([('filters', 'a:1,b:2'), ('filters', 'a:3')], {'filters': {'a': ['1', '3'], 'b': ['2']}}),
    ([('filters', 'a:')], {'filters': {'a': ['']}}),
    ([('filters', 'a:b:c')], {'filters': {'a': ['b:c']}}),
    ([('only', 'a:1,b:2')], {'only': {'a': '1', 'b': '2'}}),
    ([('begin', '2019-01')], {'begin': datetime(2019, 1, 1, tzinfo=UTC)}),
    ([('begin', '2019-01-01 00:00:00+01:00')], {'begin': datetime(2018, 12, 31, 23, tzinfo=UTC)}),
    ([('begin', '20190101T000000.9Z')], {'begin': datetime(2019, 1, 1, tzinfo=UTC)}),
]
REFUSED = [
    [('nope', '1')],
    [('offset', '-1')],
    [('offset', 'abc')],
    [('offset', '1.5')],
    [('offset', '')],
    [('limit', '0')],
    [('limit', '1'), ('limit', '1')],
    [('filters', '')],
    [('filters', 'a')],
    [('filters', ':a')],
    [('filters', 'a:1,')],
    [('only', 'a:1,a:2')],
    [('begin', '1546300800')],
    [('begin', '')],
    [('begin', '2019-W01')],
    [('word', 'c')],
    [('offset', '٣')],
    [('names', 'a,' * parameters.VALUES_MAX)],
    [('few', 'a,b,c')],
    [('few', 'x' * 256)],
    [('filters', ','.join(f'a{number}:1' for number in range(parameters.NAMES_MAX + 1)))],
    [('filters', 'a:1,' * parameters.VALUES_MAX + 'a:1')],
    [('filters', 'x' * 256 + ':1')],
]


@pytest.mark.parametrize('given, changed', TAKEN)
def test_a_query_is_read(given, changed):
    assert parameters.read_query(MultiDict(given), PARAMETERS) == DEFAULTS | changed


@pytest.mark.parametrize('given', REFUSED)
def test_any_other_query_is_refused(given):
    with pytest.raises(errors.InvalidInput):
        parameters.read_query(MultiDict(given), PARAMETERS)


def test_a_body_is_read_by_the_same_rules():
    """A scalar is one value, a list of texts is many, each split at commas."""
    form = {'offset': 3, 'names': ['1,2', '3'], 'word': ['b']}

    assert parameters.read_body(form, PARAMETERS) == DEFAULTS | {
        'offset': 3,
        'names': ['1', '2', '3'],
        'word': 'b',
    }


@pytest.mark.parametrize(
    'form',
    [
        [],
        None,
        'text',
        {'nope': 1},
        {'offset': None},
        {'offset': True},
        {'offset': [1, 2]},
        {'names': 5},
        {'names': [5]},
        {'word': {}},
        {'begin': 5},
        {'filters': {'a': 'b'}},
    ],
)
def test_any_other_body_is_refused(form):
    with pytest.raises(errors.InvalidInput):
        parameters.read_body(form, PARAMETERS)
