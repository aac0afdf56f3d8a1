"""Skip expressions."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import errors, skip
from cloudkitty.dataframe import DataFrame, DataPoint

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
POINT = DataPoint('GiB', '0.30', '1.50', {'flavor': 'tiny', 'id': 'a-1'}, {'state': 'off'}, 'text')


@pytest.mark.parametrize('text, expected', [
    ("datapoint['vol']['qty'] == 0", False),
    ("datapoint['vol']['qty'] < 0.31", True),
    ("datapoint['vol']['qty'] * 2 == Decimal('0.6')", True),
    ("datapoint['rating']['price'] >= 1 and datapoint['vol']['unit'] == 'GiB'", True),
    ("datapoint['groupby']['flavor'] in ['tiny', 'small']", True),
    ("datapoint['metadata'].get('state', '') != 'off'", False),
    ("datapoint['groupby'].get('zone') is None", True),
    ("datapoint['groupby']['id'].startswith('a-')", True),
    ("usage_data_metric_name == 'cpu'", True),
    ("any([value == 'tiny' for value in datapoint['groupby'].values()])", True),
    ('  True ', True),
    ('1', True),
    ("'x' if datapoint['vol']['qty'] > 1 else ''", False),
])
def test_an_expression_sees_the_point(text, expected):
    assert skip.Expression(text).matches('cpu', POINT) is expected


@pytest.mark.parametrize('text', [
    "datapoint['groupby']['zone'] == 'x'",
    "__import__('os').system('true')",
    "open('/etc/passwd')",
    'datapoint.__class__.__mro__',
    "datapoint.clear() or True",
    "'{0.__class__}'.format(datapoint)",
    '9 ** 9 ** 9 ** 9 > 0',
    "'x' * 10 ** 10 == ''",
    '[1 for a in range(10 ** 9)]',
    '(lambda: True)()',
    'nobody',
    "datapoint['vol']['qty'] * 1.5 > 0",
])
def test_an_expression_that_fails_keeps_the_point_and_says_so_once(text, caplog):
    """Whatever it tries, it can neither do harm nor lose usage."""
    expression = skip.Expression(text)

    assert not expression.matches('cpu', POINT)
    assert not expression.matches('cpu', POINT)
    assert len(caplog.records) == 1
    assert 'skip_datapoints_expression' in caplog.text


@pytest.mark.parametrize('text', ['', 'a b', 'x = 1', 'import os', 'True; False', '(', 'a\x00b'])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(errors.InvalidInput, match='is not an expression'):
        skip.Expression(text)


@pytest.mark.parametrize('default, own, expected', [
    ('False', {'cpu': None}, True), (' False', {'cpu': 'False'}, True), ('0', {}, True),
    ('True', {}, False), ('False', {'cpu': 'True'}, False),
])
def test_a_filter_that_skips_nothing_knows_it(default, own, expected):
    assert skip.SkipFilter(default, own).is_idle is expected


@pytest.mark.parametrize('default, expected', [('True', 0), ('False', 1)])
def test_a_metric_without_a_definition_has_the_general_expression(default, expected):
    """A rating script may make metrics that no definition knows."""
    frame = DataFrame(BEGIN, BEGIN + timedelta(hours=1), {'made_up': [POINT]})

    kept = skip.SkipFilter(default, {'cpu': 'False'}).apply(frame)

    assert len(kept.usage.get('made_up', ())) == expected
