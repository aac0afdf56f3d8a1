"""How a worker begins, is woken, shares and ends: the bench of the worker's tests."""

import threading
from datetime import timedelta

from cloudkitty import errors, locks
from cloudkitty.processor import settings, worker
from cloudkitty.scopes import admin as scope_admin
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.unit.processor.test_worker import (  # noqa: F401
    HOUR,
    IDENTITY,
    START,
    bench,
    pool,
)


def test_a_scope_switched_off_meanwhile_is_not_rated(bench):  # noqa: F811
    """Between being found due and being read."""
    one = bench.worker()
    one._discovery.refresh()
    key = bench.scopes()['b'].id
    scope_admin.update(bench.database, 'b', now=bench.clock.now, active=False)

    batches = one._batches([scope.id for scope in bench.scopes().values()])

    assert [scope.scope_id for batch in batches for scope in batch.scopes] == ['a', 'c']
    assert key not in [scope.id for batch in batches for scope in batch.scopes]


def test_a_worker_that_is_stopped_ends_after_its_batch(bench):  # noqa: F811
    """What it began is stored, and the backlog stays for others."""
    bench.clock.now = START + 99 * HOUR
    one = bench.worker(batch_periods=5, batch_scopes=2)

    def usage(metric, scope_id, begin):
        one.stop()
        return 1

    bench.collector.usage = usage

    one.run()

    assert len(bench.collector.calls) == 1
    assert sorted(bench.hours().values()) == [0, 5, 5]
    assert len(bench.storage.frames) == 10


def test_a_worker_that_is_woken_looks_at_once(bench):  # noqa: F811
    """And sleeps as before when there is nothing to do."""
    one = bench.worker()
    waits = []

    class Watched(threading.Event):
        def wait(self, timeout=None):
            waits.append((self.is_set(), timeout))
            if len(waits) == 1:
                one.wake()
                assert self.is_set()
            if len(waits) == 3:
                one.stop()
            return self.is_set()

    one._waking = Watched()
    one.wake()

    one.run()

    # Woken before the first turn, which looks anyway; then twice without a call.
    assert [is_set for is_set, _ in waits] == [True, False, False]
    assert {timeout for _, timeout in waits} == {worker.SLEEP_MAX_S}


def test_a_worker_leaves_the_fetcher_to_the_one_that_asks(bench):  # noqa: F811
    """It looks again soon: the other one may die."""
    other = locks.Locks(f'file://{bench.folder}')

    with other.hold(bench.settings.lock_name('fetcher')) as is_held:
        assert is_held
        assert bench.worker().turn() == bench.clock.now + timedelta(seconds=settings.BUSY_S)

    assert bench.fetcher.calls == 0
    bench.worker().turn()
    assert bench.fetcher.calls == 1


def test_locks_are_those_of_one_kind_of_scopes(bench):  # noqa: F811
    """Deployments that share a lock service, and shards and jobs of one, do not meet."""
    names = {
        lock
        for identity in (
            IDENTITY,
            IDENTITY._replace(scope_key='x'),
            IDENTITY._replace(fetcher='x'),
            IDENTITY._replace(collector='x'),
        )
        for chosen in [settings.Settings(identity, 3600, 1, 4, 10, 24)]
        for lock in (
            chosen.lock_name('fetcher'),
            chosen.lock_name('retention'),
            *(chosen.lock_of(shard) for shard in range(4)),
        )
    }

    assert len(names) == 4 * 6
    one = bench.settings
    assert one.shard_lock('a') == one.lock_of(scope_state.shard_of('a', one.shards))


def test_a_second_outage_begins_as_the_first_one_did(bench):  # noqa: F811
    """With the shortest pause: what is over does not count."""

    def down(*arguments):
        raise errors.SourceUnreachable(collector='fake', reason='down')

    one = bench.worker()
    for _ in range(2):
        bench.collector.usage = down
        for delay_s in (5, 10):
            wake_at = one.turn()
            assert wake_at - bench.clock.now == timedelta(seconds=delay_s)
            bench.clock.now = wake_at
        bench.collector.usage = lambda *arguments: 1
        one.turn()
        bench.clock.now += HOUR
