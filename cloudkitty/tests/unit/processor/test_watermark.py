"""Periods wait for a source that lags: the bench of the worker's tests, with a source that does."""

import dataclasses
from datetime import timedelta

import pytest

from cloudkitty import errors
from cloudkitty.core.timeframe import Period
from cloudkitty.pipeline import Batch
from cloudkitty.processor import watermark
from cloudkitty.processor.coverage import CoverageCheck
from cloudkitty.scopes import source_lag
from cloudkitty.scopes.source_lag import HELD, LATE, NOWHERE, Lag
from cloudkitty.tests import fakes
from cloudkitty.tests.unit.processor import test_worker
from cloudkitty.tests.unit.processor.test_worker import HOUR, IDENTITY, START, pool  # noqa: F401

MINUTE = timedelta(minutes=1)
LAG_MAX_S = 3 * 3600


@pytest.fixture
def bench(database, pool, tmp_path, caplog):  # noqa: F811
    """Three scopes, three hours due; the source has all up to now."""
    caplog.set_level('INFO', 'cloudkitty')
    built = test_worker.Bench(database, pool, tmp_path / 'locks')
    built.settings = dataclasses.replace(built.settings, lag_max_s=LAG_MAX_S)
    built.collector = fakes.FakeCollector({'cpu': 'cpu', 'ram': 'ram'})
    built.collector.reaches = lambda now: {'cpu': now, 'ram': now}
    return built


def lagging(bench):
    with bench.database.reader() as connection:
        return source_lag.list_lags(connection, IDENTITY)


def lines(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.getMessage().startswith('The source')
    ]


def test_a_source_that_keeps_up_is_asked_once_a_period(bench):
    """However many scopes and rounds there are."""
    bench.fetcher.scope_ids = [f's{n:02}' for n in range(45)]
    one = bench.worker(batch_periods=1)

    one.turn()
    one.turn()

    assert set(bench.hours().values()) == {3}
    assert len(bench.collector.calls) > 10
    assert bench.collector.asked == 1
    bench.clock.now += HOUR
    one.turn()
    assert bench.collector.asked == 2
    assert lagging(bench) == {}


def test_periods_wait_for_a_source_that_lags(bench, caplog):
    """Those it has are rated; the others when it has them, each with one line in the log."""
    newest = START + 2 * HOUR - MINUTE
    bench.collector.reaches = lambda now: {'cpu': newest, 'ram': now}
    one = bench.worker()

    wakes = []
    for _ in range(3):
        wakes.append(one.turn() - bench.clock.now)
        bench.clock.now += wakes[-1]

    assert bench.hours() == {'a': 1, 'b': 1, 'c': 1}
    assert wakes == [timedelta(seconds=5 * 2**n) for n in range(3)]
    assert bench.collector.asked == 3
    assert lagging(bench) == {'cpu': Lag(HELD, newest, START + 3 * HOUR, START + 4 * HOUR)}
    assert lines(caplog) == [
        'The source has no data of 1 metrics; periods wait for it: '
        'cpu after 2024-05-01T01:59:00+00:00'
    ]
    assert all(scope.failure_count is None for scope in bench.scopes().values())

    bench.collector.reaches = lambda now: {'cpu': now, 'ram': now}
    one.turn()

    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert bench.storage.doubles == []
    assert lagging(bench) == {}
    assert lines(caplog)[1:] == ['The source has data of 1 metrics again: cpu']


def test_periods_wait_for_the_metric_that_lags_most(bench):
    """Whatever the order of metrics is."""
    for metrics in (('cpu', 'ram'), ('ram', 'cpu')):
        slow, slower = metrics
        bench.collector.reaches = lambda now, slow=slow, slower=slower: {
            slow: START + 2.5 * HOUR,
            slower: START + 1.5 * HOUR,
        }

        bench.worker().turn()

        assert bench.hours() == {'a': 1, 'b': 1, 'c': 1}


def test_a_source_that_is_late_by_seconds_is_waited_for_in_silence(bench, caplog):
    """A period that is rated as soon as it ends waits for the next sample: no word about it."""
    bench.settings = dataclasses.replace(bench.settings, wait_periods=1)
    newest = bench.clock.now - timedelta(seconds=30)
    bench.collector.reaches = lambda now: {'cpu': newest}
    one = bench.worker()
    bench.clock.now = one.turn()
    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    bench.collector.reaches = lambda now: {'cpu': now}

    one.turn()

    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}
    assert lines(caplog) == []


