"""Points of many scopes, series and periods, and what is kept of them."""

import gc
from datetime import timedelta

import pytest

from cloudkitty import errors
from cloudkitty.collector import prometheus, prometheus_answer
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import Series
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import faults, history

HOUR = history.hour(0)


def _matrix(*series, first=HOUR):
    """Answer a range query: the values of each series at the end of *first* and the hours after."""
    end = int(first.end.timestamp())
    return faults.as_json(
        {
            'status': 'success',
            'data': {
                'resultType': 'matrix',
                'result': [
                    {
                        'metric': labels,
                        'values': [
                            [end + 3600 * number, str(value)] for number, value in enumerate(values)
                        ],
                    }
                    for labels, values in series
                ],
            },
        }
    )


def test_all_series_and_periods_of_all_scopes_become_points(build, server):
    """Two of everything: each point is where its labels and its instant say."""
    server.answer = _matrix(
        ({'project_id': 'a', 'id': 'i'}, [1, 2]),
        ({'project_id': 'b', 'id': 'i'}, [3, 4]),
        ({'project_id': 'a', 'id': 'j'}, [5, 6]),
        first=history.hour(23),
    )
    periods = [history.hour(23), history.hour(24)]

    found = list(build().collect('NAME', periods, ['a', 'b', 'c']))

    assert [
        (scope_id, period, [(point.groupby['id'], point.qty) for point in points])
        for scope_id, period, points in found
    ] == [
        ('a', periods[0], [('i', 1), ('j', 5)]),
        ('a', periods[1], [('i', 2), ('j', 6)]),
        ('b', periods[0], [('i', 3)]),
        ('b', periods[1], [('i', 4)]),
    ]
    assert [points[0].groupby['day_of_the_year'] for _, _, points in found] == [
        '122',
        '123',
        '122',
        '123',
    ]


@pytest.mark.parametrize('bad', ['NaN', '-7', '1e20'])
@pytest.mark.parametrize('number', range(3))
def test_a_bad_value_leaves_the_other_periods_as_they_are(build, server, bad, number):
    """Wherever in its series it is: the values after it stay in their periods."""
    values = ['10', '20', '30']
    values[number] = bad
    server.answer = _matrix(({'project_id': 'a', 'id': 'i'}, values))
    periods = [history.hour(n) for n in range(3)]

    found = list(build().collect('NAME', periods, ['a', 'b']))

    assert [(period, [point.qty for point in points]) for _, period, points in found] == [
        (periods[n], [10 * (n + 1)]) for n in range(3) if n != number
    ]


def test_a_backlog_longer_than_a_query_is_put_together(build, server, monkeypatch):
    """What each answer says stands in the periods it was asked for."""
    monkeypatch.setattr(prometheus, 'steps_max', lambda metric: 2)
    periods = [history.hour(n) for n in range(5)]

    def answer(handler, request):
        ends = [period.end.isoformat() for period in periods]
        begin = ends.index(request.parameters['start'])
        values = range(10 * begin, 10 * min(begin + 2, 5), 10)
        _matrix(({'id': 'i'}, values), first=periods[begin])(handler, request)

    server.answer = answer

    found = list(build().collect('NAME', periods, ['a']))

    assert [(period, [point.qty for point in points]) for _, period, points in found] == [
        (period, [10 * n]) for n, period in enumerate(periods)
    ]


def test_series_that_are_kept_are_bounded(build, server, monkeypatch):
    """Labels that are never the same again do not fill the memory."""
    monkeypatch.setattr(prometheus_answer, 'SERIES_KEPT_MAX', 3)
    driver = build()
    before = _series_alive()
    for number in range(20):
        server.answer = faults.vector(({'id': f'resource-{number}'}, '1'))
        assert driver.fetch_all('NAME', *HOUR, 'a')[0].groupby['id'] == f'resource-{number}'
    assert _series_alive() <= before + 4


def _series_alive():
    gc.collect()
    return sum(type(one) is Series for one in gc.get_objects())


def test_only_answers_about_several_scopes_or_periods_have_a_small_limit(
    build, server, monkeypatch
):
    """What is too large is asked for in parts; of one scope in one period there are none."""
    monkeypatch.setattr(prometheus, 'PART_SIZE_MAX_BYTES', 300)
    many = [({'project_id': 'a', 'id': f'{n:020}'}, [n]) for n in range(20)]
    server.answer = _matrix(*many)
    driver = build()

    assert len(list(driver.collect('NAME', [HOUR], ['a']))[0][2]) == 20
    for periods, scope_ids in (([HOUR], ['a', 'b']), ([HOUR, history.hour(1)], ['a'])):
        with pytest.raises(errors.AnswerTooLarge):
            list(driver.collect('NAME', periods, scope_ids))


def test_each_metric_reaches_as_far_as_its_own_samples(build, server):
    """One is fresh, one silent for hours, one has no samples: what is found is asked for once."""
    driver = build(metrics={name: {'unit': 'x'} for name in ('fresh', 'silent', 'unknown')})
    newest = int(HOUR.begin.timestamp())
    server.answer = faults.in_turn(
        faults.vector(({'metric': 'fresh'}, str(newest - 10))),
        _matrix(({'metric': 'silent'}, [newest - 7800, newest - 7200])),
    )

    found = driver.newest(list(driver.conf), since=HOUR.begin - timedelta(days=1), now=HOUR.begin)

    assert found == {
        'fresh': HOUR.begin - timedelta(seconds=10),
        'silent': HOUR.begin - timedelta(hours=2),
        'unknown': None,
    }
    assert [
        [name for name in driver.conf if f'timestamp({name})' in request.parameters['query']]
        for request in server.requests
    ] == [['fresh', 'silent', 'unknown'], ['silent', 'unknown'], *[['unknown']] * 3]


@pytest.mark.parametrize('length_s', [60, 600, 3600, 86400])
def test_a_query_looks_at_the_length_of_the_period(build, server, length_s):
    """Alone and as one of several: the range, the step and the edges are those of the period."""
    length = timedelta(seconds=length_s)
    periods = [
        Period(HOUR.begin + number * length, HOUR.begin + (number + 1) * length)
        for number in (0, 1)
    ]
    server.answer = faults.in_turn(faults.vector(), faults.empty)
    driver = build()

    driver.fetch_all('NAME', *periods[0], 'a')
    list(driver.collect('NAME', periods, ['a']))

    asked = [request.parameters for request in server.requests]
    assert all(f'[{length_s}s]' in one['query'] for one in asked)
    assert asked[0]['time'] == timeframe.render(periods[0].end)
    assert (asked[1]['start'], asked[1]['end'], asked[1]['step']) == (
        timeframe.render(periods[0].end),
        timeframe.render(periods[1].end),
        str(length_s),
    )


@pytest.mark.parametrize(
    'extra_args, expected',
    [
        ({}, 1),
        ({'query_suffix': '* 2'}, 1),
        ({'query_suffix': '/ scalar(max(up @ end()))'}, 3),
        ({'query_prefix': '2 * scalar(max(up @ start())) *'}, 3),
    ],
)
def test_what_means_the_end_of_the_range_is_asked_period_by_period(
    build, server, extra_args, expected
):
    """`@ end()` is the end of all periods when they are asked for together."""
    server.answer = faults.empty
    periods = [history.hour(number) for number in range(3)]

    list(build(extra_args=extra_args).collect('NAME', periods, ['a']))

    assert len(server.requests) == expected
