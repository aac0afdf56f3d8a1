"""Metric definitions and the quantities they make."""

import math
import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty import errors
from cloudkitty.core import metrics
from cloudkitty.core.decimals import CONTEXT

LARGEST = 'v' * 255


def parse(conf, **arguments):
    return metrics.parse(conf, scope_key='project_id', **arguments)


def parse_one(**definition):
    """Return the only metric of a file with the keys *definition*."""
    (metric,) = parse({'metrics': {'cpu': {'unit': 'core', **definition}}}).values()
    return metric


def refusal(conf, **arguments):
    """Return the text of the error that *conf* gets."""
    with pytest.raises(errors.InvalidInput) as caught:
        parse(conf, **arguments)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    'conf, text',
    [
        ({}, 'metrics must be a mapping of metric names to definitions, at least one, not None.'),
        ({'metrics': {}}, 'at least one, not {}.'),
        ({'metrics': None}, 'at least one, not None.'),
        ({'metrics': [{'cpu': {'unit': 'x'}}]}, 'metrics must be a mapping of metric names'),
        ({'metrics': 'cpu'}, "at least one, not 'cpu'."),
        ({'metrics': {'cpu': {'unit': 'x'}}, 'name': 'x'}, "unknown key 'name'; allowed: metrics."),
        ([], 'the file must hold the key metrics, not [].'),
        ('metrics', 'the file must hold the key metrics'),
        ({'metrics': {'cpu': []}}, "metric 'cpu': the list of definitions is empty."),
        ({'metrics': {'cpu': None}}, "metric 'cpu': the definition must be a mapping, not None."),
        ({'metrics': {'cpu': 'x'}}, "metric 'cpu': the definition must be a mapping, not 'x'."),
        (
            {'metrics': {'cpu': [{'unit': 'x'}, 5]}},
            "metric 'cpu', definition 2: the definition must",
        ),
        ({'metrics': {5: {'unit': 'x'}}}, 'metric 5: the name must be text of 1 to 255 characters'),
        ({'metrics': {True: {'unit': 'x'}}}, 'metric True: the name must be text'),
        ({'metrics': {'': {'unit': 'x'}}}, "metric '': the name must be text of 1 to 255"),
        ({'metrics': {LARGEST + 'v': {'unit': 'x'}}}, 'the name must be text of 1 to 255'),
        ({'metrics': {'a@#b': {'unit': 'x'}}}, "metric 'a@#b': the name must be without @#"),
    ],
)
def test_a_wrong_shape_is_one_clear_error(conf, text):
    assert text in refusal(conf)


