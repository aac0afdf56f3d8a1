"""The loop of a worker: with a real database, real locks, and a clock that the tests move."""

import contextlib
import dataclasses
import threading
from concurrent import futures
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import errors, locks, pipeline
from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.processor import discovery, settings, watermark, worker
from cloudkitty.rating import skip
from cloudkitty.scopes import names as scope_names
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import fakes

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 1, tzinfo=UTC)
MARK = START - HOUR
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class Fetcher:
    def __init__(self, *scope_ids):
        self.scope_ids = list(scope_ids)
        self.error = None
        self.names = {}
        self.calls = 0

    def get_tenants(self):
        self.calls += 1
        if self.error:
            raise self.error
        return list(self.scope_ids)

    def get_names(self):
        if isinstance(self.names, Exception):
            raise self.names
        return self.names


class MarkedStorage(fakes.MemoryStorage):
    """Frames in memory, marks in the database; knows what was stored twice."""

    def __init__(self, database):
        super().__init__()
        self.database = database
        self.doubles = []

    def commit(self, batch):
        def change(connection):
            marks = scope_state.lock_marks(connection, [one.state_id for one in batch])
            late = [one for one in batch if marks[one.state_id] != one.mark]
            scope_state.advance(
                connection, {one.state_id: one.new_mark for one in batch if one not in late}
            )
            return late

        for one in batch:
            self.check(one)
        late = self.database.write(change)
        for one in batch:
            if one in late:
                continue
            for frame in one.frames:
                if (one.scope_id, frame.start) in self.frames:
                    self.doubles.append((one.scope_id, frame.start))
                self.frames[one.scope_id, frame.start] = frame
        return late


