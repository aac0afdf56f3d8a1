"""A hole of one target of several is noted, and names it; a target that is removed has none."""

import itertools
from datetime import timedelta

import pytest

from cloudkitty import collector, errors
from cloudkitty.collector import prometheus_targets
from cloudkitty.core import coverage
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import source_gaps
from cloudkitty.tests import faults, metric_stores, services
from cloudkitty.tests.messy import cases
from cloudkitty.tests.messy.rating import of_prometheus

SPAN = Period(cases.DAY, cases.DAY + timedelta(hours=3))
PERIODS = [
    Period(SPAN.begin + n * timedelta(hours=1), SPAN.begin + (n + 1) * timedelta(hours=1))
    for n in range(3)
]


@pytest.fixture(
    scope='module',
    params=[services.Prometheus, metric_stores.VictoriaMetrics],
    ids=['prometheus', 'victoria_metrics'],
)
def source(request, tmp_path_factory):
    rows = cases.families(
        {}, itertools.chain(cases.one_target_of_several(), cases.a_part_of_an_exporter_fails())
    )
    with request.param(tmp_path_factory.mktemp('targets'), history=rows) as server:
        yield server


def rating_of(folder, url, *names, prefix='target', **extra_args):
    definition = {
        'unit': 'GiB',
        'groupby': ['id'],
        'extra_args': {'measure': 'time_weighted', 'scrape_interval': 30, **extra_args},
    }
    metrics = {f'{prefix}_{name}_gb': definition for name in names}
    return of_prometheus(folder, url, metrics, ['p1'], lag_max=7200)


def gaps_of(rating, *, now=SPAN.end, periods=PERIODS, known=None):
    driver = collector.get_driver(rating.conf)
    found = driver.coverage(
        list(driver.conf), periods, known=known or {}, now=now, scope_ids=['p1']
    )
    return {
        key.partition('_')[2].removesuffix('_gb'): [
            (f'{gap.begin:%H:%M}', f'{gap.end:%H:%M}', gap.sign) for gap in one.holes
        ]
        for key, one in found.items()
        if one.gaps
    }


def test_a_hole_of_one_target_is_one_of_the_metric(tmp_path, source):
    """Unless it is removed or new, or another one has the resources, or a resource ends."""
    found = gaps_of(rating_of(tmp_path, source.url, *cases.TARGETS))

    text = '1 resources of target {0}2 ({0}) have samples before and after it, and none in it'
    assert found == {
        'refused': [('01:24', '02:35', text.format('refused'))],
        'absent': [('01:24', '02:35', text.format('absent'))],
        'dead': [
            (
                '01:24',
                '03:00',
                'target dead2 (dead) did not answer (up), with 1 resources before it',
            )
        ],
    }


def test_a_target_that_stays_away_has_a_hole_in_each_period(tmp_path, source):
    """Also in periods that begin long after its last sample, while its hole is known."""
    rating = rating_of(tmp_path, source.url, 'dead', 'removed')
    begin = cases.DAY + timedelta(hours=1, minutes=25)
    periods = [
        Period(begin + timedelta(minutes=n), begin + timedelta(minutes=n + 1)) for n in (95,)
    ]
    known = {
        f'target_{name}_gb': coverage.Gap(begin, periods[0].begin, True, '')
        for name in ('dead', 'removed')
    }

    found = gaps_of(rating, now=periods[0].end, periods=periods, known=known)

    assert [(name, gap[:2]) for name, (gap,) in found.items()] == [('dead', ('01:25', '03:01'))]


def test_it_holds_the_periods_and_is_then_noted(tmp_path, source, capsys):
    rating = rating_of(tmp_path, source.url, 'refused', 'ended')

    rating.run(SPAN, now=cases.DAY + timedelta(hours=3, minutes=10))
    assert 'target refused2 (refused)' in rating.scopes()['p1']['held']
    rating.turn(cases.DAY + timedelta(hours=6))

    assert [(one['begin'][11:13], one['end'][11:13]) for one in rating.scopes()['p1']['noted']] == [
        ('01', '03')
    ]
    answer = rating.completeness(SPAN)
    assert not answer['final']
    assert {(gap['metric'], gap['state']) for gap in answer['gaps']} == {
        ('target_refused_gb', source_gaps.NOTED)
    }
    line = 'no samples of metric target_refused_gb from 2026-11-28T01:24'
    assert line in capsys.readouterr().out
    hours = rating.summary(SPAN, 'type')[('target_refused_gb',)]
    assert float(hours) == pytest.approx(3 + 3 - 70 / 60, abs=0.05)


def test_it_costs_no_request_while_all_targets_answer(tmp_path, source):
    with faults.FaultyServer(faults.pass_on(source.url)) as front:
        rating = rating_of(tmp_path, f'http://{front.address}/api/v1', 'ended')
        calm = [Period(cases.DAY, cases.DAY + timedelta(hours=1))]

        assert gaps_of(rating, now=calm[0].end, periods=calm) == {}

        assert len(front.requests) == 1


def test_of_too_many_holes_the_rest_is_one_of_all_metrics(tmp_path, source, monkeypatch):
    monkeypatch.setattr(prometheus_targets, 'EXAMINED_MAX', 0)

    found = gaps_of(rating_of(tmp_path, source.url, 'refused'))

    assert found['refused'][0][2].endswith('there are many gaps')


HEALTH = 'part_success{part="sizes"}'


def test_a_part_of_an_exporter_that_fails_has_a_hole_if_it_says_so(tmp_path, source):
    """`up` is 1 all the time, and the target has other metrics."""
    names = ('told', 'silent', 'ended', 'alone')

    found = gaps_of(rating_of(tmp_path, source.url, *names, prefix='part', health=HEALTH))

    assert {name: gap[:2] for name, (gap,) in found.items()} == {
        'told': ('01:25', '02:35'),
        'alone': ('01:25', '03:00'),
    }
    assert found['told'][0][2] == (
        '1 resources of target told1 (told) have samples before and after it, and none in it'
    )


def test_nothing_tells_of_a_part_that_fails_without_health(tmp_path, source):
    names = ('told', 'silent', 'ended')

    assert gaps_of(rating_of(tmp_path, source.url, *names, prefix='part')) == {}


def test_what_an_exporter_says_of_its_parts_costs_no_request(tmp_path, source):
    with faults.FaultyServer(faults.pass_on(source.url)) as front:
        rating = rating_of(
            tmp_path,
            f'http://{front.address}/api/v1',
            'told',
            'alone',
            prefix='part',
            health=HEALTH,
        )
        calm = [Period(cases.DAY, cases.DAY + timedelta(hours=1))]

        assert gaps_of(rating, now=calm[0].end, periods=calm) == {}

        assert len(front.requests) == 1


@pytest.mark.parametrize('health', ['a b', '{part="x"}', 'x{part=1}', 'x{} or y', 1])
def test_a_health_that_is_no_selector_is_refused(tmp_path, health):
    with pytest.raises(errors.ConfigurationError, match='health'):
        collector.get_driver(rating_of(tmp_path, 'http://x', 'told', health=health).conf)
