"""What a worker counts, and what is shown of all of them."""

import os
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import prometheus_client
import pytest
import sqlalchemy as sa

from cloudkitty import errors, pipeline
from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.processor import exporter
from cloudkitty.processor.settings import Settings
from cloudkitty.processor.telemetry import Heartbeats, WorkerMetrics
from cloudkitty.rating import skip
from cloudkitty.scopes import state as scope_state
from cloudkitty.telemetry import shared_registry
from cloudkitty.tests import fakes

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 1, tzinfo=UTC)
MARK = START - HOUR
IDENTITY = scope_state.Identity('project_id', 'source', 'fake')
SETTINGS = Settings(
    identity=IDENTITY, length_s=3600, wait_periods=2, shards=4, batch_scopes=10, batch_periods=24
)


class ByMetric(fakes.FlatRate):
    """Whoever uses `disk` pays nothing."""

    def rate_periods(self, usage):
        rated, failure = super().rate_periods(usage)
        free = (
            column._replace(prices=[Decimal(0)] * len(column.prices))
            if column.metric == 'disk'
            else column
            for column in rated.columns
        )
        return rated.with_columns(free), failure


class Bench:
    """A pipeline whose figures can be read."""

    def __init__(self, pool, collector, modules, storage):
        self.registry = prometheus_client.CollectorRegistry()
        self.heartbeats = Heartbeats()
        self._pipeline = pipeline.Pipeline(
            collector=collector,
            modules=modules,
            commit=storage.commit,
            skips=skip.SkipFilter('False', {}),
            pool=pool,
            timeout_s=30,
            observer=WorkerMetrics(self.registry, self.heartbeats, worker=1),
        )

    def run(self, failures=None):
        scopes_ = [
            scope_state.Scope(n, f's{n}', *IDENTITY, MARK, START, True, failure_count=failures)
            for n in (1, 2)
        ]
        periods = [timeframe.Period(START + n * HOUR, START + (n + 1) * HOUR) for n in range(3)]
        return self._pipeline.run(pipeline.Batch(scopes_, periods))

    def failures(self):
        found = {
            sample.labels['reason']: sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == 'cloudkitty_failures_total'
        }
        return {reason: count for reason, count in found.items() if count}

    def value(self, name, **labels):
        return self.registry.get_sample_value(f'cloudkitty_{name}', labels)


@pytest.fixture(scope='module')
def pool():
    with futures.ThreadPoolExecutor(4) as threads:
        yield threads


def test_what_is_stored_is_counted(pool):
    """Points by metric, those of them that cost nothing, frames, answers."""
    bench = Bench(
        pool, fakes.FakeCollector({'cpu': 'cpu', 'disk': 'disk'}), ByMetric(), fakes.MemoryStorage()
    )

    bench.run()

    assert bench.value('rated_points_total', metric='cpu') == 6
    assert bench.value('free_points_total', metric='cpu') == 0
    assert bench.value('rated_points_total', metric='disk') == 6
    assert bench.value('free_points_total', metric='disk') == 6
    assert bench.value('stored_frames_total') == 6
    assert bench.value('source_request_duration_seconds_count', collector='fake') == 2
    assert bench.value('retries_total') == 0
    assert bench.failures() == {}
    assert bench.heartbeats.overdue_s(8).keys() == {1}


def test_what_was_not_stored_is_not_counted_as_rated(pool):
    class Refusing(fakes.MemoryStorage):
        def commit(self, batch):
            if any(one.scope_id == 's1' for one in batch):
                raise ValueError('no')
            return super().commit(batch)

    bench = Bench(pool, fakes.FakeCollector({'cpu': 'cpu'}), fakes.FlatRate(), Refusing())

    bench.run(failures=2)

    assert bench.value('rated_points_total', metric='cpu') == 3
    assert bench.failures().keys() == {'storing'}
    assert bench.value('retries_total') == 2


def _raise(error):
    def usage(*asked):
        raise error

    return usage


SOURCE = errors.SourceUnreachable(collector='fake', reason='down')


@pytest.mark.parametrize(
    'usage, modules, error, expected',
    [
        (_raise(SOURCE), fakes.FlatRate(), errors.SourceUnreachable, 'source'),
        (_raise(KeyError('x')), fakes.FlatRate(), None, 'metric'),
        (lambda *asked: 1, fakes.FlatRate(refused={'s1': START}), None, 'rating'),
    ],
)
def test_failures_are_counted_by_reason(pool, usage, modules, error, expected):
    bench = Bench(pool, fakes.FakeCollector({'cpu': 'cpu'}, usage), modules, fakes.MemoryStorage())

    if error:
        with pytest.raises(error):
            bench.run()
    else:
        bench.run()

    assert bench.failures().keys() == {expected}


def test_modules_that_cannot_be_loaded_are_a_reason(pool):
    modules = fakes.FlatRate()
    modules.reason = 'no rules'
    bench = Bench(pool, fakes.FakeCollector({'cpu': 'cpu'}), modules, fakes.MemoryStorage())

    with pytest.raises(errors.ModuleLoadError):
        bench.run()

    assert bench.failures() == {'modules': 1}


