"""What keeps a month open: its draft says so, and it is not closed."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import completeness, errors
from cloudkitty.core.timeframe import Period, to_naive
from cloudkitty.db import tables
from cloudkitty.scopes import late_data, reprocessing, resets, source_lag
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.drivers.billing.test_drafts import rate
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

END = moment('2026-11-01')
# A scope that is rated up to here waits for more.
MIDDLE = moment('2026-10-15')
TIERS = {'volume': [{'up_to': '10', 'unit': '2'}, {'unit': '1'}]}
DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [{'name': 'cpu', 'metric': 'cpu', 'price': TIERS}],
        }
    },
    'accounts': {'acme': {'scopes': ['a', 'b'], 'plan': 'p'}},
}


@pytest.fixture
def world(conf, database):
    made = World(conf)
    made.apply(DOCUMENT)
    made.push('a', OCTOBER, '5')
    return made


def change(world, **values):
    """Change the row of scope a."""
    row = {
        name: to_naive(value) if hasattr(value, 'tzinfo') else value
        for name, value in values.items()
    }
    with world.database.writer() as connection:
        connection.execute(
            sa.update(tables.scopes).where(tables.scopes.c.identifier == 'a').values(row)
        )


def wait(world, key, identity):
    change(world, last_processed_timestamp=MIDDLE)


def hold(world, key, identity):
    wait(world, key, identity)
    lag = source_lag.Lag(source_lag.HELD, MIDDLE, MIDDLE + 2 * HOUR, world.now)
    world.database.write(
        lambda connection: source_lag.record(
            connection, identity, {'cpu': lag}, newest={}, defined=['cpu']
        )
    )


def leave_a_gap(world, key, identity):
    note = late_data.Note(key, MIDDLE, MIDDLE + HOUR, 'no data of cpu')
    world.database.write(lambda connection: late_data.record(connection, [note]))


def fail(world, key, identity):
    change(
        world,
        last_processed_timestamp=MIDDLE,
        failure_reason='it is broken',
        failing_since=world.now,
    )


def switch_off(world, key, identity):
    change(
        world,
        last_processed_timestamp=MIDDLE,
        active=False,
        scope_activation_toggle_date=MIDDLE + 5 * HOUR,
    )


def reset(world, key, identity):
    world.database.write(lambda connection: resets.order(connection, [key], MIDDLE, now=world.now))


def rate_again(world, key, identity):
    world.database.write(
        lambda connection: reprocessing.create(
            connection,
            ['a'],
            identity=identity,
            window=Period(MIDDLE, MIDDLE + HOUR),
            reason='new prices',
        )
    )


STATES = {
    completeness.WAITING: wait,
    completeness.HELD: hold,
    completeness.GAP: leave_a_gap,
    completeness.FAILED: fail,
    completeness.INACTIVE: switch_off,
    completeness.RESET: reset,
    completeness.AGAIN: rate_again,
}


def check_refused(world, reason):
    """Check that the draft has the one reason, and that closing is refused for it."""
    [blocker] = world.draft('acme').blockers
    assert blocker.startswith(reason)
    with pytest.raises(errors.Conflict, match='cannot be closed') as refused:
        world.close('acme')
    assert blocker in str(refused.value)
    assert world.months() == []


@pytest.mark.parametrize('state', [one for one in completeness.STATES if one != 'final'])
def test_a_scope_that_is_not_final_keeps_a_month_open(world, state):
    """In each state that there is; without it the month is closed."""
    rate(world, END + HOUR, 'a', 'b')
    identity = scope_state.Identity.of(world.conf)
    with world.database.reader() as connection:
        _, scopes = scope_state.list_scopes(connection, scope_id=['a'])
    assert world.draft('acme').blockers == []

    STATES[state](world, scopes[0].id, identity)

    check_refused(world, f'scope a is {state}')


def test_a_missing_rate_keeps_a_month_open(world):
    acme = {**DOCUMENT['accounts']['acme'], 'currency': 'CHF'}
    later = {'EUR/CHF': [{'from': '2026-11-01', 'rate': '0.9'}]}
    world.apply({**DOCUMENT, 'accounts': {'acme': acme}, 'rates': later}, '2026-02')

    check_refused(world, 'no rate EUR/CHF is in force at the end of 2026-10')


def test_a_negative_quantity_in_tiers_keeps_a_month_open(world):
    world.push('b', OCTOBER, '-7')

    check_refused(world, 'item cpu: -2 is negative, and has no volume price')


def test_usage_that_is_pushed_has_some_days_to_arrive(world):
    """To the second."""
    closing = END + timedelta(days=3)
    world.now = closing - timedelta(seconds=1)
    check_refused(world, 'it can be closed from 2026-11-04T00:00:00+00:00 on')

    world.now = closing
    assert world.close('acme').number == 'CK-2026-000001'
