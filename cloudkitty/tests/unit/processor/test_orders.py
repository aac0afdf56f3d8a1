"""Orders between batches: with a real database, real locks, and a clock that the tests move."""

import dataclasses
from concurrent import futures
from datetime import UTC, datetime, timedelta

import pytest
from oslo_db import exception as db_exception

from cloudkitty import errors, locks, pipeline
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.processor import discovery, reprocessing, settings, watermark, worker
from cloudkitty.processor import resets as resetting
from cloudkitty.rating import skip
from cloudkitty.scopes import admin as scope_admin
from cloudkitty.scopes import late_data, resets
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import sql
from cloudkitty.tests import fakes

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')


def at(hour):
    return START + hour * HOUR


class Fetcher:
    def __init__(self, *scope_ids):
        self.scope_ids = scope_ids

    def get_tenants(self):
        return list(self.scope_ids)

    def get_names(self):
        return {}


class Bench:
    """All parts of a worker; 24 hours are due.

    :ivar tick: how much time passes whenever somebody looks at the clock.
    """

    def __init__(self, conf, pool, folder):
        self.pool, self.folder = pool, folder
        self.storage = sql.SQLStorage(conf)
        self.now = at(24)
        self.tick = timedelta(0)
        self.fetcher = Fetcher('a', 'b', 'c')
        self.collector = fakes.FakeCollector({'cpu': 'cpu'})
        self.modules = fakes.FlatRate('1')
        self.reset = self.storage.reset
        self.settings = settings.Settings(
            identity=IDENTITY,
            length_s=3600,
            wait_periods=1,
            shards=4,
            batch_scopes=10,
            batch_periods=24,
        )

    def clock(self):
        self.now += self.tick
        return self.now

    def worker(self, **changes):
        chosen = dataclasses.replace(self.settings, **changes)
        parts = {
            'database': self.storage.database,
            'clock': self.clock,
            'settings': chosen,
            'locks': locks.Locks(f'file://{self.folder}'),
        }
        rating = pipeline.Pipeline(
            collector=self.collector,
            modules=self.modules,
            commit=self.storage.commit,
            skips=skip.SkipFilter('False', {}),
            pool=self.pool,
            timeout_s=30,
            points_max=chosen.batch_points,
        )
        source = watermark.WatermarkCheck(
            collector=self.collector,
            **{name: part for name, part in parts.items() if name != 'locks'},
        )
        background_jobs = [
            resetting.Resets(reset=lambda order: self.reset(order), **parts),
            reprocessing.Reprocessing(
                pipeline=rating,
                replace=self.storage.replace,
                rated_prices=self.storage.rated_prices,
                watermarks=source,
                **parts,
            ),
        ]
        return worker.Worker(
            discovery=discovery.Discovery(fetcher=self.fetcher, **parts),
            pipeline=rating,
            background_jobs=background_jobs,
            watermarks=source,
            **parts,
        )

    def scopes(self):
        with self.storage.database.reader() as connection:
            return {scope.scope_id: scope for scope in scope_state.list_scopes(connection)[1]}

    def tasks(self):
        with self.storage.database.reader() as connection:
            return scope_reprocessing.list_tasks(connection, is_ascending=True)[1]

    def hourly(self, scope_id='a'):
        """Return the price of each hour."""
        prices = [0] * 24
        for row in self.storage.total(
            ['time'], at(0), at(24), filters={'project_id': scope_id}, paginate=False
        )['results']:
            prices[(row['begin'] - START) // HOUR] = row['rate']
        return prices

    def notes(self, scope_id='a'):
        """Return begin and end in hours, and reason, of what is noted."""
        key = self.scopes()[scope_id].id
        with self.storage.database.reader() as connection:
            return [
                ((begin - START) // HOUR, (end - START) // HOUR, reason)
                for _, begin, end, reason in late_data.list_notes(
                    connection, [key], Period(at(0), at(99))
                )
            ]

    def order_reset(self, mark, *scope_ids):
        ids = [scope.id for name, scope in self.scopes().items() if name in scope_ids]
        self.storage.database.write(
            lambda connection: resets.order(connection, ids, mark, now=self.now)
        )

    def order_task(self, first, end, *scope_ids, is_dry_run=False):
        self.storage.database.write(
            lambda connection: scope_reprocessing.create(
                connection,
                scope_ids,
                identity=IDENTITY,
                window=Period(at(first), at(end)),
                reason='test',
                is_dry_run=is_dry_run,
            )
        )

    def is_over(self):
        return [task.current == task.end for task in self.tasks()]


@pytest.fixture(scope='module')
def pool():
    with futures.ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def bench(conf, database, pool, tmp_path, caplog):
    caplog.set_level('INFO', 'cloudkitty')
    built = Bench(conf, pool, tmp_path / 'locks')
    built.worker().turn()
    assert built.hourly() == [1] * 24
    built.collector.calls.clear()
    built.modules.price = 3
    yield built
    built.storage.database.engine.dispose()


def test_a_reset_comes_before_the_rating(bench):
    """Inactive scopes are set back too, and not rated."""
    scope_admin.update(bench.storage.database, 'b', now=bench.now, active=False)
    bench.order_reset(at(20), 'a', 'b')

    wake_at = bench.worker().turn()

    assert bench.hourly('a') == [1] * 21 + [3] * 3
    assert bench.hourly('b') == [1] * 21 + [0] * 3
    assert bench.hourly('c') == [1] * 24
    assert bench.scopes()['b'].mark == at(20)
    assert wake_at == at(25)
    assert bench.collector.calls == [('cpu', ('a',), 3)]


def test_orders_wait_for_the_lock_of_their_shard(bench):
    bench.order_reset(at(20), 'a')
    bench.order_task(2, 4, 'a')
    other = locks.Locks(f'file://{bench.folder}')
    one = bench.worker()

    with other.hold(bench.settings.shard_lock('a')) as is_held:
        assert is_held
        assert one.turn() == bench.now + timedelta(seconds=settings.BUSY_S)
        assert bench.hourly() == [1] * 24

    one.turn()
    assert bench.hourly() == [1] * 2 + [3] * 2 + [1] * 17 + [3] * 3


def test_a_reset_that_fails_holds_neither_the_others_nor_the_rating(bench, caplog):
    def reset(order):
        if order.scope_id == 'a' and len(failures) < 2:
            failures.append(order)
            raise KeyError('strange')
        return bench.storage.reset(order)

    failures = []
    bench.reset = reset
    bench.order_reset(at(20), 'a', 'b')
    one = bench.worker()
    bench.now = at(25)

    wakes = [one.turn()]
    assert bench.hourly('b') == [1] * 21 + [3] * 3
    assert bench.scopes()['a'].mark == at(24)
    for _ in range(2):
        bench.now = wakes[-1]
        wakes.append(one.turn())

    assert wakes == [at(25) + timedelta(seconds=5), at(25) + timedelta(seconds=15), at(26)]
    assert bench.hourly('a') == [1] * 21 + [3] * 3
    assert len([record for record in caplog.records if record.levelname == 'ERROR']) == 1


def test_periods_are_rated_again_in_small_batches(bench):
    """Up to the end, which is not part of it; the mark of the scope stays."""
    bench.order_task(2, 16, 'a', 'b')

    wake_at = bench.worker().turn()

    assert bench.hourly('a') == bench.hourly('b') == [1] * 2 + [3] * 14 + [1] * 8
    assert bench.hourly('c') == [1] * 24
    assert bench.collector.calls == [
        ('cpu', ('a', 'b'), 6),
        ('cpu', ('a', 'b'), 6),
        ('cpu', ('a', 'b'), 2),
    ]
    assert bench.is_over() == [True, True]
    assert {scope.mark for scope in bench.scopes().values()} == {at(23)}
    assert wake_at == at(25)


def test_what_is_due_and_other_tasks_get_their_turn(bench):
    bench.order_task(0, 23, 'a')
    bench.order_task(1, 9, 'b', 'c')
    bench.now = at(25)
    bench.tick = timedelta(milliseconds=1)
    one = bench.worker()
    calls = bench.collector.calls

    one.turn()

    assert [(''.join(names), count) for _, names, count in calls] == [
        ('a', 6),
        ('abc', 1),
        ('bc', 6),
        ('a', 6),
        ('bc', 2),
        ('a', 6),
        ('a', 5),
    ]
    assert bench.is_over() == [True, True, True]


def test_a_period_without_an_answer_keeps_its_data(bench):
    """The task says how many there were; with points that are skipped it is another matter."""
    bench.collector.usage = lambda metric, scope_id, begin: 1 if begin < at(4) else None
    bench.order_task(2, 12, 'a')

    bench.worker().turn()

    assert bench.hourly() == [1] * 2 + [3] * 2 + [1] * 20
    assert (bench.is_over(), bench.tasks()[0].kept_periods) == ([True], 8)


def test_a_task_with_too_many_points_is_worked_off_in_parts(bench):
    """None of its scopes is held back."""
    bench.order_task(0, 23, 'a', 'b', 'c')

    bench.worker(batch_points=2).turn()

    assert bench.is_over() == [True] * 3
    assert all(bench.hourly(name) == [3] * 23 + [1] for name in ('a', 'b', 'c'))
    assert not any(task.failure_count for task in bench.tasks())
    assert bench.collector.calls[0] == ('cpu', ('a', 'b', 'c'), 6)
    assert max(call[2] * len(call[1]) for call in bench.collector.calls[3:]) <= 6


@pytest.mark.parametrize('what', ['source', 'modules', 'metric', 'rating', 'storage'])
def test_a_task_that_fails_is_tried_again_ever_more_rarely(bench, caplog, what):
    """Nothing is lost meanwhile; its row tells why."""

    def down(*arguments):
        if what == 'source':
            raise errors.SourceUnreachable(collector='fake', reason='down')
        if what == 'metric' and arguments[2] >= at(4):
            raise errors.CollectError(collector='fake', reason='strange')
        return 1

    bench.collector.usage = down
    bench.modules.reason = 'no rules' if what == 'modules' else None
    bench.modules.refused = {'a': at(4)} if what == 'rating' else {}
    replace = bench.storage.replace

    def fail(replacements):
        if any(
            one.scope_id == 'a' and part.start >= at(4)
            for one in [item.batch for item in replacements]
            for part in one.frames
        ):
            raise db_exception.DBDataError(ValueError('too large'))
        return replace(replacements)

    if what == 'storage':
        bench.storage.replace = fail
    bench.order_task(2, 6, 'a')
    one = bench.worker()

    waits = []
    for _ in range(3):
        wake_at = one.turn()
        waits.append((wake_at - bench.now).total_seconds())
        bench.now = wake_at

    assert waits == [5, 10, 20]
    (task,) = bench.tasks()
    assert task.failure_count == 3
    assert task.failure_reason
    done = 0 if what in ('source', 'modules') else 2
    assert bench.hourly() == [1] * 2 + [3] * done + [1] * (22 - done)
    bench.collector.usage = lambda *arguments: 1
    bench.modules.reason, bench.modules.refused = None, {}
    bench.storage.replace = replace
    one = bench.worker()
    one.turn()
    assert bench.hourly() == [1] * 2 + [3] * 4 + [1] * 18
    assert bench.is_over() == [True]
    lines = [
        record.getMessage() for record in caplog.records if 'will be retried' in record.getMessage()
    ]
    assert len(lines) == 1


def test_a_task_of_a_scope_that_was_set_back_waits_for_it(bench):
    bench.order_task(2, 12, 'a')
    bench.order_reset(at(5), 'a')
    bench.collector.usage = lambda metric, scope_id, begin: None

    bench.worker().turn()

    assert bench.hourly() == [1] * 6 + [0] * 18
    assert (bench.is_over(), bench.tasks()[0].kept_periods) == ([True], 4)


def test_a_window_in_which_no_period_begins_is_over(bench):
    """Periods count from the scope's own first one, windows from the epoch."""
    bench.settings = dataclasses.replace(bench.settings, length_s=3600)
    bench.storage.database.write(
        lambda connection: scope_reprocessing.create(
            connection,
            ['a'],
            identity=IDENTITY,
            window=Period(at(2) + timedelta(minutes=1), at(2) + timedelta(minutes=59)),
            reason='test',
        )
    )

    bench.worker().turn()

    assert bench.hourly() == [1] * 24
    assert bench.is_over() == [True]


def test_a_node_may_leave_it_to_others(conf):
    """As many workers rate again, and as many rate what is due, as the options say."""
    conf.set_override('max_workers', 1, 'orchestrator')
    conf.set_override('max_workers_reprocessing', 2, 'orchestrator')
    both, again = (settings.Settings.of(conf, number) for number in (0, 1))
    assert [(one.rates, one.reprocesses) for one in (both, again)] == [(True, True), (False, True)]

    conf.set_override('max_workers_reprocessing', 0, 'orchestrator')
    assert not settings.Settings.of(conf, 0).reprocesses


def test_a_worker_that_only_rates_again_leaves_what_is_due(bench):
    bench.order_task(2, 4, 'a')
    bench.now = at(30)

    bench.worker(rates=False).turn()

    assert bench.hourly() == [1] * 2 + [3] * 2 + [1] * 20
    assert {scope.mark for scope in bench.scopes().values()} == {at(23)}


def test_no_number_of_orders_is_too_many(bench):
    """All are carried out within one turn."""
    names = [f's{number:03}' for number in range(150)]
    bench.fetcher.scope_ids = names
    bench.settings = dataclasses.replace(bench.settings, batch_scopes=100)
    bench.now = at(25)
    bench.worker().turn()
    bench.order_reset(at(20), *names)
    bench.order_task(22, 23, *names[:1])
    bench.order_task(1, 3, *names[1:])

    bench.worker().turn()

    assert bench.is_over() == [True] * 150
    with bench.storage.database.reader() as connection:
        assert resets.list_pending(connection, IDENTITY, limit=1) == []
    assert {scope.mark for name, scope in bench.scopes().items() if name in names} == {at(24)}


def test_a_source_that_lags_replaces_nothing(bench):
    """The task tells why it waits; what the source has is rated again meanwhile."""
    bench.settings = dataclasses.replace(bench.settings, lag_max_s=10 * 3600)
    bench.collector.reaches = lambda now: {'cpu': at(20)}
    bench.order_task(12, 16, 'a')
    bench.order_task(18, 22, 'b')
    one = bench.worker()

    one.turn()

    assert bench.hourly('a') == [1] * 12 + [3] * 4 + [1] * 8
    assert bench.hourly('b') == [1] * 24
    assert bench.is_over() == [True, False]
    assert bench.tasks()[1].failure_reason == (
        'metric cpu: the source has no data after 2024-05-01T20:00:00+00:00'
    )
    bench.collector.reaches = lambda now: {'cpu': now}
    bench.now += timedelta(minutes=1)
    one.turn()
    assert bench.hourly('b') == [1] * 18 + [3] * 4 + [1] * 2


def test_what_is_rated_in_spite_of_a_lag_is_noted(bench):
    """In one range; rating again with all the data, or setting back, takes the note away."""
    bench.settings = dataclasses.replace(bench.settings, lag_max_s=2 * 3600)
    bench.collector.reaches = lambda now: {'cpu': at(25) - timedelta(minutes=1)}
    one = bench.worker()
    while bench.now < at(30):
        bench.now = one.turn()
    assert {scope.mark for scope in bench.scopes().values()} == {at(28)}
    assert bench.notes('a') == bench.notes('b') == [(24, 29, 'no data of cpu')]

    bench.collector.reaches = lambda now: {'cpu': now}
    bench.order_task(25, 27, 'a')
    bench.order_reset(at(26), 'b')
    one.turn()

    assert bench.is_over() == [True]
    assert {scope.mark for scope in bench.scopes().values()} == {at(29)}
    assert bench.notes('a') == [(24, 25, 'no data of cpu'), (27, 29, 'no data of cpu')]
    assert bench.notes('b') == [(24, 27, 'no data of cpu')]


def switch(bench, is_active, hour, **more):
    bench.now = at(hour)
    scope_admin.update(bench.storage.database, 'a', now=bench.now, active=is_active, **more)


def counts(bench, hours):
    """Return how many points of scope a are stored in each of these hours."""
    found = bench.storage.retrieve(at(0), at(99), {'project_id': 'a'}, paginate=False)
    begins = [(frame.start - START) // HOUR for frame in found['dataframes']]
    return [begins.count(hour) for hour in hours]


@pytest.mark.parametrize(
    'asked, expected', [(None, [1, 1, 0, 0, 0, 1]), (False, [1, 1, 0, 0, 0, 1]), (True, [1] * 6)]
)
def test_time_in_which_a_scope_was_off_is_rated_only_if_that_is_asked_for(bench, asked, expected):
    """Periods that began before are rated, though the scope was switched off before they were due;
    neither a reset nor rating again brings the others back."""
    one = bench.worker()
    switch(bench, False, 25.5)
    one.turn()
    assert bench.scopes()['a'].mark == at(23)
    switch(bench, True, 28.5, bill_inactive_time=asked)
    bench.now = at(30)

    one.turn()

    assert counts(bench, range(24, 30)) == expected
    assert bench.scopes()['a'].mark == at(29)
    bench.order_task(24, 29, 'a')
    one.turn()
    assert bench.is_over() == [True]
    assert counts(bench, range(24, 30)) == expected
    bench.order_reset(at(24), 'a')
    one.turn()
    assert counts(bench, range(24, 30)) == expected


def test_a_scope_may_be_off_several_times_before_anything_is_due(bench):
    for hour, is_active in ((24.2, False), (25.2, True), (26.2, False), (28, True)):
        switch(bench, is_active, hour)
    bench.now = at(31)

    bench.worker().turn()

    assert counts(bench, range(24, 31)) == [1, 0, 1, 0, 1, 1, 1]


def test_a_dry_run_tells_what_would_change_and_changes_nothing(bench):
    """Per metric; what the source has no more would keep its price, what was pushed is apart."""
    bench.collector.usage = lambda metric, scope_id, begin: 2 if begin < at(8) else None
    pushed = DataFrame(at(3), at(4), {'cpu': [DataPoint('x', '1', '7', {'project_id': 'a'}, {})]})
    bench.storage.push([pushed])
    before = bench.hourly()
    bench.order_task(2, 12, 'a', is_dry_run=True)
    bench.order_task(2, 4, 'b')
    bench.order_task(2, 12, 'b', is_dry_run=True)

    bench.worker().turn()

    assert bench.is_over() == [True, True, True]
    assert bench.hourly() == before
    assert bench.hourly('b') == [1] * 2 + [6] * 2 + [1] * 20
    with bench.storage.database.reader() as connection:
        prices = scope_reprocessing.list_prices(connection, [task.id for task in bench.tasks()])
    assert prices[1] == {'cpu': (10, 40)}
    assert sum(pair.new for pair in prices[3].values()) == 40
    assert 2 not in prices