@pytest.mark.parametrize('metrics, last_state', [(['cpu'], NOWHERE), (['cpu', 'ram'], LATE)])
def test_nothing_waits_for_ever(bench, caplog, metrics, last_state):
    """When the source was silent for lag_max, periods are rated; they never wait for it again.

    A metric that is silent alone is forgotten in the end, a source that says nothing is not.
    """
    end = START + 2 * HOUR
    bench.collector.reaches = lambda now: {'cpu': now, 'ram': now} | dict.fromkeys(metrics, end)
    one = bench.worker()
    done = {}

    while bench.clock.now < START + 10 * HOUR:
        bench.clock.now = one.turn()
        done[bench.clock.now - START] = bench.hours()['a']

    assert max(count for at, count in done.items() if at < 5 * HOUR) == 2
    assert {
        at - 2 * HOUR: count
        for at, count in done.items()
        if at > 5 * HOUR + 10 * MINUTE and at % HOUR == timedelta(0)
    } == {n * HOUR: n for n in range(4, 9)}
    assert lagging(bench)['cpu'].state == last_state
    after = ', '.join(f'{name} after 2024-05-01T02:00:00+00:00' for name in metrics)
    waits, rated, *rest = lines(caplog)
    assert (waits, rated) == (
        f'The source has no data of {len(metrics)} metrics; periods wait for it: {after}',
        f'The source still has no data of {len(metrics)} metrics; periods wait no longer and are '
        f'rated without: {after}',
    )
    assert len(rest) == (last_state == NOWHERE)


def test_a_metric_that_nobody_uses_is_named_once_and_not_waited_for(bench, caplog):
    bench.collector.reaches = lambda now: {'cpu': now, 'ram': None}
    one = bench.worker()
    for hour in range(4, 8):
        bench.clock.now = START + hour * HOUR
        one.turn()

    assert bench.hours() == {'a': 6, 'b': 6, 'c': 6}
    assert lines(caplog) == [
        'The source has no data of 1 metrics at all; nothing waits for it: ram'
    ]
    assert lagging(bench)['ram'].newest is None


def test_lag_max_zero_asks_nothing(bench):
    bench.collector.reaches = lambda now: {'cpu': START}

    bench.worker(lag_max_s=0).turn()

    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert bench.collector.asked == 0


def test_a_source_that_does_not_answer_the_question_is_an_outage(bench):
    def down(now):
        raise errors.SourceUnreachable(collector='fake', reason='down')

    bench.collector.reaches = down
    one = bench.worker()

    wake_at = one.turn()

    assert wake_at == bench.clock.now + timedelta(seconds=5)
    assert bench.collector.calls == []
    assert {scope.failure_reason for scope in bench.scopes().values()} == {"Collector 'fake': down"}
    bench.collector.reaches = lambda now: {}
    bench.clock.now = wake_at
    one.turn()
    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}


def test_a_source_that_refuses_the_question_is_not_waited_for(bench, caplog):
    """Whether it works is seen when usage is collected."""

    def refuse(now):
        raise errors.CollectError(collector='fake', reason='no such function')

    bench.collector.reaches = refuse
    one = bench.worker()
    one.turn()
    bench.clock.now += HOUR
    one.turn()

    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}
    assert len([record for record in caplog.records if record.levelname == 'ERROR']) == 1


def at(hours):
    return START + hours * HOUR


@pytest.mark.parametrize(
    'held_from, late, expected, note',
    [
        (None, None, 6, ''),
        (4, None, 4, ''),
        (4, 2, 2, ''),
        (None, 2, 2, ''),
        (None, 0, 6, 'no data of cpu'),
        (4, 0, 4, 'no data of cpu'),
        (0, 0, 0, ''),
        (0.9, None, 0, ''),
    ],
)
def test_a_batch_is_cut_where_data_is_missing(bench, held_from, late, expected, note):
    """First what is whole, without a note; then what is late, with one; what is held waits."""
    batch = Batch([], [Period(at(n), at(n + 1)) for n in range(6)])
    readiness = watermark.SourceReadiness(
        None if held_from is None else at(held_from), '', {} if late is None else {'cpu': at(late)}
    )

    found = readiness.ready_part(batch)
    if found.periods:
        found = CoverageCheck(
            database=bench.database,
            collector=bench.collector,
            settings=bench.settings,
            clock=bench.clock,
        ).ready_part(found, readiness.late)

    assert (found.periods, found.note) == (batch.periods[:expected], note)


@pytest.mark.parametrize(
    'newest, known, others, expected',
    [
        (at(10), None, at(12), None),
        (at(12), None, at(12), None),
        (at(9), None, at(12), HELD),
        (at(8), None, at(12), LATE),
        (at(6), None, at(12), LATE),
        (at(5), None, at(12), NOWHERE),
        (at(5), None, at(5), LATE),
        (None, None, at(12), NOWHERE),
        (None, None, None, NOWHERE),
        (None, at(5), at(12), NOWHERE),
        (None, at(5), None, LATE),
    ],
)
def test_what_a_silence_means(newest, known, others, expected):
    """At 11:30, with data needed up to 10:00 and 3 hours to wait at most."""
    rows = {'cpu': Lag(HELD, known, at(6), at(7))} if known else {}

    found = watermark.find_lags(
        {'cpu': newest, 'ram': others},
        rows,
        needed=at(10),
        now=at(11) + 30 * MINUTE,
        lag_max_s=LAG_MAX_S,
    )

    assert (found['cpu'].state if 'cpu' in found else None) == expected
    if known:
        assert (found['cpu'].newest, found['cpu'].since) == (known, at(7))
