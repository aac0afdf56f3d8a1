"""What is kept in memory of series and scopes."""

from cloudkitty.storage.v2.sql import catalogue


def test_layouts_are_kept_of_so_many_series_whatever_the_scopes(monkeypatch):
    monkeypatch.setattr(catalogue, 'LAYOUTS_MAX', 10)
    one = catalogue.Catalogue('project_id')
    shapes = {owner: ([object()] * 4, f'layout {owner}') for owner in range(1, 4)}
    for owner, shape in shapes.items():
        one.keep_layouts({owner: shape})

    assert one.layout(3) == shapes[3]
    assert one.layout(1) == one.layout(2) == (None, None)

    one.forget()
    one.keep_layouts({1: shapes[1]})
    one.keep_layouts({2: shapes[2]})
    assert one.layout(1) == shapes[1]
