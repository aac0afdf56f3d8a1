"""PromQL that is asked, and what becomes of the answer."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.clients.prometheus_access import Direct
from cloudkitty.collector import point_builder, prometheus, prometheus_query
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import faults, history

HOUR = history.hour(0)
RANGE_S = 3600


def define(**definition):
    """Return the only metric of a file with the keys *definition*."""
    (metric,) = prometheus.PrometheusCollector.check_configuration(
        {'metrics': {'NAME': {'unit': 'x', **definition}}}, 'project_id'
    ).values()
    return metric


@pytest.mark.parametrize(
    'definition, expected',
    [
        (
            {'groupby': ['id'], 'metadata': ['flavor']},
            'max(max_over_time(NAME{project_id="abc"}[3600s])) by (id, project_id, flavor)',
        ),
        (
            {
                'groupby': ['id'],
                'extra_args': {
                    'range_function': 'rate',
                    'query_function': 'round',
                    'aggregation_method': 'sum',
                    'query_prefix': '0 <',
                    'query_suffix': '* 2',
                },
            },
            '0 < sum(round(rate(NAME{project_id="abc"}[3600s]))) by (id, project_id) * 2',
        ),
        (
            {'extra_args': {'aggregation_method': 'avg'}},
            'avg(avg_over_time(NAME{project_id="abc"}[3600s])) by (project_id)',
        ),
        (
            {'extra_args': {'matchers': ['a!=""', ' b =~ "x|\\"" ']}},
            'max(max_over_time(NAME{project_id="abc", a!="", b =~ "x|\\""}[3600s])) '
            'by (project_id)',
        ),
        (
            {'extra_args': {'query_function': 'ln'}},
            'max(ln(max_over_time(NAME{project_id="abc"}[3600s]))) by (project_id)',
        ),
    ],
)
def test_the_query_of_one_scope(definition, expected):
    query = prometheus_query.build_query(define(**definition), 'project_id', ['abc'], RANGE_S)

    assert query == expected


@pytest.mark.parametrize(
    'scope_ids, matcher',
    [
        (['a', 'b'], 'project_id=~"a|b"'),
        (['a"b'], r'project_id="a\"b"'),
        (['.*', 'a|b'], r'project_id=~"\\.\\*|a\\|b"'),
        (['\\', '"'], r'project_id=~"\\\\|\""'),
    ],
)
def test_scope_ids_are_text_and_never_patterns(scope_ids, matcher):
    assert matcher in prometheus_query.build_query(define(), 'project_id', scope_ids, RANGE_S)


@pytest.mark.parametrize(
    'prefix, suffix, expected',
    [
        ('', '', True),
        ('0 <', '* 2', True),
        ('', '/ 1e3', True),
        ('', '>= bool 0.5', True),
        ('clamp_max(', ', 5)', True),
        ('topk(1, ', ')', False),
        ('max(', ')', False),
        ('', '* on (id) group_left other', False),
        ('', 'unless other', False),
        ('', '> other{a="b"}', False),
        ('label_replace(', ', "project_id", "x", "", "")', False),
        ('', '@ end()', False),
        ('', '- 東京', False),
        ('', '/ scalar(max(count_over_time(up{job=")("}[1h]))) * 2', True),
        ('2 - scalar(a) *', "/ scalar (b{c='\"('})", True),
        ('', '/ scalar(a) + topk(1, b)', False),
        ('scalar(', ')', False),
        ('', '/ my_scalar(a)', False),
        ('', '/ scalar(a', False),
    ],
)
def test_scopes_are_asked_for_together_only_where_they_do_not_mix(prefix, suffix, expected):
    metric = define(extra_args={'query_prefix': prefix, 'query_suffix': suffix})

    assert prometheus_query.can_ask_for_many(metric) is expected


@pytest.mark.parametrize(
    'matchers',
    [
        'a="b"',
        ['a'],
        ['a="b'],
        ['a="b"} or x{c="d"'],
        ['a="b", c="d"'],
        ['1a="b"'],
        [5],
        {'a': 'b'},
    ],
)
def test_a_matcher_that_is_none_is_refused(matchers):
    with pytest.raises(errors.InvalidInput, match='matchers must be a list of label matchers'):
        define(extra_args={'matchers': matchers})


def test_a_range_query_has_no_gap_and_one_step():
    hours = [history.hour(number) for number in (0, 1, 3, 4)]
    half = Period(hours[-1].end, hours[-1].end + timedelta(minutes=30))

    assert list(point_builder.runs([*hours, half], 100)) == [hours[:2], hours[2:], [half]]
    assert list(point_builder.runs([], 100)) == []


def test_a_long_backlog_is_split():
    """Prometheus refuses more than 11,000 steps."""
    periods = [history.hour(number) for number in range(25000)]

    assert [len(run) for run in point_builder.runs(periods, prometheus_query.STEPS_MAX)] == [
        11000,
        11000,
        3000,
    ]


def test_a_batch_is_one_request(build, server):
    server.answer = faults.as_json(
        {'status': 'success', 'data': {'resultType': 'matrix', 'result': []}}
    )
    periods = [history.hour(number) for number in range(3)]

    assert list(build().collect('NAME', periods, ['a', 'b'])) == []

    (request,) = server.requests
    assert request.path == '/api/v1/query_range'
    assert request.parameters == {
        'query': 'max(max_over_time(NAME{project_id=~"a|b"}[3600s])) by (id, project_id)',
        'start': '2024-05-01T01:00:00+00:00',
        'end': '2024-05-01T03:00:00+00:00',
        'step': '3600',
        **Direct.extra_parameters,
    }


@pytest.mark.parametrize('periods, scope_ids', [([], ['a']), ([HOUR], []), ([], [])])
def test_nothing_to_ask_is_no_request(build, server, periods, scope_ids):
    assert list(build().collect('NAME', periods, scope_ids)) == []
    assert server.requests == []


def test_a_query_asks_for_the_end_of_the_period_in_utc(build, server):
    build().fetch_all('NAME', *HOUR, 'a')

    assert server.requests[0].parameters == {
        'query': 'max(max_over_time(NAME{project_id="a"}[3600s])) by (id, project_id)',
        'time': '2024-05-01T01:00:00+00:00',
        **Direct.extra_parameters,
    }


def test_the_scope_is_the_one_asked_for(build, server):
    """Whatever the label says, and where a prefix or suffix dropped it."""
    server.answer = faults.vector(({'id': 'i', 'project_id': 'other'}, '1'), ({}, '2'))

    points = build().fetch_all('NAME', *HOUR, 'mine')

    assert [(point.groupby['id'], point.groupby['project_id'], point.qty) for point in points] == [
        ('i', 'mine', 1),
        ('', 'mine', 2),
    ]


def test_equal_labels_of_two_scopes_or_metrics_are_two_series(build, server):
    """Where a prefix or suffix dropped the label of the scope, the labels may be equal."""
    server.answer = faults.vector(({'id': 'i'}, '1'))
    driver = build(metrics={'a': {'unit': 'x'}, 'b': {'unit': 'y'}})

    found = [
        (point.groupby['project_id'], point.unit)
        for scope_id in ('mine', 'yours', 'mine')
        for name in 'ab'
        for point in driver.fetch_all(name, *HOUR, scope_id)
    ]

    assert found == [
        *(('mine', 'x'), ('mine', 'y')),
        *(('yours', 'x'), ('yours', 'y')),
        *(('mine', 'x'), ('mine', 'y')),
    ]


@pytest.mark.parametrize(
    'values, kept',
    [
        (['2'] * 6, [0, 1, 2, 3, 4, 5]),
        (['2', '3'] * 3, [0, 1, 2, 3, 4, 5]),
        (['2', 'NaN'] * 3, [0, 2, 4]),
        (['2', '-2'] * 3, [0, 2, 4]),
        (['2', '1e20'] * 3, [0, 2, 4]),
        (['NaN'] * 6, []),
    ],
)
def test_values_that_repeat_are_those_of_their_periods(build, server, values, kept):
    periods = [history.hour(number) for number in range(len(values))]
    answer = {
        'metric': {'id': 'i'},
        'values': [
            [int(period.end.timestamp()), text]
            for period, text in zip(periods, values, strict=True)
        ],
    }
    data = {'resultType': 'matrix', 'result': [answer]}
    server.answer = faults.as_json({'status': 'success', 'data': data})

    found = [
        (periods.index(period), str(points[0].qty), str(points[0].price))
        for _, period, points in build().collect('NAME', periods, ['a'])
    ]

    assert found == [(offset, values[offset], '0') for offset in kept]


def test_series_of_other_scopes_are_ignored_and_counted(build, server, caplog):
    server.answer = _matrix(({'project_id': 'a'}, [1]), ({'project_id': 'x'}, [2]), ({}, [3]))

    found = list(build().collect('NAME', [HOUR], ['a', 'b']))

    assert [(scope_id, [point.qty for point in points]) for scope_id, _, points in found] == [
        ('a', [1])
    ]
    assert caplog.text.count('Metric NAME: 2 series of other scopes skipped') == 1


def test_values_that_are_no_numbers_are_skipped_and_counted(build, server, caplog):
    server.answer = faults.vector(
        ({'id': 'a'}, 'NaN'), ({'id': 'b'}, '+Inf'), ({'id': 'c'}, '-Inf'), ({'id': 'd'}, '7')
    )

    for mutate in 'NONE', 'NUMBOOL', 'FLOOR':
        caplog.clear()
        points = build(mutate=mutate).fetch_all('NAME', *HOUR, 'a')

        assert [point.groupby['id'] for point in points] == ['d']
        assert caplog.text.count('3 values that are NaN, infinite or too large left out') == 1


def test_values_that_no_column_can_hold_are_skipped(build, server, caplog):
    """What counts is the quantity, after factor and mutation."""
    server.answer = faults.vector(({'id': 'a'}, '1e20'), ({'id': 'b'}, '9.9e19'))

    assert len(build().fetch_all('NAME', *HOUR, 'a')) == 1
    assert '1 values that are NaN, infinite or too large left out' in caplog.text
    assert len(build(mutate='NUMBOOL').fetch_all('NAME', *HOUR, 'a')) == 2


def test_a_quantity_below_0_is_no_usage(build, server, caplog):
    """It would be money back; what counts is the quantity, after factor and mutation."""
    server.answer = faults.vector(({'id': 'a'}, '-5'), ({'id': 'b'}, '5'), ({'id': 'c'}, '-0'))

    points = build().fetch_all('NAME', *HOUR, 'a')
    assert [(point.groupby['id'], point.qty) for point in points] == [('b', 5), ('c', 0)]
    assert '1 values that are below 0 left out' in caplog.text
    assert len(build(allow_negative=True).fetch_all('NAME', *HOUR, 'a')) == 3
    assert len(build(mutate='NUMBOOL').fetch_all('NAME', *HOUR, 'a')) == 3
    (point,) = build(factor=-1).fetch_all('NAME', *HOUR, 'a')[:1]
    assert point.qty == 5


def test_series_of_equal_attributes_are_points_of_their_own(build, server):
    server.answer = faults.vector(({'id': 'i', 'x': '1'}, '1'), ({'id': 'i', 'x': '2'}, '1'))

    assert len(build().fetch_all('NAME', *HOUR, 'a')) == 2


def test_a_point_has_everything_of_its_definition(build, server):
    server.answer = faults.vector(({'id': 'i', 'flavor': 'm1', 'job': 'node'}, '0.1'))

    (point,) = build(factor='1/3', metadata=['flavor', 'image'], description='Cores').fetch_all(
        'NAME', *HOUR, 'a'
    )

    assert point.qty == Decimal('0.03333333333333333333333333333')
    assert (point.unit, point.price, point.description) == ('x', 0, 'Cores')
    assert point.metadata == {'flavor': 'm1', 'image': ''}
    assert point.groupby == {
        'id': 'i',
        'project_id': 'a',
        'week_of_the_year': '17',
        'day_of_the_year': '122',
        'month': '5',
        'year': '2024',
    }


@pytest.mark.parametrize(
    'series',
    [
        None,
        5,
        'x',
        {},
        {'metric': {}},
        {'metric': {}, 'value': []},
        {'metric': None, 'value': [1714525200, '1']},
        {'metric': {}, 'value': [1714525200, 'one']},
        {'metric': {}, 'value': [1714525200, None]},
        {'metric': {}, 'value': [5, '1']},
        {'metric': {}, 'histogram': [1714525200, {}]},
    ],
)
def test_an_answer_of_another_shape_is_an_error(build, server, series):
    """And never an empty result; it is no word about the other metrics."""
    server.answer = faults.as_json(
        {'status': 'success', 'data': {'resultType': 'vector', 'result': [series]}}
    )

    with pytest.raises(errors.CollectError, match='unexpected answer for NAME') as caught:
        build().fetch_all('NAME', *HOUR, 'a')
    assert type(caught.value) is errors.CollectError


@pytest.mark.parametrize(
    'answer, kind',
    [
        (faults.text('<html>', status=500), errors.SourceUnreachable),
        (faults.truncated, errors.SourceUnreachable),
        (faults.reset, errors.SourceUnreachable),
        (faults.as_json({'data': {}}), errors.SourceUnreachable),
        (faults.error('bad_data', 'parse error', status=400), errors.CollectError),
        (faults.error('execution', 'too many samples', status=422), errors.CollectError),
    ],
)
def test_a_failing_source_is_an_error_never_no_data(build, server, answer, kind):
    server.answer = answer
    driver = build()

    for ask in (
        lambda: driver.fetch_all('NAME', *HOUR, 'a'),
        lambda: list(driver.collect('NAME', [HOUR], ['a', 'b'])),
        lambda: driver.retrieve('NAME', *HOUR, 'a'),
    ):
        with pytest.raises(errors.CollectError) as caught:
            ask()
        assert type(caught.value) is kind


def test_the_url_must_be_set(conf):
    with pytest.raises(
        errors.ConfigurationError, match=r'\[collector_prometheus\]prometheus_url is not set'
    ):
        prometheus.PrometheusCollector(
            period=RANGE_S, service_conf=conf, conf={'metrics': {'NAME': {'unit': 'x'}}}
        )


def _matrix(*series):
    """Answer the range query of HOUR."""
    end = int(HOUR.end.timestamp())
    return faults.as_json(
        {
            'status': 'success',
            'data': {
                'resultType': 'matrix',
                'result': [
                    {'metric': labels, 'values': [[end, str(value)] for value in values]}
                    for labels, values in series
                ],
            },
        }
    )


def test_one_question_tells_the_newest_sample_of_all_metrics(build, server):
    """Those without a sample of the last minutes are looked for in the past, with one more."""
    driver = build()
    server.answer = faults.vector(({'metric': 'NAME'}, '1714521599.5'))

    found = driver.newest(['NAME'], since=HOUR.begin - timedelta(days=1), now=HOUR.begin)

    assert found == {'NAME': HOUR.begin - timedelta(seconds=0.5)}
    (request,) = server.requests
    assert request.path == '/api/v1/query'
    assert request.parameters['query'] == (
        'label_replace(max(timestamp(NAME)), "metric", "NAME", "", "")'
    )

    server.answer = faults.in_turn(
        faults.vector(),
        faults.as_json(
            {
                'status': 'success',
                'data': {
                    'resultType': 'matrix',
                    'result': [
                        {
                            'metric': {'metric': 'NAME'},
                            'values': [[1, '1714500000'], [2, '1714500300']],
                        }
                    ],
                },
            }
        ),
    )
    found = driver.newest(['NAME'], since=HOUR.begin - timedelta(days=1), now=HOUR.begin)

    assert found['NAME'].timestamp() == 1714500300
    assert [request.path for request in server.requests[1:]] == [
        '/api/v1/query',
        '/api/v1/query_range',
    ]
    assert server.requests[2].parameters['step'] == '240'


def test_very_many_metrics_are_looked_for_in_parts(build, server):
    """Some servers refuse long queries; it must not look as if the source were away."""
    server.answer = faults.empty
    driver = build(
        metrics={
            f'metric_{number}' + '_of_the_exporter' * 3: {'unit': 'x'} for number in range(100)
        }
    )

    assert set(
        driver.newest(
            list(driver.conf), since=HOUR.begin - timedelta(days=1), now=HOUR.begin
        ).values()
    ) == {None}

    queries = [
        request.parameters['query']
        for request in server.requests
        if request.path == '/api/v1/query'
    ]
    assert 1 < len(queries) < 5
    assert max(map(len, queries)) < 8000
    assert all(sum(f'timestamp({name})' in query for query in queries) == 1 for name in driver.conf)


def test_the_past_is_not_looked_through_in_more_steps_than_there_may_be(build, server):
    """Prometheus refuses a range query of more than 11,000 steps."""
    server.answer = faults.in_turn(
        faults.vector(),
        faults.as_json({'status': 'success', 'data': {'resultType': 'matrix', 'result': []}}),
    )

    found = build().newest(['NAME'], since=HOUR.begin - timedelta(days=60), now=HOUR.begin)

    assert found == {'NAME': None}
    for request in server.requests[1:]:
        begin, end = (datetime.fromisoformat(request.parameters[one]) for one in ('start', 'end'))
        assert (end - begin).total_seconds() / int(request.parameters['step']) < 11000


@pytest.mark.parametrize(
    'series', [({'metric': 'NAME'}, 'soon'), ({}, '1'), ({'metric': 'NAME'}, 'Inf')]
)
def test_a_strange_answer_about_the_newest_sample_is_an_error(build, server, series):
    server.answer = faults.vector(series)

    with pytest.raises(errors.CollectError, match='unexpected answer for the newest data'):
        build().newest(['NAME'], since=HOUR.begin - timedelta(days=1), now=HOUR.begin)