@pytest.mark.parametrize(
    'key, value, text',
    [
        ('unit', None, 'unit must be text of 1 to 255 characters, not None.'),
        ('unit', '', "unit must be text of 1 to 255 characters, not ''."),
        ('unit', 5, 'unit must be text of 1 to 255 characters, not 5.'),
        ('unit', LARGEST + 'v', 'unit must be text of 1 to 255 characters'),
        ('unit', 'a\0b', 'unit must be text'),
        ('alt_name', '\ud800', 'alt_name must be text'),
        ('description', '', 'description must be text of at least one character'),
        ('description', 5, 'description must be text'),
        ('description', None, 'description must be text'),
        ('alt_name', '', 'alt_name must be text of 1 to 255 characters'),
        ('alt_name', ['x'], 'alt_name must be text of 1 to 255 characters'),
        (
            'factor',
            None,
            'factor must be a finite number or a fraction in quotes, as "1/1048576", not',
        ),
        ('factor', 'abc', 'as "1/1048576", not \'abc\'.'),
        ('factor', '', 'factor must be a finite number'),
        ('factor', [1], 'factor must be a finite number'),
        ('factor', math.nan, 'factor must be a finite number'),
        ('factor', math.inf, 'factor must be a finite number'),
        ('factor', 'nan', 'factor must be a finite number'),
        ('factor', '-inf', 'factor must be a finite number'),
        (
            'factor',
            '1/0',
            'factor must be a finite number or a fraction in quotes, as "1/1048576", not \'1/0\'.',
        ),
        ('factor', '1e999999999', 'factor must be a finite number'),
        ('factor', '1/2/3', 'factor must be a finite number'),
        ('offset', 'abc', 'offset must be a finite number'),
        ('offset', math.inf, 'offset must be a finite number'),
        ('offset', '1/0', 'offset must be a finite number'),
        ('groupby', 'id', "groupby must be a list of attribute names, not 'id'."),
        ('groupby', None, 'groupby must be a list of attribute names, not None.'),
        ('groupby', {'id': 1}, 'groupby must be a list of attribute names'),
        ('groupby', [''], "groupby must be text of 1 to 255 characters, not ''."),
        (
            'groupby',
            ['id', 5],
            'groupby must be text of 1 to 255 characters, not 5; put it in quotes.',
        ),
        ('metadata', 'id', 'metadata must be a list of attribute names'),
        ('metadata', None, 'metadata must be a list of attribute names'),
        ('metadata', [''], 'metadata must be text of 1 to 255 characters'),
        (
            'mutate',
            'floor',
            'mutate must be one of NONE, NUMBOOL, NOTNUMBOOL, FLOOR, CEIL, MAP, not',
        ),
        ('mutate', None, 'mutate must be one of'),
        ('mutate', 5, 'mutate must be one of'),
        ('mutate', ['MAP'], 'mutate must be one of'),
        ('mutate_map', None, 'mutate_map must be a mapping, not None.'),
        ('mutate_map', [1], 'mutate_map must be a mapping'),
        (
            'mutate_map',
            {'on': 1},
            "mutate_map must be a mapping of numbers to numbers: 'on' is not",
        ),
        (
            'mutate_map',
            {1: 'on'},
            "mutate_map must be a mapping of numbers to numbers: 'on' is not",
        ),
        ('mutate_map', {math.nan: 1}, 'mutate_map must be a mapping of numbers to numbers'),
        ('mutate_map', {1: None}, 'mutate_map must be a mapping of numbers to numbers'),
        ('mutate_map', {1: 1, '1.0': 2}, 'mutate_map must have each number once, not 1.0 twice.'),
        ('extra_args', None, 'extra_args must be a mapping, not None.'),
        ('extra_args', ['x'], 'extra_args must be a mapping'),
        (
            'skip_datapoints_expression',
            '',
            'skip_datapoints_expression must be text of at least one',
        ),
        ('skip_datapoints_expression', True, 'skip_datapoints_expression must be text'),
        (
            'colour',
            'red',
            "unknown key 'colour'; allowed: unit, description, alt_name, factor, offset, "
            'groupby, metadata, mutate, mutate_map, collector, extra_args, '
            'skip_datapoints_expression, allow_negative.',
        ),
        (5, 'red', 'unknown key 5; allowed: unit'),
    ],
)
def test_a_wrong_value_names_metric_key_and_what_is_allowed(key, value, text):
    message = refusal({'metrics': {'cpu': {'unit': 'core', key: value}}})

    assert message.startswith("metric 'cpu': ")
    assert text in message


@pytest.mark.parametrize(
    'definition, text',
    [
        ({}, 'the key unit is missing.'),
        ({'unit': 'x', 'mutate': 'MAP'}, 'mutate_map goes with mutate: MAP'),
        ({'unit': 'x', 'mutate_map': {1: 1}}, 'mutate_map goes with mutate: MAP'),
        (
            {'unit': 'x', 'mutate': 'FLOOR', 'mutate_map': {1: 1}},
            'mutate_map goes with mutate: MAP',
        ),
        (
            {'unit': 'x', 'groupby': ['id', 'a'], 'metadata': ['b', 'a']},
            'a must not be in both groupby and metadata',
        ),
        ({'unit': 'x', 'metadata': ['project_id']}, 'project_id must not be in both'),
    ],
)
def test_keys_must_fit_together(definition, text):
    assert text in refusal({'metrics': {'cpu': definition}})


@pytest.mark.parametrize(
    'conf, text',
    [
        (
            {'cpu': [{'unit': 'x'}, {'unit': 'y'}]},
            "definition 2: a definition with the name 'cpu' already exists",
        ),
        (
            {'cpu': [{'unit': 'x', 'alt_name': 'a'}, {'unit': 'y', 'alt_name': 'a'}]},
            "definition 2: a definition with the name 'a' already exists",
        ),
        (
            {'cpu': {'unit': 'x', 'alt_name': 'a'}, 'ram': {'unit': 'y', 'alt_name': 'a'}},
            "metric 'ram': the name 'a' is that of metric 'cpu' already",
        ),
        (
            {'cpu': {'unit': 'x', 'alt_name': 'ram'}, 'ram': {'unit': 'y'}},
            "metric 'ram': the name 'ram' is that of metric 'cpu' already",
        ),
        (
            {'cpu': [{'unit': 'x'}, {'unit': 'y', 'alt_name': 'cpu'}]},
            "definition 2: the name 'cpu' is that of metric 'cpu' already",
        ),
    ],
)
def test_no_two_metrics_publish_the_same_name(conf, text):
    """Otherwise the points of one would take the place of the other's."""
    assert text in refusal({'metrics': conf})


