"""Rules of a host in another zone go on pricing the periods that they priced there."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.tests.functional.adoption.conftest import adopt

HOUR = timedelta(hours=1)
# One that changes at noon, and one of a summer in which São Paulo was two hours behind UTC; both
# ended when it was three behind. In both years Tokyo was nine ahead.
SUMMER, WINTER = datetime(2018, 11, 10, 12), datetime(2019, 3, 1, 9)
MAPPINGS = """
    SELECT m.value, m.cost, m.start, m.end
    FROM hashmap_mappings m JOIN hashmap_fields f ON f.id = m.field_id
    WHERE f.name = 'flavor_name' AND m.value IN ('large', 'summer')
      AND m.tenant_id IS NULL AND m.group_id IS NULL
"""


def _make_summer(connection):
    connection.execute(
        sa.text(
            'INSERT INTO hashmap_mappings '
            '(mapping_id, value, cost, map_type, field_id, name, start, end, created_by) '
            "VALUES ('s', 'summer', 3, 'flat', 1, 's', :start, :end, 'me')"
        ),
        {'start': SUMMER, 'end': WINTER},
    )


def _former_cost(rules, value, begin, zone):
    """Return what the former service charged: it compared rules with the clock on its wall."""
    wall = begin.astimezone(zone).replace(tzinfo=None)
    return sum(
        rule.cost
        for rule in rules
        if rule.value == value and rule.start <= wall and (rule.end is None or wall < rule.end)
    )


def _cost(modules, value, begin):
    point = DataPoint('u', 1, 0, {'flavor_name': value}, {})
    frame = DataFrame(begin, begin + HOUR, {'instance': [point]})
    rated, failure = modules.rate_periods(ScopePeriods.of_frames('nobody', [frame]))
    assert failure is None
    return rated[0].usage['instance'][0].price


@pytest.mark.parametrize('zone_name', ['Asia/Tokyo', 'America/Sao_Paulo', 'UTC'])
def test_periods_at_the_edges_of_rules_cost_the_same(former_25, conf, zone_name):
    """The last period before each edge, the first one after it, and those beside them."""
    zone = zoneinfo.ZoneInfo(zone_name)
    with former_25.writer() as connection:
        _make_summer(connection)
        connection.execute(sa.text("UPDATE modules_state SET state = (name = 'hashmap')"))
        rules = connection.execute(sa.text(MAPPINGS)).all()
    edges = {
        (rule.value, edge.replace(tzinfo=zone).astimezone(UTC))
        for rule in rules
        for edge in (rule.start, rule.end)
        if edge is not None
    }

    adopt(former_25, zone_name)

    modules = ModuleSet(conf, former_25)
    modules.refresh()
    periods = [(value, edge + number * HOUR) for value, edge in edges for number in (-2, -1, 0, 1)]
    costs = {key: _cost(modules, *key) for key in periods}
    assert costs == {key: _former_cost(rules, *key, zone) for key in periods}
    # Both rules of the one, the one rule of the other, and none.
    assert len(edges) == 4
    assert len({(value, cost) for (value, _), cost in costs.items()}) == 5
