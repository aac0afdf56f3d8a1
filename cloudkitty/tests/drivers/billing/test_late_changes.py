"""Whatever changes the usage of a closed month: the statement stays, the next one corrects it."""

import pytest
import sqlalchemy as sa

from cloudkitty.billing import ledger, reconciliation
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.processor import exporter
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import reprocessing, resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import v2
from cloudkitty.tests.drivers.billing.test_closing import DOCUMENT
from cloudkitty.tests.drivers.billing.test_drafts import rate
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

RATED_UNTIL = moment('2026-12-02')


@pytest.fixture
def world(any_conf, any_database):
    made = World(any_conf)
    made.now = moment('2026-12-20')
    made.apply(DOCUMENT)
    made.push('a', OCTOBER, '1500', '7')
    rate(made, RATED_UNTIL, 'a', 'b', 'c')
    return made


def scope(world):
    with world.database.reader() as connection:
        [found] = scope_state.list_scopes(connection, scope_id=['a'])[1]
    return found


def push(world):
    world.push('a', OCTOBER + HOUR, '20', '0.125')


def rate_again(world):
    """Replace the hour, as the processor does."""
    identity, window = scope_state.Identity.of(world.conf), Period(OCTOBER, OCTOBER + HOUR)
    world.database.write(
        lambda connection: reprocessing.create(
            connection, ['a'], identity=identity, window=window, reason='new prices'
        )
    )
    with world.database.reader() as connection:
        [task] = reprocessing.list_tasks(connection)[1]
    frame = DataFrame(*window)
    frame.add_point(DataPoint('unit', '1510', '8', {'project_id': 'a'}, {}), 'cpu')
    batch = v2.ScopeBatch(scope(world).id, 'a', OCTOBER - HOUR, OCTOBER, [frame])
    assert world.storage.replace([v2.Replacement(task.id, None, window.end, batch)]) == []


def reset(world):
    """Set the scope back, and rate it up to the end again without that usage."""
    one = scope(world)
    world.database.write(
        lambda connection: resets.order(connection, [one.id], OCTOBER - HOUR, now=world.now)
    )
    with world.database.reader() as connection:
        [order] = resets.list_pending(connection, scope_state.Identity.of(world.conf))
    assert world.storage.reset(order)
    assert world.draft('acme', '2026-11').blockers != []
    world.database.write(
        lambda connection: scope_state.advance(connection, {one.id: RATED_UNTIL - HOUR})
    )


def delete(world):
    world.storage.delete(OCTOBER, OCTOBER + HOUR, {'project_id': 'a'})


def stored(world):
    """Return the statements as they are stored."""
    with world.database.reader() as connection:
        rows = connection.execute(sa.select(ledger.TABLE).order_by(ledger.TABLE.c.sequence))
        return rows.all()


def measured(world):
    """Return the metric of what is unbooked."""
    progress = exporter.ProgressCollector(
        world.database,
        Settings.of(world.conf),
        clock=lambda: world.now,
        unreconciled=exporter.unreconciled_counter(world.conf, world.database),
    )
    by_name = {metric.name: metric for metric in progress.collect()}
    return by_name['cloudkitty_billing_unreconciled'].samples[0].value


def unbooked(world):
    with world.database.reader() as connection:
        return reconciliation.unbooked_months(connection, world.statements.documents, 'project_id')


@pytest.mark.parametrize(
    'change, listed, amount',
    [
        (push, '0.125', '0.60'),
        (rate_again, '1', '0.30'),
        (reset, '-7', '-56.00'),
        (delete, '-7', '-56.00'),
    ],
)
def test_a_change_is_corrected_by_the_next_statement(world, change, listed, amount):
    """It is unbooked until then; the closed statement keeps every byte."""
    world.close('acme')
    before = stored(world)
    assert unbooked(world) == set()

    change(world)

    assert stored(world) == before
    assert (unbooked(world), measured(world)) == ({('acme', '2026-10')}, 1)
    assert world.pending('acme', '2026-11') == [('2026-10', listed, amount)]
    entry = world.close('acme', '2026-11')
    assert str(entry.net) == amount
    assert stored(world)[: len(before)] == before
    assert (unbooked(world), measured(world)) == (set(), 0)
    assert world.pending('acme', '2026-12') == []
    assert world.faults() == []
