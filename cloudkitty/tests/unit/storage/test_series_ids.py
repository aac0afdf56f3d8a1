"""What is kept in memory of series and scopes."""

from cloudkitty.storage.v2.series import series_ids


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