def test_a_metric_may_have_several_definitions():
    """Their keys differ by the alternative name; the source is asked for the same name."""
    found = parse(
        {
            'metrics': {
                'cpu': [{'unit': 'core'}, {'unit': 'instance', 'alt_name': 'instance'}],
                'ram': {'unit': 'MiB', 'alt_name': 'memory'},
            }
        }
    )

    assert [
        (key, metric.key, metric.name, metric.published_name) for key, metric in found.items()
    ] == [
        ('cpu', 'cpu', 'cpu', 'cpu'),
        ('cpu@#instance', 'cpu@#instance', 'cpu', 'instance'),
        ('ram@#memory', 'ram@#memory', 'ram', 'memory'),
    ]


def test_defaults():
    metric = parse_one()

    assert (metric.unit, metric.description, metric.alt_name) == ('core', None, None)
    assert (metric.factor, metric.offset, metric.mutate, metric.mutate_map) == (1, 0, 'NONE', None)
    assert (metric.groupby, metric.metadata) == (('project_id',), ())
    assert (metric.extra_args, metric.skip_expression) == ({}, None)


def test_attributes_keep_the_order_of_the_file():
    """Repeated ones count once; the scope is appended unless it is there."""
    metric = parse_one(groupby=['b', 'a', 'b'], metadata=['z', 'y', 'z'])

    assert metric.groupby == ('b', 'a', 'project_id')
    assert metric.metadata == ('z', 'y')
    assert parse_one(groupby=['project_id', 'a']).groupby == ('project_id', 'a')


def test_a_definition_reads_like_the_mapping_of_the_file():
    """Collectors of other projects do so."""
    metric = parse_one(
        alt_name='instance',
        groupby=['id'],
        mutate='MAP',
        mutate_map={1: 2},
        skip_datapoints_expression='datapoint.qty == 0',
    )

    assert dict(metric) == {
        'unit': 'core',
        'alt_name': 'instance',
        'factor': 1,
        'offset': 0,
        'groupby': ['id', 'project_id'],
        'metadata': [],
        'mutate': 'MAP',
        'mutate_map': {1: 2},
        'extra_args': {},
        'skip_datapoints_expression': 'datapoint.qty == 0',
        'allow_negative': False,
    }
    assert metric.get('description') is None
    assert 'description' not in metric
    assert len(metric) == 11


def test_a_definition_can_go_to_another_process():
    metric = parse_one(factor='1/3', mutate='MAP', mutate_map={1: 2})

    copy = pickle.loads(pickle.dumps(metric))

    assert copy == metric
    assert copy.quantity(Decimal(3)) == 2


def test_the_collector_checks_its_own_parameters():
    def check(extra_args):
        return metrics.only_keys(extra_args, {'method': metrics.choice('max', 'min')})

    assert 'extra_args method must be one of max, min, not 5.' in refusal(
        {'metrics': {'cpu': {'unit': 'x', 'extra_args': {'method': 5}}}}, check_extra_args=check
    )
    assert "extra_args has the unknown key 'x'; allowed: method." in refusal(
        {'metrics': {'cpu': {'unit': 'x', 'extra_args': {'x': 5}}}}, check_extra_args=check
    )


@pytest.mark.parametrize(
    'value, expected',
    [
        (1, 1),
        (0, 0),
        (-2, -2),
        (True, 1),
        (2.5, Fraction(5, 2)),
        (0.1, Fraction(1, 10)),
        ('1/1048576', Fraction(1, 1048576)),
        ('2.5', Fraction(5, 2)),
        ('1e3', 1000),
        ('-1/3', -Fraction(1, 3)),
        (1e-7, Fraction(1, 10**7)),
    ],
)
def test_factors_and_offsets_are_exact(value, expected):
    metric = parse_one(factor=value, offset=value)

    assert (metric.factor, metric.offset) == (expected, expected)