def _add(database, marks, **values):
    """Make scopes with these marks, in hours before START."""
    with database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, marks, now=START, initial_mark=MARK, final_mark=START
        )
        for name, hours in marks.items():
            connection.execute(
                sa.update(tables.scopes)
                .where(tables.scopes.c.identifier == name)
                .values(last_processed_timestamp=timeframe.to_naive(START - hours * HOUR), **values)
            )


def _standing(database):
    found = exporter.ProgressCollector(database, SETTINGS, clock=lambda: START).collect()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in found
        for sample in metric.samples
    }


def test_the_lag_of_a_shard_is_that_of_its_oldest_period(any_database):
    """A period is due three hours after the mark: one of its own, two to wait."""
    names = {scope_state.shard_of(name, 4): name for name in map(str, range(100))}
    _add(any_database, {names[0]: 3, names[1]: 5, names[2]: 2.5, f'x{names[1]}': 1})

    shown = _standing(any_database)

    lags = {key[1]: value for key, value in shown.items() if key[0] == 'cloudkitty_lag_seconds'}
    assert lags == {'0': 0, '1': 7200, '2': 0, '3': 0}
    assert shown['cloudkitty_database_up',] == 1
    assert shown['cloudkitty_scopes',] == 4
    assert shown['cloudkitty_held_scopes',] == 0
    assert shown['cloudkitty_future_scopes',] == 0


def test_a_scope_rated_beyond_the_present_is_shown(database):
    """By the clock of the database, whatever that of the processor says."""
    _add(database, {'a': 3, 'b': -24 * 365 * 99})

    assert _standing(database)['cloudkitty_future_scopes',] == 1


def test_scopes_that_rest_do_not_lag(database):
    _add(database, {'off': 50}, active=False)
    _add(database, {'gone': 50}, active=True, final_mark=timeframe.to_naive(START - 60 * HOUR))
    _add(database, {'held': 4}, final_mark=None, failure_count=2)

    shown = _standing(database)

    assert max(value for key, value in shown.items() if key[0] == 'cloudkitty_lag_seconds') == 3600
    assert shown['cloudkitty_scopes',] == shown['cloudkitty_held_scopes',] == 1


def test_tasks_that_fail_are_shown(any_database):
    """Not those that wait, nor those that are done."""
    start, end = (timeframe.to_naive(START + hours * HOUR) for hours in (-2, -1))
    task = {'start_reprocess_time': start, 'end_reprocess_time': end, 'reason': 'r'}
    with any_database.writer() as connection:
        for name, current, failures in (('a', None, None), ('b', None, 3), ('c', end, 1)):
            values = {'current_reprocess_time': current, 'failure_count': failures}
            connection.execute(sa.insert(tables.tasks).values(identifier=name, **task, **values))

    assert _standing(any_database)['cloudkitty_held_tasks',] == 1


def test_shards_beyond_those_looked_at_are_no_better_than_the_last():
    behind = [('a', START - 9 * HOUR)] * exporter.BEHIND_MAX

    lags = exporter.lags(behind, START, SETTINGS)

    assert set(lags.values()) == {6 * 3600}


def test_a_database_that_fails_is_shown(database):
    with database.writer() as connection:
        connection.execute(sa.text('DROP TABLE cloudkitty_storage_states'))

    assert _standing(database) == {('cloudkitty_database_up',): 0}


def test_the_database_is_asked_once_for_many_scrapes(database):
    _add(database, {'a': 9})
    standing = exporter.ProgressCollector(database, SETTINGS, clock=lambda: START)
    before = standing.collect()
    _add(database, {'a': 5})

    assert standing.collect() is before


def _in_child(action):
    """Return what *action* says in a process forked from this one."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, str(action()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with open(reader) as answer:
        return answer.read()


def test_each_process_has_a_number_and_those_of_dead_ones_are_used_again(tmp_path):
    slots = shared_registry.Slots(tmp_path)

    assert slots.number() == 0
    assert _in_child(slots.number) == '1'
    assert _in_child(slots.number) == '1'
    assert slots.number() == 0
    assert shared_registry.Slots(tmp_path).number() == 1


def _count(folder, number):
    """Count 1 and end as a crash would."""
    shared_registry.share(folder, lambda: number)
    WorkerMetrics(prometheus_client.CollectorRegistry(), Heartbeats(), 0).retried(1)


def test_processes_count_together_and_a_new_one_goes_on_for_a_dead_one(tmp_path):
    for number in (0, 1, 0):
        _in_child(lambda number=number: _count(tmp_path, number))

    assert shared_registry.read(tmp_path).get_sample_value('cloudkitty_retries_total') == 3
    assert len(list(tmp_path.glob('counter_*.db'))) == 2


def test_a_sleeping_worker_is_not_silent():
    heartbeats = Heartbeats()

    heartbeats.record(0)
    heartbeats.record(2, next_in_s=60)

    overdue_s = heartbeats.overdue_s(3)
    assert overdue_s.keys() == {0, 2}
    assert overdue_s[2] == 0
    assert overdue_s[0] >= 0
