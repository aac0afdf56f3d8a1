"""Periods with holes wait, then are noted: the bench of the worker's tests, and the SQL storage."""

import dataclasses
from datetime import timedelta

import pytest

from cloudkitty import errors
from cloudkitty.collector.file import FileCollector
from cloudkitty.core.coverage import Coverage, Gap
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import late_data, progress, source_gaps
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import fakes
from cloudkitty.tests.unit.processor import test_worker
from cloudkitty.tests.unit.processor.test_worker import HOUR, IDENTITY, START, pool  # noqa: F401

LAG_MAX = 3 * HOUR
ALL_TIME = Period(START - 100 * HOUR, START + 1000 * HOUR)


class NotingStorage(test_worker.MarkedStorage):
    """It stores notes as the drivers do."""

    def commit(self, batch):
        def change(connection):
            marks = scope_state.lock_marks(connection, [one.state_id for one in batch])
            assert all(marks[one.state_id] == one.mark for one in batch)
            progress.advance(connection, batch, 3600)

        self.database.write(change)
        return []


@pytest.fixture
def bench(database, pool, tmp_path, caplog):  # noqa: F811
    """Three scopes, three hours due, no lag; the source has gaps as a test wants."""
    caplog.set_level('INFO', 'cloudkitty')
    built = test_worker.Bench(database, pool, tmp_path / 'locks')
    built.settings = dataclasses.replace(built.settings, lag_max_s=LAG_MAX // timedelta(seconds=1))
    built.collector = fakes.FakeCollector({'cpu': 'cpu', 'ram': 'ram'})
    built.collector.reaches = lambda now: {'cpu': now, 'ram': now}
    built.storage = NotingStorage(database)
    return built


def gap(begin, end, *, is_hole=True, sign='up'):
    return Gap(START + begin * HOUR, START + end * HOUR, is_hole, sign)


def cover(bench, *gaps, metric='cpu'):
    """Let the source have these gaps of one metric, and none of the other."""
    bench.collector.covers = lambda periods, known: {
        'ram': Coverage(),
        'cpu': Coverage(),
        metric: Coverage(gaps),
    }


def notes(bench, name='a'):
    """Return (begin, end, reason), hours after the start."""
    (scope,) = [scope for key, scope in bench.scopes().items() if key == name]
    with bench.database.reader() as connection:
        return [
            ((begin - START) / HOUR, (end - START) / HOUR, reason)
            for _, begin, end, reason in late_data.list_notes(connection, [scope.id], ALL_TIME)
        ]


def gaps(bench):
    """Return (metric, begin, end, state)."""
    with bench.database.reader() as connection:
        return [
            (one.metric, (one.begin - START) / HOUR, (one.end - START) / HOUR, one.state)
            for one in source_gaps.list_gaps(connection, IDENTITY)
        ]


def lines(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == 'cloudkitty.processor.coverage'
    ]


def test_a_hole_holds_its_periods_and_is_then_noted(bench, caplog):
    """The hours before it are rated at once, and those after it without a note."""
    cover(bench, gap(1.5, 1.75))
    one = bench.worker()

    wake_at = one.turn()

    assert bench.hours() == {'a': 1, 'b': 1, 'c': 1}
    assert wake_at == bench.clock.now + timedelta(seconds=5)
    assert gaps(bench) == [('cpu', 1.5, 1.75, 'held')]
    bench.clock.now = START + 4.5 * HOUR - timedelta(seconds=1)
    one.turn()
    assert bench.hours() == {'a': 1, 'b': 1, 'c': 1}
    bench.clock.now += timedelta(seconds=61)
    one.turn()
    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert notes(bench) == notes(bench, 'b') == [(1, 2, 'no data of cpu')]
    assert gaps(bench) == [('cpu', 1.5, 1.75, 'noted')]
    assert lines(caplog) == [
        f'Source fake has no samples of metric cpu from 2024-05-01T01:30:00+00:00 to '
        f'2024-05-01T01:45:00+00:00; {what} (up)'
        for what in ('periods wait for them', 'periods are rated without, and noted')
    ]


def test_values_that_cannot_be_used_are_noted_at_once(bench):
    """In one commit with all periods; nothing waits for better values."""
    cover(bench, gap(1.5, 1.75))
    collector, bench.collector = bench.collector, fakes.StrangeCollector({'cpu': 'x', 'ram': 'y'})
    bench.collector.reaches, bench.collector.covers = collector.reaches, collector.covers
    bench.collector.unusable = {
        ('cpu', 'a', START),
        ('cpu', 'a', START + HOUR),
        ('ram', 'a', START + HOUR),
        ('cpu', 'b', START + 2 * HOUR),
    }
    one = bench.worker(lag_max_s=0)

    one.turn()

    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    below = 'values left out that are below 0: '
    assert notes(bench) == [
        (0, 1, f'{below}cpu'),
        (1, 2, f'no data of cpu; {below}cpu, ram'),
    ]
    assert notes(bench, 'b') == [(1, 2, 'no data of cpu'), (2, 3, f'{below}cpu')]
    assert notes(bench, 'c') == [(1, 2, 'no data of cpu')]
    assert gaps(bench) == [
        ('cpu', 0, 1.5, 'unusable'),
        ('cpu', 1.5, 1.75, 'noted'),
        ('cpu', 1.75, 3, 'unusable'),
        ('ram', 1, 2, 'unusable'),
    ]


def test_a_hole_that_is_filled_in_time_leaves_nothing(bench):
    cover(bench, gap(1.5, 1.75))
    one = bench.worker()
    one.turn()
    cover(bench)
    bench.clock.now += timedelta(minutes=2)

    one.turn()

    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert (notes(bench), gaps(bench)) == ([], [])


def test_what_nobody_uses_is_no_hole(bench, caplog):
    """It is told, so that an operator can look it up, and goes on where it went on."""
    asked = []

    def covers(periods, known):
        asked.append(known)
        found = gap(1.5, 1.5 + 20, is_hole=False, sign='the target answered')
        return {'cpu': Coverage([found] if periods[-1].end > found.begin else [])}

    bench.collector.covers = covers
    one = bench.worker()

    one.turn()
    bench.clock.now += HOUR
    one.turn()

    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}
    assert notes(bench) == []
    assert gaps(bench) == [('cpu', 1.5, 21.5, 'unused')]
    assert [sorted(known) for known in asked] == [[], ['cpu']]
    assert len(lines(caplog)) == 1
    assert 'nobody used anything (the target answered)' in lines(caplog)[0]