class Bench:
    """All parts of a worker, and as many workers on them as a test wants."""

    def __init__(self, database, pool, folder):
        self.database = database
        self.pool = pool
        self.folder = folder
        self.clock = Clock(START + 4 * HOUR)
        self.fetcher = Fetcher('a', 'b', 'c')
        self.collector = fakes.FakeCollector({'cpu': 'cpu'})
        self.modules = fakes.FlatRate()
        self.storage = MarkedStorage(database)
        self.settings = settings.Settings(
            identity=IDENTITY,
            length_s=3600,
            wait_periods=2,
            shards=4,
            batch_scopes=10,
            batch_periods=24,
        )

    def worker(self, number=0, workers=1, **changes):
        chosen = dataclasses.replace(self.settings, worker=number, workers=workers, **changes)
        parts = {
            'database': self.database,
            'clock': self.clock,
            'settings': chosen,
            'locks': locks.Locks(f'file://{self.folder}'),
        }
        return worker.Worker(
            watermarks=watermark.WatermarkCheck(
                collector=self.collector, settings=chosen, database=self.database, clock=self.clock
            ),
            discovery=discovery.Discovery(fetcher=self.fetcher, **parts),
            pipeline=pipeline.Pipeline(
                collector=self.collector,
                modules=self.modules,
                commit=self.storage.commit,
                skips=skip.SkipFilter('False', {}),
                pool=self.pool,
                timeout_s=30,
                points_max=chosen.batch_points,
            ),
            **parts,
        )

    def scopes(self):
        with self.database.reader() as connection:
            return {scope.scope_id: scope for scope in scope_state.list_scopes(connection)[1]}

    def hours(self):
        """Return how many periods of each scope are done."""
        return {name: (scope.mark - MARK) // HOUR for name, scope in self.scopes().items()}


@pytest.fixture(scope='module')
def pool():
    with futures.ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def bench(database, pool, tmp_path, caplog):
    caplog.set_level('INFO', 'cloudkitty')
    return Bench(database, pool, tmp_path / 'locks')


def test_a_turn_finds_the_scopes_and_rates_all_that_is_due(bench):
    """Then the worker sleeps until the next period is due."""
    wake_at = bench.worker().turn()

    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert len(bench.storage.frames) == 9
    assert wake_at == START + 5 * HOUR
    assert bench.collector.calls == [('cpu', ('a', 'b', 'c'), 3)]


def test_each_turn_goes_on_where_the_last_one_ended(bench):
    one = bench.worker()
    for hour in range(4, 8):
        bench.clock.now = START + hour * HOUR
        assert one.turn() == START + (hour + 1) * HOUR

    assert bench.hours() == {'a': 6, 'b': 6, 'c': 6}
    assert bench.storage.doubles == []
    assert [call[2] for call in bench.collector.calls] == [3, 1, 1, 1]


def test_a_backlog_is_worked_off_in_batches_within_one_turn(bench):
    bench.clock.now = START + 59 * HOUR

    bench.worker().turn()

    assert bench.hours() == {'a': 58, 'b': 58, 'c': 58}
    assert [call[2] for call in bench.collector.calls] == [24, 24, 10]


def test_a_batch_with_too_many_points_is_rated_in_parts(bench):
    """Nothing of it is stored before, nothing counts as a failure, all is rated in one turn."""
    bench.clock.now = START + 59 * HOUR

    bench.worker(batch_points=4).turn()

    assert bench.hours() == {'a': 58, 'b': 58, 'c': 58}
    assert len(bench.storage.frames) == 174
    assert bench.storage.doubles == []
    assert bench.collector.calls[0] == ('cpu', ('a', 'b', 'c'), 24)
    # Three times 4 points of several periods, once it is known how many there are.
    assert max(call[2] * len(call[1]) for call in bench.collector.calls[3:]) == 12


def test_many_scopes_are_split_into_batches(bench):
    bench.fetcher.scope_ids = [f's{n:02}' for n in range(25)]

    bench.worker().turn()

    assert set(bench.hours().values()) == {3}
    assert sum(len(call[1]) for call in bench.collector.calls) == 25
    assert max(len(call[1]) for call in bench.collector.calls) == 10


def test_no_scopes_is_nothing_to_do(bench):
    bench.fetcher.scope_ids = []

    assert bench.worker().turn() == START + 5 * HOUR
    assert bench.collector.calls == []


def test_the_fetcher_is_asked_once_a_period_for_all_workers(bench):
    first, second = bench.worker(), bench.worker(1)
    first.turn()
    second.turn()
    bench.clock.now += timedelta(minutes=59)
    first.turn()
    second.turn()

    assert bench.fetcher.calls == 1
    bench.clock.now += timedelta(minutes=1)
    second.turn()
    first.turn()
    assert bench.fetcher.calls == 2


@pytest.mark.parametrize(
    'told', [{'a': 'Web shop', 'gone': 'Old'}, errors.FetcherError(fetcher='fake', reason='no')]
)
def test_names_of_scopes_are_kept_and_stop_nothing(bench, told):
    bench.fetcher.names = told
    bench.worker().turn()

    with bench.database.reader() as connection:
        found = scope_names.find(connection, [(IDENTITY.fetcher, name) for name in ('a', 'gone')])
    expected = {(IDENTITY.fetcher, 'a'): 'Web shop'} if isinstance(told, dict) else {}
    assert found == expected
    assert set(bench.scopes()) == {'a', 'b', 'c'}


def test_a_failing_fetcher_does_not_stop_the_rating_of_known_scopes(bench, caplog):
    """It is asked again ever more rarely; the log has one line when it fails, one when it works."""
    one = bench.worker()
    one.turn()
    bench.fetcher.error = errors.FetcherError(fetcher='fake', reason='down')
    bench.clock.now += HOUR
    caplog.clear()
    waits = []
    for _ in range(9):
        wake_at = one.turn()
        waits.append((wake_at - bench.clock.now).total_seconds())
        bench.clock.now = wake_at
    bench.fetcher.error = None
    bench.clock.now = wake_at
    one.turn()

    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert bench.hours()['a'] == 4
    lines = [record.getMessage() for record in caplog.records if 'etcher' in record.getMessage()]
    assert lines == [
        "Fetcher 'fake' failed, and is tried again until it works: Fetcher 'fake': down",
        "Fetcher 'fake' works again after 0:30:35 and 9 failures",
    ]


def test_a_scope_that_vanishes_is_rated_until_it_was_missed(bench):
    bench.worker().turn()
    bench.fetcher.scope_ids = ['a', 'b']
    bench.clock.now = START + 6 * HOUR + timedelta(minutes=30)
    one = bench.worker()
    one.turn()
    bench.clock.now = START + 29 * HOUR

    one.turn()

    assert bench.hours() == {'a': 28, 'b': 28, 'c': 7}
    bench.fetcher.scope_ids = ['a', 'b', 'c']
    bench.clock.now = START + 30 * HOUR
    one.turn()
    assert bench.hours() == {'a': 29, 'b': 29, 'c': 29}
    assert bench.storage.doubles == []


def test_ids_that_cannot_be_kept_are_left_out(bench, caplog):
    bench.fetcher.scope_ids = ['a', 'x' * 257, '', None, 'a']

    bench.worker().turn()

    assert list(bench.hours()) == ['a']
    assert '3 scope ids are ignored' in caplog.text


def test_an_inactive_scope_is_not_rated(bench):
    bench.worker().turn()
    with bench.database.writer() as connection:
        connection.execute(
            sa.update(tables.scopes).where(tables.scopes.c.identifier == 'b').values(active=False)
        )
    bench.clock.now += HOUR

    bench.worker().turn()

    assert bench.hours() == {'a': 4, 'b': 3, 'c': 4}


def test_a_bad_scope_is_held_back_alone_and_resumes(bench, caplog):
    """Its row tells why; nothing of it is lost or doubled when it heals."""

    def usage(metric, scope_id, at):
        if scope_id == 'b' and at >= START + HOUR:
            raise errors.CollectError(collector='fake', reason='strange')
        return 1

    bench.collector.usage = usage
    one = bench.worker()

    wake_at = one.turn()

    assert bench.hours() == {'a': 3, 'b': 1, 'c': 3}
    held = bench.scopes()['b']
    assert (held.failure_count, held.failed_at, held.retry_at) == (1, bench.clock.now, wake_at)
    assert held.failure_reason == "metric cpu: Collector 'fake': strange"
    assert wake_at == bench.clock.now + timedelta(seconds=5)
    bench.clock.now = wake_at
    assert one.turn() == wake_at + timedelta(seconds=10)
    assert bench.scopes()['b'].failure_count == 2

    bench.collector.usage = lambda *at: 1
    bench.clock.now += timedelta(seconds=10)
    one.turn()

    healed = bench.scopes()['b']
    assert (healed.failure_count, healed.failure_reason, healed.retry_at) == (None, None, None)
    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert bench.storage.doubles == []
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if 'held back' in line]) == 1
    assert len([line for line in lines if 'rated again' in line]) == 1