@pytest.mark.parametrize(
    'definition, raw, expected',
    [
        ({}, '0.1', '0.1'),
        ({}, '-0', '0'),
        ({}, '1.23456789012345678901234567890123', '1.23456789012345678901234567890123'),
        ({'factor': '1/1048576'}, '123456789012345', '117737568.8670587539672851562'),
        ({'factor': '1/3'}, '3', '1'),
        ({'factor': '1/3'}, '1', '0.3333333333333333333333333333'),
        ({'factor': 0.1}, '3', '0.3'),
        ({'factor': '3600/1000000'}, '1000000', '3600'),
        ({'factor': '9/5', 'offset': 32}, '100', '212'),
        ({'offset': '1/3'}, '1', '1.333333333333333333333333333'),
        ({'factor': 0, 'offset': 1}, '5', '1'),
        ({'mutate': 'NUMBOOL'}, '-0.5', '1'),
        ({'mutate': 'NUMBOOL'}, '0.0', '0'),
        ({'mutate': 'NOTNUMBOOL'}, '0.0', '1'),
        ({'mutate': 'NOTNUMBOOL'}, '7', '0'),
        ({'mutate': 'FLOOR'}, '2.9', '2'),
        ({'mutate': 'FLOOR'}, '-2.1', '-3'),
        ({'mutate': 'FLOOR'}, '1e300', '1e300'),
        ({'mutate': 'CEIL'}, '2.1', '3'),
        ({'mutate': 'CEIL'}, '-2.9', '-2'),
        # Rounding to 28 digits first would lift these over the next integer.
        ({'mutate': 'FLOOR', 'factor': '1/2'}, '1.99999999999999999999999999999999', '0'),
        ({'mutate': 'CEIL', 'factor': '1/2'}, '2.00000000000000000000000000000001', '2'),
        ({'mutate': 'NUMBOOL', 'factor': 2, 'offset': -2}, '1', '0'),
        ({'mutate': 'MAP', 'mutate_map': {0.0: 1.0, 11: 2, '0.1': 3}}, '0', '1'),
        ({'mutate': 'MAP', 'mutate_map': {0.0: 1.0, 11: 2, '0.1': 3}}, '11.0', '2'),
        ({'mutate': 'MAP', 'mutate_map': {0.0: 1.0, 11: 2, 0.1: '2.5'}}, '0.1', '2.5'),
        ({'mutate': 'MAP', 'mutate_map': {0.0: 1.0}}, '12', '0'),
        ({'mutate': 'MAP', 'mutate_map': {}}, '12', '0'),
        ({'mutate': 'MAP', 'mutate_map': {2: 7}, 'factor': '2/3'}, '3', '7'),
    ],
)
def test_a_quantity_is_mutated_after_factor_and_offset(definition, raw, expected):
    quantity = parse_one(**definition).quantity(Decimal(raw))

    assert quantity == CONTEXT.create_decimal(expected) or str(quantity) == expected


@pytest.mark.parametrize(
    'definition', [{}, {'factor': 3}, {'factor': -1}, {'mutate': 'FLOOR'}, {'mutate': 'CEIL'}]
)
@pytest.mark.parametrize('raw', ['0', '-0', '-0.0', '0E+3'])
def test_a_quantity_of_zero_has_no_sign(definition, raw):
    """A source may say -0, and nobody wants to read that on a bill."""
    assert str(parse_one(**definition).quantity(Decimal(raw))) == '0'


def test_ceil_of_an_exact_two_is_two():
    """Only what lies behind the integer lifts it."""
    metric = parse_one(factor='1/2', mutate='CEIL')

    assert metric.quantity(Decimal('4')) == 2
    assert metric.quantity(Decimal('4.00000000000000000000000000000001')) == 3


_RAW = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=9
)
_NUMBER = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=10**9)


@given(raw=_RAW, factor=_NUMBER, offset=_NUMBER)
def test_a_quantity_is_the_exact_result_rounded_once(raw, factor, offset):
    exact = Fraction(raw) * factor + offset

    quantity = parse_one(factor=str(factor), offset=str(offset)).quantity(raw)

    assert quantity == CONTEXT.divide(Decimal(exact.numerator), Decimal(exact.denominator))


@given(raw=_RAW, factor=_NUMBER, offset=_NUMBER)
def test_floor_and_ceil_are_those_of_the_exact_result(raw, factor, offset):
    exact = Fraction(raw) * factor + offset
    definition = {'factor': str(factor), 'offset': str(offset)}

    assert parse_one(mutate='FLOOR', **definition).quantity(raw) == math.floor(exact)
    assert parse_one(mutate='CEIL', **definition).quantity(raw) == math.ceil(exact)


def test_a_series_carries_the_description():
    metric = parse_one(description='Cores in use', groupby=['id'], metadata=['flavor'])

    series = metric.series({'id': 'a', 'project_id': 'p', 'other': 'x'})

    assert series.description == 'Cores in use'
    assert series.groupby == {'id': 'a', 'project_id': 'p'}
    assert series.metadata == {'flavor': ''}
