"""Values of v1 callers: what is taken, as what, and what is refused."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.api import types

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ID = '3b0c5f1e-8a44-4f6e-9d5b-0a1b2c3d4e5f'

TAKEN = [
    (types.uuid, ID, ID),
    (types.uuid, ID.upper(), ID),
    (types.uuid, ID.replace('-', ''), ID),
    (types.key, ID.replace('-', '').upper(), ID),
    (types.key, 'compute', 'compute'),
    (types.boolean, True, True),
    (types.boolean, 0, False),
    (types.boolean, 'True', True),
    (types.boolean, 'false', False),
    (types.boolean, 'oN', True),
    (types.boolean, '', False),
    (types.Integer(1), 7, 7),
    (types.Integer(1), '7', 7),
    (types.cost, Decimal('0.2'), Decimal('0.2')),
    (types.cost, '1e-3', Decimal('0.001')),
    (types.cost, -4, Decimal(-4)),
    (types.cost, '.5', Decimal('0.5')),
    (types.cost, Decimal('1.' + '0' * 40), Decimal(1)),
    (types.cost, '0e-99', Decimal(0)),
    (types.cost, '1.6e-28', Decimal('2e-28')),
    (types.cost, '1e-29', Decimal(0)),
    (types.level, Decimal('2.8499999999999996'), Decimal('2.85')),
    (types.level, Decimal('1e-999999'), 0),
    (types.moment, '2024-05-01T12:00:00', NOON),
    (types.moment, '2024-05-01 12:00:00', NOON),
    (types.moment, '2024-05-01T14:00:00+02:00', NOON),
    (types.moment, '20240501T120000Z', NOON),
    (types.moment, '2024-05-01', NOON.replace(hour=0)),
    (types.moment, '2024-05-01T12:00:00.123456', NOON.replace(microsecond=123456)),
    (types.moment, NOON.replace(tzinfo=None), NOON),
    (types.rule_end, '2024-05-01', NOON.replace(hour=23, minute=59, second=59)),
    (types.rule_end, '2024-05-01 12:00:00', NOON),
    (types.rule_end, '2024-05-01T12:00:00', NOON),
    (types.Text(3), 'äöü', 'äöü'),
]
REFUSED = [
    (types.uuid, 'compute'),
    (types.uuid, 5),
    (types.key, 5),
    (types.boolean, 'perhaps'),
    (types.boolean, 2),
    (types.boolean, [True]),
    (types.Integer(1), 0),
    (types.Integer(1), True),
    (types.Integer(1), Decimal('1.9')),
    (types.Integer(1), '1_0'),
    (types.Integer(1), 2**31),
    (types.cost, 'abc'),
    (types.cost, 'NaN'),
    (types.cost, 'Infinity'),
    (types.cost, True),
    (types.cost, Decimal('NaN')),
    (types.cost, '1_0'),
    (types.cost, '١'),
    (types.cost, [1]),
    (types.cost, 10**12),
    (types.cost, Decimal('1e999999')),
    (types.level, Decimal('999999999999.999999999')),
    (types.moment, '3000-01'),
    (types.moment, '2024-W01-1'),
    (types.moment, 1700000000),
    (types.moment, ''),
    (types.moment, 'now'),
    (types.moment, '2024-02-30'),
    (types.moment, '0001-01-01T00:00:00+14:00'),
    (types.Text(3), 'four'),
    (types.Text(3), 5),
    (types.Text(3, min_length=1), ''),
]
SHOWN = [
    (types.cost, Decimal('0.2'), '0.2000000000000000000000000000'),
    (types.cost, Decimal(0), '0.0000000000000000000000000000'),
    (types.cost, Decimal('1e-28'), '0.0000000000000000000000000001'),
    (types.cost, types.cost.validate('-0.0'), '0.0000000000000000000000000000'),
    (types.cost, types.cost.validate('-1e-29'), '0.0000000000000000000000000000'),
    (types.level, Decimal(50), '50.00000000'),
    (types.number, Decimal('1E+1'), '10'),
    (types.moment, NOON, '2024-05-01T12:00:00'),
    (types.moment, NOON.replace(microsecond=1), '2024-05-01T12:00:00.000001'),
    (types.moment, None, None),
    (types.cost, None, None),
]


@pytest.mark.parametrize('kind, given, inside', TAKEN)
def test_a_value_is_taken_exactly(kind, given, inside):
    assert kind.validate(given) == inside


@pytest.mark.parametrize('kind, given, inside', TAKEN)
def test_a_value_inside_is_taken_again(kind, given, inside):
    """WSME validates what a controller puts into an answer, too."""
    assert kind.validate(kind.validate(given)) == inside


@pytest.mark.parametrize('kind, given', REFUSED)
def test_anything_else_is_a_value_error(kind, given):
    with pytest.raises(ValueError):
        kind.validate(given)


@pytest.mark.parametrize('kind, inside, shown', SHOWN)
def test_a_value_is_shown(kind, inside, shown):
    assert kind.tobasetype(inside) == shown