def test_a_worker_that_fails_late_leaves_no_trouble_where_another_went_on(bench):
    """It lost its lock while the source was silent."""

    def ask(metric, scope_id, begin):
        done = {scope.id: START + 2 * HOUR for name, scope in bench.scopes().items() if name != 'c'}
        bench.database.write(lambda connection: scope_state.advance(connection, done))
        raise errors.SourceUnreachable(collector='fake', reason='down')

    bench.collector.usage = ask

    bench.worker().turn()

    assert {name: scope.failure_count for name, scope in bench.scopes().items()} == {
        'a': None,
        'b': None,
        'c': 1,
    }


@pytest.mark.parametrize('what', ['source', 'modules'])
def test_an_outage_holds_everything_and_costs_one_question_a_time(bench, caplog, what):
    """Nothing is stored meanwhile; the log has a line at its begin and one at its end."""
    bench.fetcher.scope_ids = [f's{n:02}' for n in range(30)]

    def down(*at):
        raise errors.SourceUnreachable(collector='fake', reason='down')

    if what == 'source':
        bench.collector.usage = down
    else:
        bench.modules.reason = 'no rules'
    one = bench.worker()

    for delay in (5, 10, 20):
        calls = len(bench.collector.calls)
        wake_at = one.turn()
        assert wake_at == bench.clock.now + timedelta(seconds=delay)
        assert len(bench.collector.calls) <= calls + 1
        bench.clock.now = wake_at
    assert bench.storage.frames == {}
    reasons = {scope.failure_reason for scope in bench.scopes().values() if scope.failure_count}
    assert reasons == (
        {"Collector 'fake': down"}
        if what == 'source'
        else {"Rating module 'flat' cannot be loaded: no rules"}
    )

    bench.collector.usage = lambda *at: 1
    bench.modules.reason = None
    while (wake_at := one.turn()) < START + 5 * HOUR:
        bench.clock.now = wake_at

    assert set(bench.hours().values()) == {3}
    assert len(bench.storage.frames) == 90
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if line.startswith('Rating failed')]) == 1
    assert len([line for line in lines if line.startswith('Rating works again')]) == 1


