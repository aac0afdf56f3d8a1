"""When the processor closes months: with real locks, and a clock that the tests move."""

from datetime import timedelta

import pytest

from cloudkitty import errors, locks
from cloudkitty.processor import closing, locked_job, settings
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.drivers.billing.world import OCTOBER, World, moment

SETTINGS = settings.Settings(
    identity=scope_state.Identity('project_id', 'fake', 'fake'),
    length_s=3600,
    wait_periods=1,
    shards=4,
    batch_scopes=10,
    batch_periods=24,
)
DOCUMENT = {
    'defaults': {'currency': 'EUR'},
    'accounts': {
        'early': {'scopes': ['a'], 'zone': 'Pacific/Kiritimati', 'close_after': '0 h'},
        'late': {'scopes': ['b'], 'close_after': '10 d'},
        'blocked': {'scopes': ['c'], 'tax': {'reduced': 'VAT'}},
    },
    'taxes': {'VAT': [{'from': '2020-01-01', 'rate': '5 %'}]},
}


@pytest.fixture
def world(conf, database):
    made = World(conf)
    made.apply(DOCUMENT)
    for scope in ('a', 'b', 'c', 'd'):
        made.push(scope, OCTOBER + timedelta(days=9), '1', '2')
    return made


@pytest.fixture
def job(world, tmp_path):
    world.now = OCTOBER + timedelta(days=20)
    return closing.MonthClosing(
        closing=world.closing,
        write_files=lambda entry: (),
        settings=SETTINGS,
        clock=lambda: world.now,
        locks=locks.Locks(f'file://{tmp_path}/job'),
    )


def closed(world, job, now):
    """Return the accounts that have a statement of October after a round at that time."""
    world.now = moment(now)
    job.next_at = world.now
    while job.step():
        pass
    return sorted(world.closing_accounts('2026-10'))


def test_each_account_is_closed_when_its_time_has_come(world, job):
    """In its zone, after its close_after; what is blocked waits, and holds nobody up."""
    assert closed(world, job, '2026-10-31T09:59') == []
    assert closed(world, job, '2026-10-31T10:00') == ['early']
    assert closed(world, job, '2026-11-04T00:00') == ['d', 'early']
    assert closed(world, job, '2026-11-11T00:00') == ['d', 'early', 'late']
    assert job.next_at == world.now + locked_job.PAUSE
    assert world.faults() == []


def test_many_accounts_are_closed_a_few_at_a_time(world, job, monkeypatch):
    monkeypatch.setattr(closing, 'ACCOUNTS_AT_ONCE', 1)
    world.now = moment('2026-11-20')

    assert job.step() is True
    assert len(world.closing_accounts('2026-10')) <= 1
    assert closed(world, job, '2026-11-20T01:00') == ['d', 'early', 'late']


def test_points_are_kept_as_long_as_local_months_need_them(world):
    """The hours around their borders are not in the sums of days."""
    world.conf.set_override('retention_period', 24 * 60, 'storage')

    with pytest.raises(errors.ConfigurationError, match='need 1488: two months'):
        world.statements.check_retention()
    world.conf.set_override('retention_period', 1488, 'storage')
    world.statements.check_retention()
