"""Gaps of sources that tell when they have samples: holes are told from disuse."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.collector import source_coverage
from cloudkitty.core import metrics
from cloudkitty.core.coverage import Gap
from cloudkitty.core.timeframe import Period

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 1, tzinfo=UTC)
NOW = START + 100 * HOUR
DEFINITIONS = list(
    metrics.parse(
        {'metrics': {name: {'unit': 'x'} for name in ('cpu', 'ram')}}, scope_key='project_id'
    ).values()
)


class Source:
    """Samples as {metric: {(scope id, resource): [minutes after the start]}}."""

    def __init__(self, **samples):
        self.samples = samples
        self.asked = []

    def instants(self, metric, span, step_s, scope_ids):
        self.asked.append((metric.key, tuple(scope_ids)))
        return {
            at.timestamp() // step_s * step_s
            for (scope_id, _), found in self.samples.get(metric.key, {}).items()
            for at in map(_at, found)
            if span.begin <= at < span.end and (not scope_ids or scope_id in scope_ids)
        }

    def resources(self, metric, span, alive_until):
        return {
            key
            for key, found in self.samples[metric.key].items()
            if any(span.begin <= _at(minute) < span.end for minute in found)
        }


def _at(minute):
    return START + timedelta(minutes=minute)


def examine(source, *, begin=3, end=6, known=None, first=()):
    periods = [Period(START + n * HOUR, START + (n + 1) * HOUR) for n in range(begin, end)]
    return source_coverage.examine(
        source, DEFINITIONS, periods, known=known or {}, now=NOW, first=first
    )


def gaps(source, **options):
    """Return (begin, end, is hole) in minutes, of cpu."""
    return [
        ((one.begin - START).seconds // 60, (one.end - START).seconds // 60, one.is_hole)
        for one in examine(source, **options)['cpu'].gaps
    ]


def every(step, *spans):
    return [minute for span in spans for minute in range(*span, step)]


ALL = {('a', 'x'): every(10, (0, 480))}


@pytest.mark.parametrize(
    'samples, expected',
    [
        (every(10, (0, 480)), []),
        # One lost sample is none, and jitter neither.
        ([*every(10, (0, 240)), *every(10, (250, 480))], []),
        ([minute + minute % 7 / 2 for minute in every(10, (0, 480))], []),
        (every(10, (0, 200), (280, 480)), [(200, 280, True)]),
        (every(10, (0, 200), (280, 330), (370, 480)), [(200, 280, True), (330, 370, True)]),
        # A sample for each period: one that is missing is a gap.
        (every(60, (0, 240), (300, 480)), [(240, 300, True)]),
        # Nothing tells of the time before the first.
        (every(10, (200, 480)), []),
        # It ended, and others went on: nobody used it.
        (every(10, (0, 250)), [(250, 420, False)]),
    ],
)
def test_gaps_of_regular_samples(samples, expected):
    assert gaps(Source(cpu={('a', 'x'): samples}, ram=ALL)) == expected


@pytest.mark.parametrize(
    'source, sign',
    [
        (Source(cpu={('a', 'x'): every(10, (0, 250))}), 'no other metric has samples in it'),
        (
            Source(cpu={(name, 'x'): every(10, (0, 250)) for name in 'ab'}, ram=ALL),
            'the resources of 2 scopes ended at once',
        ),
        (
            Source(cpu={('a', 'x'): every(10, (0, 250), (300, 480))}, ram=ALL),
            '1 resources have samples before and after it',
        ),
    ],
)
def test_the_sign_is_named(source, sign):
    (gap,) = examine(source)['cpu'].gaps
    assert (gap.is_hole, gap.sign) == (True, sign)


def test_other_resources_after_it_are_disuse():
    source = Source(
        cpu={('a', 'x'): every(10, (0, 200)), ('b', 'y'): every(10, (300, 480))}, ram=ALL
    )
    assert gaps(source) == [(200, 300, False)]


def test_nothing_is_told_of_irregular_samples():
    source = Source(cpu={('a', 'x'): [0, 3, 40, 41, 90, 200, 203, 330, 410]}, ram=ALL)
    assert set(examine(source)) == {'ram'}


def test_samples_further_apart_than_a_period_are_a_warning():
    found = examine(Source(cpu={('a', 'x'): every(90, (0, 480))}, ram=ALL))['cpu']
    assert found.gaps == ()
    assert found.warning == 'samples of cpu are 5400 s apart, and a period is 3600 s'


def test_a_gap_that_is_known_goes_on():
    """Where there are no samples at all, and where they begin again."""
    known = {'cpu': Gap(START - 5 * HOUR, START + 3 * HOUR, True, 'old')}
    found = examine(Source(ram=ALL), known=known)
    assert (found['cpu'].gaps[0].begin, found['cpu'].has_samples) == (START - 5 * HOUR, False)
    assert found['cpu'].gaps[0].end == START + 7 * HOUR

    back = Source(cpu={('a', 'x'): every(10, (240, 480))}, ram=ALL)
    assert [(one.begin, one.end) for one in examine(back, known=known)['cpu'].gaps] == [
        (START - 5 * HOUR, START + 4 * HOUR)
    ]


def test_a_few_scopes_are_enough_where_they_have_all():
    """All are looked at only for metrics of which they lack something."""
    source = Source(
        cpu={('a', 'x'): every(10, (0, 200), (300, 480)), ('b', 'y'): every(10, (0, 480))}, ram=ALL
    )
    found = examine(source, first=['a'])
    assert source.asked == [('cpu', ('a',)), ('cpu', ()), ('ram', ('a',))]
    assert [list(one.gaps) for one in found.values()] == [[], []]
