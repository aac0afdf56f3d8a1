"""Cycles begin on a grid, and none is shifted by one that takes long."""

import hypothesis
import pytest
from hypothesis import strategies as st

from cloudkitty.agent.grid import Grid

GRID = Grid(600, 100)


@pytest.mark.parametrize('instant, expected', [(99.9, 100), (100, 700), (100.1, 700), (1299, 1300)])
def test_the_next_instant_lies_on_the_grid(instant, expected):
    """After, not at."""
    assert GRID.after(instant) == expected


@pytest.mark.parametrize('now, expected', [(110, 0), (699, 0), (700, 1), (1299, 1), (1300, 2)])
def test_an_overrun_skips(now, expected):
    """The instants that passed during the cycle of 100."""
    assert GRID.skipped(100, now) == expected


@hypothesis.given(st.integers(1, 86400), st.text(), st.floats(0, 4e9))
def test_every_host_has_a_grid(interval_s, host, instant_s):
    """The next instant is never further away than the interval."""
    grid = Grid.of(interval_s, host)

    following = grid.after(instant_s)
    assert 0 <= grid.offset_s < interval_s
    assert instant_s < following <= instant_s + interval_s
    assert (following - grid.offset_s) % interval_s == 0