def test_what_is_too_much_at_once_gets_through_in_smaller_parts(bench):
    """A source that is overwhelmed by a whole batch is asked for less each time."""

    class Weak(fakes.FakeCollector):
        def collect(self, metric_name, periods, scope_ids):
            if len(periods) * len(scope_ids) > 10:
                raise errors.SourceUnreachable(collector='fake', reason='too slow')
            return super().collect(metric_name, periods, scope_ids)

    bench.collector = Weak({'cpu': 'cpu'})
    bench.clock.now = START + 29 * HOUR
    one = bench.worker()

    while (wake_at := one.turn()) < START + 29 * HOUR + timedelta(minutes=50):
        bench.clock.now = wake_at
        if set(bench.hours().values()) == {28}:
            break

    assert set(bench.hours().values()) == {28}


def test_a_worker_leaves_the_shards_that_another_one_holds(bench):
    bench.worker().turn()
    bench.clock.now += HOUR
    one = bench.worker()
    shards = {name: scope_state.shard_of(name, 4) for name in 'abc'}
    assert len(set(shards.values())) > 1
    other = locks.Locks(f'file://{bench.folder}')

    with other.hold(bench.settings.lock_name(f'shard-{shards["a"]}/4')) as is_held:
        assert is_held
        wake_at = one.turn()
        assert bench.hours() == {
            name: 3 if shard == shards['a'] else 4 for name, shard in shards.items()
        }
        assert wake_at == bench.clock.now + timedelta(seconds=discovery.BUSY_S)

    assert one.turn() == START + 6 * HOUR
    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}


@pytest.mark.parametrize(('batch_s', 'looks'), [(0, 2), (30, 3), (60, 4)])
def test_a_worker_looks_for_what_is_due_once_for_all_shards(bench, batch_s, looks):
    """And again after a minute, and once nothing is left."""
    bench.clock.now += HOUR
    assert len({scope_state.shard_of(name, 16) for name in 'abc'}) == 3
    seen = []

    def count(connection, cursor, statement, *rest):
        if 'min(CASE' in statement:
            seen.append(statement)

    def commit(batch):
        bench.clock.now += timedelta(seconds=batch_s)
        return bench.storage.commit(batch)

    one = bench.worker(batch_scopes=1, shards=16)
    one._pipeline = dataclasses.replace(one._pipeline, commit=commit)
    sa.event.listen(bench.database.engine, 'before_cursor_execute', count)
    one.turn()
    sa.event.remove(bench.database.engine, 'before_cursor_execute', count)

    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}
    assert len(seen) == looks


def test_a_worker_looks_again_after_scopes_that_another_one_rated(bench):
    """What became due while it was busy is rated in the same turn."""
    bench.worker().turn()
    bench.clock.now += HOUR
    one, other = (bench.worker(batch_scopes=1, shards=16) for _ in range(2))
    stored = []

    def commit(batch):
        stored.extend(part.scope_id for part in batch)
        late = bench.storage.commit(batch)
        if len(stored) == 1:
            # The other one rates the rest, and the first scope is set back.
            other.turn()
            (part,) = batch
            with bench.database.writer() as connection:
                scope_state.advance(connection, {part.state_id: part.mark})
        return late

    one._pipeline = dataclasses.replace(one._pipeline, commit=commit)
    one.turn()

    assert stored == ['a', 'a']
    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}


def test_workers_of_a_node_take_their_share_each(bench):
    """Two workers with four shards begin at different ones, and take two at a time."""
    first, second = (dataclasses.replace(bench.settings, worker=n, workers=2) for n in (0, 1))

    assert (first.share, second.share) == (2, 2)
    assert (first.shard_order, second.shard_order) == ([0, 1, 2, 3], [2, 3, 0, 1])