def test_a_hole_that_shows_late_is_noted_where_it_was_rated(bench):
    """Nothing told it from disuse, until the same resources were back."""
    cover(bench, gap(1.5, 4, is_hole=False))
    one = bench.worker()
    one.turn()
    assert notes(bench) == []
    cover(bench, gap(1.5, 3.25))
    bench.clock.now = START + 9 * HOUR

    one.turn()

    assert notes(bench) == notes(bench, 'c') == [(1, 4, 'no data of cpu')]
    assert gaps(bench) == [('cpu', 1.5, 3.25, 'noted')]


def test_a_hole_that_shows_late_is_noted_around_other_notes(bench):
    """A scope that has one of another metric in a part of it is told of the rest, too."""
    cover(bench, gap(1.5, 4, is_hole=False))
    collector, bench.collector = bench.collector, fakes.StrangeCollector({'cpu': 'x', 'ram': 'y'})
    bench.collector.reaches, bench.collector.covers = collector.reaches, collector.covers
    bench.collector.unusable = {('ram', 'a', START + 2 * HOUR)}
    one = bench.worker()
    bench.clock.now = START + 5 * HOUR
    one.turn()
    cover(bench, gap(1.5, 3.25))
    bench.clock.now = START + 9 * HOUR

    one.turn()

    assert notes(bench, 'c') == [(1, 4, 'no data of cpu')]
    assert notes(bench) == [
        (1, 2, 'no data of cpu'),
        (2, 3, 'values left out that are below 0: ram'),
        (3, 4, 'no data of cpu'),
    ]


