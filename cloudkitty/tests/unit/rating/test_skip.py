"""Skip expressions."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.rating import skip

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
POINT = DataPoint('GiB', '0.30', '1.50', {'flavor': 'tiny', 'id': 'a-1'}, {'state': 'off'}, 'text')


@pytest.mark.parametrize(
    'text, expected',
    [
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
    ],
)
def test_an_expression_sees_the_point(text, expected):
    assert skip.Expression(text).matches('cpu', POINT) is expected


@pytest.mark.parametrize(
    'text',
    [
        "datapoint['groupby']['zone'] == 'x'",
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        'datapoint.__class__.__mro__',
        'datapoint.clear() or True',
        "'{0.__class__}'.format(datapoint)",
        '9 ** 9 ** 9 ** 9 > 0',
        "'x' * 10 ** 10 == ''",
        '[1 for a in range(10 ** 9)]',
        '(lambda: True)()',
        'nobody',
        "datapoint['vol']['qty'] * 1.5 > 0",
    ],
)
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


@pytest.mark.parametrize(
    'default, own, expected',
    [
        ('False', {'cpu': None}, True),
        (' False', {'cpu': 'False'}, True),
        ('0', {}, True),
        ('True', {}, False),
        ('False', {'cpu': 'True'}, False),
    ],
)
def test_a_filter_that_skips_nothing_knows_it(default, own, expected):
    assert skip.SkipFilter(default, own).is_idle is expected


@pytest.mark.parametrize('default, expected', [('True', 0), ('False', 1)])
def test_a_metric_without_a_definition_has_the_general_expression(default, expected):
    """A rating script may make metrics that no definition knows."""
    frame = DataFrame(BEGIN, BEGIN + timedelta(hours=1), {'made_up': [POINT]})

    kept = skip.SkipFilter(default, {'cpu': 'False'}).apply(ScopePeriods.of_frames('s', [frame]))

    assert kept.points == expected


def kept(default, own, **metrics):
    """Return the quantities that are kept by metric."""
    frame = DataFrame(
        BEGIN,
        BEGIN + timedelta(hours=1),
        {
            name: [DataPoint('u', qty, 0, {'id': str(qty)}, {}) for qty in quantities]
            for name, quantities in metrics.items()
        },
    )
    usage = ScopePeriods.of_frames('s', [frame])
    (found,) = skip.SkipFilter(default, own).apply(usage)
    assert (found.start, found.end) == (frame.start, frame.end)
    return {name: [point.qty for point in points] for name, points in found.itertypes()}


def test_each_metric_has_its_own_expression_and_the_others_the_general_one():
    """Its own one replaces the general one, whether it skips more or less."""
    own = {
        'cpu': "datapoint['vol']['qty'] == 2",
        'disk': 'False',
        'network': None,
        'memory': "usage_data_metric_name == 'memory'",
    }
    quantities = [0, 1, 2]

    assert kept(
        "datapoint['vol']['qty'] == 0",
        own,
        cpu=quantities,
        disk=quantities,
        network=quantities,
        memory=quantities,
        other=quantities,
    ) == {'cpu': [0, 1], 'disk': [0, 1, 2], 'network': [1, 2], 'other': [1, 2]}


def test_an_expression_that_fails_on_a_point_skips_others():
    """What it fails on is kept, in its place."""
    assert kept("10 / datapoint['vol']['qty'] > 4", {}, cpu=[0, 1, 5, 0, 2]) == {'cpu': [0, 5, 0]}


def test_of_a_series_only_the_periods_that_match_are_skipped():
    """One resource over four hours, two of them idle: the others are billed, each in its hour."""
    frames = [
        DataFrame(
            BEGIN + timedelta(hours=hour),
            BEGIN + timedelta(hours=hour + 1),
            {'cpu': [DataPoint('u', qty, 0, {'id': 'a'}, {})]},
        )
        for hour, qty in enumerate((0, 1, 0, 2))
    ]

    found = skip.SkipFilter("datapoint['vol']['qty'] == 0", {}).apply(
        ScopePeriods.of_frames('s', frames)
    )

    assert [[point.qty for _, point in frame] for frame in found] == [[], [1], [], [2]]
    assert [frame.start for frame in found] == [frame.start for frame in frames]


def test_a_metric_of_which_nothing_is_left_is_left_out():
    assert kept("datapoint['vol']['qty'] < 2", {}, cpu=[0, 1], disk=[1, 2]) == {'disk': [2]}


@pytest.mark.parametrize(
    'text',
    [
        "int(Decimal(datapoint['metadata']['name'])) == 0",
        "Decimal(datapoint['metadata']['name']) > 0",
        '2 ** (10 ** 7) == 0',
        '(10 ** 9) ** 401 == 0',
        "datapoint['metadata']['format'] % 1 == ''",
    ],
)
def test_what_a_tenant_names_never_holds_the_rating_up(text):
    """The point is kept, at once."""
    named = DataPoint('GiB', 1, 0, {}, {'name': '1e999999999', 'format': '%999999999d'})

    assert not skip.Expression(text).matches('cpu', named)
