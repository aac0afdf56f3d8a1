"""PromQL of definitions that say how usage is measured."""

from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.collector import prometheus, prometheus_measures, prometheus_query

MINUTE = '[3599999ms:30000ms]'
THERE = (
    '(last_over_time(NAME{project_id="abc"}[119999ms]) and '
    'last_over_time(NAME{project_id="abc"}[179999ms] offset -120s))'
)

LATEST, BEFORE, LATER, AFTER = (
    f'last_over_time(NAME{{project_id="abc"}}[59999ms]{moved})'
    for moved in ('', ' offset 30s', ' offset -30s', ' offset -60s')
)
NEXT = 'last_over_time(NAME{project_id="abc"}[29999ms] offset -30s)'
GROWN = f'({LATEST} - {BEFORE} >= 0)'
BEGUN = f'({LATEST} < ({BEFORE} < +Inf))'
SINCE = f'({LATER} - {LATEST})'
FIRST = f'(clamp_min({SINCE} and {NEXT} or ({AFTER} - {LATEST}) / 2 or {SINCE}, 0))'


def define(measure, *, groupby=('id',), metadata=(), name='NAME', **extra_args):
    """Return the only metric of a file."""
    definition = {
        'unit': 'x',
        'groupby': list(groupby),
        'metadata': list(metadata),
        'extra_args': {'measure': measure, **extra_args},
    }
    (metric,) = prometheus.PrometheusCollector.check_configuration(
        {'metrics': {name: definition}}, 'project_id'
    ).values()
    return metric


def build(metric, scope_ids=('abc',)):
    return prometheus_query.build_query(metric, 'project_id', scope_ids, 3600)


@pytest.mark.parametrize(
    'metric, expected',
    [
        (
            define('seen'),
            'group by (id, project_id) (count_over_time(NAME{project_id="abc"}[3599999ms]))',
        ),
        (
            define('share'),
            f'sum_over_time((group by (id, project_id) ({THERE})){MINUTE})',
        ),
        (
            define('time_weighted'),
            f'sum_over_time((max by (id, project_id) ({THERE})){MINUTE})',
        ),
        (define('mean'), f'avg_over_time((max by (id, project_id) ({THERE})){MINUTE})'),
        (
            define('max', aggregation_method='min'),
            f'max_over_time((min by (id, project_id) ({THERE})){MINUTE})',
        ),
        (
            define('time_weighted', query_function='abs', query_prefix='2 *', query_suffix='> 0'),
            f'sum_over_time(((2 * max by (id, project_id) (abs({THERE})) > 0)){MINUTE})',
        ),
        (
            define('time_weighted', parts='port'),
            'sum_over_time((sum by (id, project_id) (max by (id, project_id, port) '
            f'({THERE}))){MINUTE})',
        ),
        (
            define('time_weighted', minus='OTHER'),
            'sum_over_time(((max by (id, project_id) '
            f'({THERE}) - on (id, project_id) max by (id, project_id) '
            f'({THERE.replace("NAME", "OTHER")}))){MINUTE})',
        ),
        (
            define('share', groupby=['id', 'flavor'], resource_key='id'),
            f'sum_over_time((group by (id, flavor, project_id) ({THERE}) / on (id, project_id) '
            'group_left () count by (id, project_id) (group by (id, flavor, project_id) '
            f'({THERE}))){MINUTE})',
        ),
        (
            define('increase', scrape_interval=30),
            f'sum_over_time(((sum by (id, project_id) ((({GROWN} or {BEGUN} or {FIRST}) * 1 / 1)) '
            '/ clamp_min(sum by (id, project_id) ('
            'max_over_time(NAME{project_id="abc"}[119999ms] offset -30s) > bool '
            'min_over_time(NAME{project_id="abc"}[119999ms] offset -30s)), 1)))'
            '[3599999ms:30000ms])',
        ),
        (
            define('seen', groupby=['a.b'], utf8_names=True, name='my.name'),
            'group by ("a.b", project_id) (count_over_time({"my.name", project_id="abc"}'
            '[3599999ms]))',
        ),
    ],
)
def test_the_query_of_a_measure(metric, expected):
    assert build(metric) == expected


def test_values_that_are_no_numbers_can_be_left_out():
    """Of each series for itself, and what a function makes of them."""
    metric = define('time_weighted', query_function='ln')
    there = (
        '((last_over_time(NAME{project_id="abc"}[119999ms]) > -Inf < +Inf) and '
        'last_over_time(NAME{project_id="abc"}[179999ms] offset -120s))'
    )

    combined, plain = (
        prometheus_query.build_query(
            metric, 'project_id', ['abc'], 3600, is_finite=True, is_plain=is_plain
        )
        for is_plain in (False, True)
    )

    assert combined == (
        f'sum_over_time(((max by (id, project_id) (ln({there})) > -Inf < +Inf)){MINUTE})'
    )
    assert plain == (
        f'max by (id, project_id) (sum_over_time(((ln({there}) > -Inf < +Inf)){MINUTE}))'
    )