def test_an_accepted_hole_is_not_noted(bench):
    bench.worker(rates=False).turn()
    bench.database.write(
        lambda connection: source_gaps.accept(
            connection,
            IDENTITY,
            'cpu',
            Period(START + HOUR, START + 2 * HOUR),
            by='ops',
            reason='maintenance',
            now=START,
        )
    )
    cover(bench, gap(1.5, 2.5))

    bench.worker(lag_max_s=0).turn()

    assert notes(bench) == [(2, 3, 'no data of cpu')]
    assert gaps(bench) == [('cpu', 1, 2, 'accepted'), ('cpu', 2, 2.5, 'noted')]


def test_scopes_of_the_same_periods_share_an_answer(bench):
    """One request more for the source and the batch, not for each scope."""
    asked = []
    bench.collector.covers = lambda periods, known: asked.append(periods) or {}
    bench.fetcher.scope_ids = [f's{number}' for number in range(25)]

    bench.worker(batch_scopes=5).turn()

    assert set(bench.hours().values()) == {3}
    assert len(asked) == 1 or {len(periods) for periods in asked} == {3}


def test_a_collector_that_cannot_tell_is_believed(bench, caplog):
    def covers(periods, known):
        raise errors.CollectError(collector='fake', reason='no such function')

    bench.collector.covers = covers

    bench.worker().turn()

    assert bench.hours() == {'a': 3, 'b': 3, 'c': 3}
    assert [record for record in caplog.records if record.levelname == 'ERROR']


def test_a_source_that_does_not_answer_is_an_outage(bench):
    def covers(periods, known):
        raise errors.SourceUnreachable(collector='fake', reason='down')

    bench.collector.covers = covers

    bench.worker().turn()

    assert bench.hours() == {'a': 0, 'b': 0, 'c': 0}
    assert {scope.failure_reason for scope in bench.scopes().values()} == {"Collector 'fake': down"}


def test_a_definition_that_does_not_fit_is_told_once(bench, caplog):
    bench.collector.covers = lambda periods, known: {
        'cpu': Coverage((), 900, 'samples of cpu are 900 s apart')
    }
    one = bench.worker()
    one.turn()
    bench.clock.now += HOUR
    one.turn()

    assert lines(caplog) == ['Metric cpu: samples of cpu are 900 s apart']


def test_two_metrics_that_are_missing_in_part_make_notes_of_their_own(bench):
    bench.collector.covers = lambda periods, known: {
        'cpu': Coverage([gap(0.5, 1.5)]),
        'ram': Coverage([gap(1.2, 1.3)]),
    }

    bench.worker(lag_max_s=0).turn()

    assert notes(bench) == [(0, 1, 'no data of cpu'), (1, 2, 'no data of cpu, ram')]


def test_an_hour_that_no_file_has_is_held_and_then_noted(bench, conf, tmp_path):
    """With a real collector of files: the same resource has lines before and after it."""
    conf.register_opts(FileCollector.OPTS, FileCollector.GROUP)
    conf.set_override('files', [str(tmp_path / '*.csv')], FileCollector.GROUP)
    lines = [
        f'{(START + hour * HOUR).isoformat()},{(START + (hour + 1) * HOUR).isoformat()},{metric},'
        f'{scope_id},1'
        for metric, hours in (('cpu', (-2, -1, 0, 1, 3)), ('ram', range(-2, 4)))
        for hour in hours
        for scope_id in 'abc'
    ]
    text = '\n'.join(['begin,end,metric,project_id,quantity', *lines, ''])
    (tmp_path / 'usage.csv').write_text(text)
    bench.collector = FileCollector(
        period=3600,
        service_conf=conf,
        conf={'metrics': {name: {'unit': 'x'} for name in ('cpu', 'ram')}},
    )
    one = bench.worker()

    one.turn()
    assert bench.hours() == {'a': 2, 'b': 2, 'c': 2}
    assert gaps(bench) == [('cpu', 2, 3, 'held')]
    bench.clock.now = START + 2 * HOUR + LAG_MAX + timedelta(minutes=2)
    one.turn()

    assert bench.hours() == {'a': 4, 'b': 4, 'c': 4}
    assert notes(bench) == [(2, 3, 'no data of cpu')]
    assert gaps(bench) == [('cpu', 2, 3, 'noted')]