@pytest.mark.parametrize('workers', [2, 3, 4])
def test_shards_spread_evenly_over_the_workers_that_are_there(bench, workers):
    """Each begins at an offset of its own, and nobody goes without when all begin at once."""
    with contextlib.ExitStack() as held:
        taken = [
            held.enter_context(
                bench.worker(number, workers, shards=16, batch_scopes=1000)._claim(
                    {shard: [shard] for shard in range(16)}
                )
            )
            for number in range(workers)
        ]

    assert sorted(shard for shards in taken for shard in shards) == list(range(16))
    assert max(map(len, taken)) <= -(-16 // workers)
    assert min(map(len, taken)) >= 16 - (workers - 1) * -(-16 // workers)


def test_workers_that_wait_for_the_same_instant_begin_one_after_another(bench):
    one = bench.worker()
    one._delay_s = 0.7
    waits = []

    class Watched(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            one.stop()

    one._waking = Watched()
    one.run()

    assert waits == [worker.SLEEP_MAX_S + 0.7]


def test_two_workers_without_any_lock_double_nothing(bench):
    """The mark decides: what one has stored, the other does not."""
    bench.fetcher.scope_ids = [f's{n:02}' for n in range(20)]
    bench.worker().turn()
    bench.clock.now = START + 39 * HOUR
    barrier = threading.Barrier(2)

    def usage(metric, scope_id, at):
        if scope_id == 's00' and at.hour % 5 == 0:
            barrier.wait(20)
        return 1

    bench.collector.usage = usage
    workers = [bench.worker(batch_periods=5) for _ in range(2)]
    for one in workers:
        one._locks = FreeForAll()
    threads = [threading.Thread(target=one.turn) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(bench.hours().values()) == {38}
    assert bench.storage.doubles == []
    assert len(bench.storage.frames) == 20 * 38


class FreeForAll:
    """Locks that everybody gets."""

    def hold(self, lock_name):
        return contextlib.nullcontext(True)


def test_an_error_nobody_foresaw_is_logged_and_tried_again(bench, caplog):
    """The loop survives it, and waits longer each time."""
    one = bench.worker()
    one._waking = Impatient(bench.clock)
    seen = []

    def check(scope_batch):
        seen.append(scope_batch.scope_id)
        if len(seen) < 3:
            raise db_exception.DBConnectionError()
        one.stop()

    bench.storage.check = check

    one.run()

    assert bench.hours()['a'] == 3
    assert len([record for record in caplog.records if record.levelname == 'ERROR']) == 1
    assert one._waking.waits[:2] == [5, 10]


class Impatient(threading.Event):
    """An event that nobody waits for: the clock is moved instead."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        self.clock.now += timedelta(seconds=timeout)
        return self.is_set()


def test_a_stopped_worker_begins_nothing(bench):
    one = bench.worker()
    one.stop()

    one.run()

    assert bench.fetcher.calls == 0
    assert bench.storage.frames == {}


def test_a_mark_that_was_set_back_is_followed(bench):
    """A reset of a scope is found at the next turn."""
    one = bench.worker()
    one.turn()
    bench.storage.frames.clear()
    with bench.database.writer() as connection:
        key = bench.scopes()['a'].id
        scope_state.advance(connection, {key: START})

    one.turn()

    assert bench.hours()['a'] == 3
    assert sorted(bench.storage.frames) == [('a', START + HOUR), ('a', START + 2 * HOUR)]
    assert timeframe.period_at(START, 3600).begin == START


@pytest.mark.parametrize(
    'text, expected',
    [
        ('', START),
        ('2024-04-30', START - 24 * HOUR),
        ('2024-04-30T22:30', START - 2 * HOUR),
        ('2024-05-01T02:00:00+02:00', START),
    ],
)
def test_new_scopes_start_at_the_configured_date(conf, text, expected):
    """At the begin of the period that holds it, or of the month."""
    conf.set_override('start_date', text, 'collect')

    assert settings.Settings.of(conf).initial_mark(START + 40 * HOUR) == expected - HOUR


def test_a_date_that_is_none_is_told_at_the_start(conf):
    conf.set_override('start_date', 'soon', 'collect')

    with pytest.raises(errors.ConfigurationError, match=r"\[collect\]start_date: 'soon' is not"):
        settings.Settings.of(conf)
