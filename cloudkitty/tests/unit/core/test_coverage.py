"""Gaps between samples, and which periods lack something."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.core import coverage
from cloudkitty.core.timeframe import Period

START = datetime(2024, 5, 1, tzinfo=UTC)


def span(begin, end):
    return Period(START + timedelta(hours=begin), START + timedelta(hours=end))


@pytest.mark.parametrize(
    'instants, expected',
    [
        ([], []),
        (range(0, 601, 60), []),
        # One lost scrape is bridged, also where the next one is late.
        ([*range(0, 241, 60), *range(360, 601, 60)], []),
        ([0, 60, 200, 240, 300, 360, 420, 480, 540, 600], []),
        # Two are not.
        ([*range(0, 241, 60), *range(420, 601, 60)], [(300, 420)]),
        # Nothing tells of the time before the first; after the last there is none up to the end.
        (range(300, 601, 60), []),
        (range(0, 301, 60), [(360, None)]),
        # Several series, in any order, and what was not looked at.
        ([600, 0, 60, 90, 90, 500, 520, 560, -60, 900], [(150, 500)]),
    ],
)
def test_gaps_are_longer_than_a_lost_scrape(instants, expected):
    assert coverage.find_gaps(instants, 60, (0, 600)) == expected


@pytest.mark.parametrize(
    'others, expected',
    [
        ([], [(2, 6)]),
        ([(0, 9)], []),
        ([(2, 6)], []),
        ([(0, 2), (6, 9)], [(2, 6)]),
        ([(0, 3)], [(3, 6)]),
        ([(3, 4), (5, 9)], [(2, 3), (4, 5)]),
    ],
)
def test_parts_that_others_do_not_cover(others, expected):
    found = coverage.without(span(2, 6), [span(*other) for other in others])

    assert found == [span(*part) for part in expected]


def test_periods_lack_what_has_a_hole_in_them():
    periods = [span(hour, hour + 1) for hour in range(4)]

    found = coverage.names_by_period(
        {'cpu': [span(0.5, 2)], 'ram': [span(1.1, 1.2), span(4, 5)]}, periods
    )

    assert found == [('cpu',), ('cpu', 'ram'), (), ()]
    assert [coverage.first_run(found[place:]) for place in range(4)] == [1, 1, 2, 1]
    assert coverage.first_run([]) == 0
