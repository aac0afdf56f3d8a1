"""What is kept in memory of series and scopes."""

import pytest

from cloudkitty.core.dataframe import Series
from cloudkitty.storage.v2.series import series_ids


def test_places_are_kept_of_so_many_series(monkeypatch):
    monkeypatch.setattr(series_ids, 'PLACES_MAX', 10)
    one = series_ids.IdCache('project_id')
    made = {
        series_ids.Entry(1, 2, f'metric {number}', Series('u', {}, {})): number
        for number in range(1, 13)
    }
    ids = {number: entry for entry, number in made.items()}
    for first in (1, 7):
        one.add({}, {ids[number]: number for number in range(first, first + 6)})

    # No connection: only those that are kept.
    assert one.places(None, {7, 12}) == {7: (2, 'metric 7'), 12: (2, 'metric 12')}
    with pytest.raises(AttributeError):
        one.places(None, {1})


def test_layouts_are_kept_of_so_many_series_whatever_the_scopes(monkeypatch):
    monkeypatch.setattr(series_ids, 'LAYOUTS_MAX', 10)
    one = series_ids.IdCache('project_id')
    shapes = {owner: ([object()] * 4, f'layout {owner}') for owner in range(1, 4)}
    for owner, shape in shapes.items():
        one.add_layouts({owner: shape})

    assert one.layout(3) == shapes[3]
    assert one.layout(1) == one.layout(2) == (None, None)

    one.clear()
    one.add_layouts({1: shapes[1]})
    one.add_layouts({2: shapes[2]})
    assert one.layout(1) == shapes[1]