@pytest.mark.parametrize(
    'metric, expected',
    [
        (
            define('share', metadata=['name']),
            f'max by (id, project_id, name) (count_over_time(({THERE}){MINUTE}))',
        ),
        (define('mean'), f'max by (id, project_id) (avg_over_time(({THERE}){MINUTE}))'),
        (
            define('time_weighted', parts='port', query_function='abs'),
            f'sum by (id, project_id) (sum_over_time((abs({THERE})){MINUTE}))',
        ),
        (
            define('rate', scrape_interval=30),
            f'max by (id, project_id) (sum_over_time(((({GROWN} or {BEGUN} or {FIRST}) * 1 / 1))'
            '[3599999ms:30000ms]))',
        ),
        (
            define('seen', metadata=['name']),
            'group by (id, project_id, name) (count_over_time(NAME{project_id="abc"}[3599999ms]))',
        ),
    ],
)
def test_what_has_one_series_is_asked_for_in_a_plain_way(metric, expected):
    assert prometheus_measures.can_be_plain(metric)
    query = prometheus_query.build_query(metric, 'project_id', ['abc'], 3600, is_plain=True)
    assert query == expected


@pytest.mark.parametrize(
    'metric',
    [
        define('max', minus='OTHER'),
        define('max', query_suffix='* 2'),
        define('max', parts='port', metadata=['name']),
    ],
)
def test_what_is_combined_at_an_instant_is_never_plain(metric):
    assert not prometheus_measures.can_be_plain(metric)


def test_scopes_whose_resources_have_several_series_are_found():
    metric = define('increase', groupby=['id', 'flavor'], resource_key='id', parts='port')

    assert prometheus_query.build_search(metric, 'project_id', ['abc'], 3600) == (
        'count by (project_id) (count by (id, project_id, port) '
        '(count_over_time(NAME{project_id="abc"}[4020s] offset -120s)) > 1)'
    )


def test_metadata_is_joined_after_the_measure():
    """It splits no resource."""
    query = build(define('share', metadata=['name']))

    assert query.startswith(build(define('share')) + ' * on (id, project_id) group_left (name) ')
    assert 'topk by (id, project_id) (1, max_over_time((group by (id, project_id, name) ' in query


@pytest.mark.parametrize(
    'measure, expected',
    [
        ('share', '0.25'),
        ('time_weighted', '0.25'),
        ('mean', '30'),
        ('max', '30'),
        ('seen', '30'),
        ('increase', '30'),
        ('rate', '0.008333333333333333333333333333'),
    ],
)
def test_what_was_added_up_is_divided_exactly(measure, expected):
    """Of a quarter of an hour: 30 instants, half a minute apart."""
    metric = prometheus_measures.scaled(define(measure), 3600)

    assert metric.quantity(Decimal(30)) == Decimal(expected)


def test_the_period_is_a_multiple_of_the_scrape_interval():
    metric = define('share', scrape_interval=7)

    with pytest.raises(
        errors.InvalidInput, match='3600 s is no multiple of a scrape_interval of 7 s'
    ):
        prometheus_measures.with_interval(metric, 3600, 60)
    assert prometheus_measures.with_interval(metric, 700, 60) == metric
    assert prometheus_measures.with_interval(define('share'), 600, 300).extra_args[
        'scrape_interval'
    ] == 300  # fmt: skip


def test_scopes_are_listed_as_often_as_is_told():
    """So that a server that takes no long queries gets fewer at once."""
    metric = define('share', groupby=['id', 'flavor'], metadata=['name'], resource_key='id')

    assert prometheus_query.scope_lists(metric) == 6
    assert build(metric, ['a', 'b']).count('project_id=~"a|b"') == 6


@pytest.mark.parametrize(
    'function, expected',
    [('rate', 'sum'), ('irate', 'sum'), ('increase', 'sum'), ('delta', 'max'), (None, 'max')],
)
def test_growth_of_several_series_adds_up_unless_told_otherwise(function, expected):
    args = {} if function is None else {'range_function': function}

    assert prometheus_query.check_extra_args(args)['aggregation_method'] == expected
    assert prometheus_query.check_extra_args({**args, 'aggregation_method': 'avg'})[
        'aggregation_method'
    ] == 'avg'  # fmt: skip
