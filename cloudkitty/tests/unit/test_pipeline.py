"""A batch goes through collecting, rating and storing."""

import dataclasses
import threading
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from cloudkitty import errors, pipeline
from cloudkitty.core import columns
from cloudkitty.core.timeframe import Period
from cloudkitty.rating import skip
from cloudkitty.scopes.progress import LeftOut
from cloudkitty.scopes.refusals import Patience, Refusal
from cloudkitty.scopes.state import Scope
from cloudkitty.tests import fakes

HOUR = timedelta(hours=1)
MARK = datetime(2024, 5, 1, tzinfo=UTC)
BROKEN = errors.CollectError(collector='fake', reason='broken')
METRICS = {'cpu': 'cpu', 'disk@#space': 'space'}


def begin(number):
    return MARK + number * HOUR


def batch(scopes=3, periods=4):
    return pipeline.Batch(
        [
            Scope(
                id=n,
                scope_id=f's{n}',
                scope_key='project_id',
                fetcher='fake',
                collector='fake',
                mark=MARK,
                toggled_at=MARK,
                active=True,
            )
            for n in range(1, scopes + 1)
        ],
        [Period(begin(n), begin(n + 1)) for n in range(1, periods + 1)],
    )


@pytest.fixture(scope='module')
def pool():
    with futures.ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def build(pool):
    def _build(collector=None, modules=None, storage=None, **changes):
        collector = collector or fakes.FakeCollector(METRICS)
        skips = skip.SkipFilter(
            changes.pop('expression', 'False'),
            {metric.published_name: metric.skip_expression for metric in collector.conf.values()},
        )
        return pipeline.Pipeline(
            collector=collector,
            modules=modules or fakes.FlatRate(),
            commit=(storage or fakes.MemoryStorage()).commit,
            skips=skips,
            pool=pool,
            **{'timeout_s': 30, **changes},
        )

    return _build


def marks(storage, count=3):
    """Return how many periods each scope has come on."""
    return [(storage.marks.get(n, MARK) - MARK) // HOUR for n in range(1, count + 1)]


def test_everything_is_collected_rated_and_stored_at_once(build):
    storage = fakes.MemoryStorage()
    collector = fakes.FakeCollector(METRICS)

    outcome = build(collector, storage=storage).run(batch())

    assert sorted(collector.calls) == [
        ('cpu', ('s1', 's2', 's3'), 4),
        ('disk@#space', ('s1', 's2', 's3'), 4),
    ]
    assert storage.commits == 1
    assert marks(storage) == [4, 4, 4]
    assert sorted(storage.frames) == [(f's{n}', begin(p)) for n in (1, 2, 3) for p in (1, 2, 3, 4)]
    frame = storage.frames['s2', begin(3)]
    assert (frame.start, frame.end, list(frame.usage)) == (begin(3), begin(4), ['cpu', 'space'])
    assert [(name, point.groupby['project_id'], point.price) for name, point in frame] == [
        ('cpu', 's2', Decimal('0.5')),
        ('space', 's2', Decimal('0.5')),
    ]
    assert (len(outcome.stored), outcome.moved, outcome.held) == (3, [], [])


def test_a_period_without_usage_moves_the_mark_and_stores_nothing(build):
    """Also when it is the last one, or when there was none at all."""
    storage = fakes.MemoryStorage()
    used = {('s1', begin(2)), ('s2', begin(4))}
    collector = fakes.FakeCollector(
        METRICS, lambda metric, scope_id, at: 1 if (scope_id, at) in used else None
    )

    build(collector, storage=storage).run(batch())

    assert marks(storage) == [4, 4, 4]
    assert set(storage.frames) == used


def fail_at(*places, error=BROKEN):
    def usage(metric, scope_id, at):
        if (metric, scope_id, (at - MARK) // HOUR) in places:
            raise error
        return 1

    return usage


@pytest.mark.parametrize(
    'error', [errors.CollectError(collector='fake', reason='broken'), KeyError('x')]
)
@pytest.mark.parametrize(
    'places, expected',
    [
        ([('cpu', 's2', 3)], [4, 2, 4]),
        ([('cpu', 's2', 1)], [4, 0, 4]),
        ([('cpu', 's2', 4), ('disk@#space', 's2', 2)], [4, 1, 4]),
        ([('cpu', 's2', 2), ('disk@#space', 's2', 4)], [4, 1, 4]),
        ([('cpu', 's1', 2), ('cpu', 's3', 4)], [1, 4, 3]),
        ([('cpu', 's1', 2), ('cpu', 's1', 4)], [1, 4, 4]),
    ],
)
def test_a_failing_metric_holds_back_what_it_touches(build, places, expected, error):
    """The periods before it are stored, and all of the other scopes."""
    storage = fakes.MemoryStorage()

    outcome = build(
        fakes.FakeCollector(METRICS, fail_at(*places, error=error)), storage=storage
    ).run(batch())

    assert marks(storage) == expected
    assert len(storage.frames) == sum(expected)
    assert all(len(frame.usage) == 2 for frame in storage.frames.values())
    assert [held.scope.id for held in outcome.held] == [
        n for n, count in enumerate(expected, 1) if count < 4
    ]
    assert all(held.reason.startswith('metric ') for held in outcome.held)
    assert [(held.mark - MARK) // HOUR for held in outcome.held] == [
        count for count in expected if count < 4
    ]


@pytest.mark.parametrize(
    'places, given_up, reached, left_out',
    [
        ([('cpu', 's2', 2)], 5, [4, 4, 4], [('cpu', 2)]),
        (
            [('cpu', 's2', 1), ('cpu', 's2', 2), ('disk@#space', 's2', 1)],
            5,
            [4, 4, 4],
            [('cpu', 1), ('disk@#space', 1), ('cpu', 2)],
        ),
        # The second bad period still waits.
        ([('cpu', 's2', 1), ('cpu', 's2', 2)], 2, [4, 1, 4], [('cpu', 1)]),
        ([('cpu', 's2', 1)], 1, [4, 0, 4], []),
    ],
)
def test_a_period_that_the_source_refuses_is_noted_in_the_end(
    build, places, given_up, reached, left_out
):
    """The other metrics are stored, and the other scopes."""
    first = {}
    for metric, scope_id, number in places:
        first.setdefault((scope_id, metric), begin(number))
    patience = Patience(
        begin(given_up),
        {
            key: Refusal(2, key[1], at, at + HOUR, since=MARK, seen=begin(given_up))
            for key, at in first.items()
        },
    )
    storage = fakes.MemoryStorage()
    stored = []

    def commit(parts):
        stored.extend(parts)
        return storage.commit(parts)

    running = dataclasses.replace(
        build(fakes.FakeCollector(METRICS, fail_at(*places))), commit=commit
    )
    outcome = running.run(batch()._replace(patience=patience))

    assert marks(storage) == reached
    assert all(part.scope_id == 's2' for part in stored if part.left_out)
    assert [item for part in stored for item in part.left_out] == [
        LeftOut(begin(number), metric) for metric, number in left_out
    ]
    bad = {(scope_id, begin(number)) for _, scope_id, number in places}
    for key, frame in storage.frames.items():
        assert len(frame.usage) == 2 or key in bad
    waits = [place for place in places if place[2] + 1 > given_up]
    assert [held.scope.id for held in outcome.held] == ([2] if waits else [])


@pytest.mark.parametrize('broken', [(), [('cpu', 's2', 4), ('cpu', 's3', 1)]])
def test_values_that_cannot_be_used_are_noted_where_they_are(build, broken):
    """Also if the query is divided, as a part of it fails."""
    collector = fakes.StrangeCollector(METRICS, fail_at(*broken))
    collector.unusable = {
        ('cpu', 's2', begin(3)),
        ('cpu', 's2', begin(4)),
        ('disk@#space', 's2', begin(3)),
        ('cpu', 's1', begin(1)),
    }
    storage = fakes.MemoryStorage()
    stored = {}

    def commit(parts):
        stored.update({part.scope_id: part.left_out for part in parts})
        return storage.commit(parts)

    dataclasses.replace(build(collector), commit=commit).run(batch())

    below = columns.NEGATIVE
    lost = [LeftOut(begin(3), 'cpu', below), LeftOut(begin(3), 'disk@#space', below)]
    last = [] if broken else [LeftOut(begin(4), 'cpu', below)]
    assert {key: list(value) for key, value in stored.items() if value} == {
        's1': [LeftOut(begin(1), 'cpu', below)],
        's2': [*lost, *last],
    }
    assert marks(storage) == ([4, 3, 0] if broken else [4, 4, 4])


@pytest.mark.parametrize(
    'error', [KeyError('x'), errors.AnswerTooLarge(collector='fake', reason='too large')]
)
def test_what_the_source_does_not_refuse_is_held_for_ever(build, error):
    storage = fakes.MemoryStorage()
    collector = fakes.FakeCollector(METRICS, fail_at(('cpu', 's1', 1), error=error))

    refusal = Refusal(1, 'cpu', begin(1), begin(2), since=MARK, seen=begin(99))
    patience = Patience(begin(99), {('s1', 'cpu'): refusal})
    outcome = build(collector, storage=storage).run(batch(1)._replace(patience=patience))

    assert (marks(storage, 1), len(outcome.held)) == ([0], 1)


def test_one_bad_scope_of_many_is_found_with_few_questions(build):
    collector = fakes.FakeCollector({'cpu': 'cpu', 'ram': 'ram'}, fail_at(('cpu', 's77', 20)))
    storage = fakes.MemoryStorage()

    build(collector, storage=storage).run(batch(scopes=100, periods=24))

    assert marks(storage, 100) == [19 if n == 77 else 24 for n in range(1, 101)]
    assert len([call for call in collector.calls if call[0] == 'cpu']) < 30
    assert len([call for call in collector.calls if call[0] == 'ram']) == 1


def test_a_metric_that_always_fails_costs_few_questions(build):
    def usage(metric, scope_id, at):
        if metric == 'cpu':
            raise errors.CollectError(collector='fake', reason='bad query')
        return 1

    collector = fakes.FakeCollector({'cpu': 'cpu', 'ram': 'ram'}, usage)
    storage = fakes.MemoryStorage()

    outcome = build(collector, storage=storage).run(batch(scopes=100, periods=24))

    assert storage.frames == {}
    assert {held.reason for held in outcome.held} == {"metric cpu: Collector 'fake': bad query"}
    assert len(outcome.held) == 100
    assert len(collector.calls) < 2 * pipeline.FAILURES_MAX


def test_a_silent_source_holds_the_batch_without_further_questions(build):
    error = errors.SourceUnreachable(collector='fake', reason='down')
    collector = fakes.FakeCollector({'cpu': 'cpu'}, fail_at(('cpu', 's3', 4), error=error))
    storage = fakes.MemoryStorage()

    with pytest.raises(errors.SourceUnreachable):
        build(collector, storage=storage).run(batch())

    assert storage.commits == 0
    assert len(collector.calls) == 1


def test_no_data_is_not_a_failure(build):
    storage = fakes.MemoryStorage()
    error = errors.NoDataCollected(collector='fake', resource='cpu')

    build(
        fakes.FakeCollector(METRICS, fail_at(('cpu', 's1', 1), error=error)), storage=storage
    ).run(batch(scopes=1))

    assert marks(storage, 1) == [4]
    assert {tuple(frame.usage) for frame in storage.frames.values()} == {('space',)}


def test_collecting_has_one_time_limit(build):
    """Metrics that are not answered by then hold the whole batch."""
    release = threading.Event()

    def usage(metric, scope_id, at):
        if metric == 'slow':
            release.wait(20)
        return 1

    storage = fakes.MemoryStorage()
    collector = fakes.FakeCollector({'cpu': 'cpu', 'slow': 'slow'}, usage)

    with pytest.raises(errors.SourceUnreachable, match='no complete answer for slow within 0.1 s'):
        build(collector, storage=storage, timeout_s=0.1).run(batch())

    release.set()
    assert storage.commits == 0


@pytest.mark.parametrize('scopes, periods, points_max', [(3, 1, 5), (3, 4, 7), (1, 2, 1)])
def test_of_a_batch_with_too_many_points_nothing_is_stored(build, scopes, periods, points_max):
    """Several periods of a series may have three times as many."""
    storage = fakes.MemoryStorage()

    with pytest.raises(errors.BatchTooLarge):
        build(storage=storage, points_max=points_max).run(batch(scopes, periods))

    assert storage.commits == 0


@pytest.mark.parametrize('scopes, periods, points_max', [(3, 1, 6), (3, 4, 8), (1, 1, 1)])
def test_a_batch_may_have_so_many_points(build, scopes, periods, points_max):
    """One period of one scope may have any number."""
    outcome = build(points_max=points_max).run(batch(scopes, periods))

    assert (len(outcome.stored), outcome.held) == (scopes, [])
    assert outcome.points == 2 * scopes * periods


@pytest.mark.parametrize('scopes, error', [(2, errors.BatchTooLarge), (1, None)])
def test_an_answer_too_large_to_be_read_makes_the_batch_too_large(build, scopes, error):
    """What cannot be divided is a failure like others."""
    collector = fakes.FakeCollector(
        METRICS,
        fail_at(('cpu', 's1', 1), error=errors.AnswerTooLarge(collector='fake', reason='large')),
    )
    run = build(collector, points_max=10).run

    if error:
        with pytest.raises(error):
            run(batch(scopes, 1))
    else:
        assert 'large' in run(batch(scopes, 1)).held[0].reason


def test_an_answer_about_another_scope_is_a_failure(build):
    class Confused(fakes.FakeCollector):
        def collect(self, metric_name, periods, scope_ids):
            yield 'somebody', periods[0], []

    storage = fakes.MemoryStorage()

    outcome = build(Confused(METRICS), storage=storage).run(batch(scopes=1))

    assert 'which was not requested' in outcome.held[0].reason
    assert marks(storage, 1) == [0]


def test_what_cannot_be_rated_is_not_stored(build):
    storage = fakes.MemoryStorage()

    outcome = build(modules=fakes.FlatRate(refused={'s2': begin(3)}), storage=storage).run(batch())

    assert marks(storage) == [4, 2, 4]
    assert len(storage.frames) == 10
    prices = {point.price for frame in storage.frames.values() for _, point in frame}
    assert prices == {Decimal('0.5')}
    assert [(held.scope.id, held.reason) for held in outcome.held] == [
        (2, "rating: Rating module 'flat' cannot be loaded: no rules")
    ]


def test_modules_that_fail_as_a_whole_leave_nothing_unrated(build):
    """What was used before them, nothing, is stored."""

    class Broken(fakes.FlatRate):
        def rate_periods(self, usage):
            raise RuntimeError('no modules')

    storage = fakes.MemoryStorage()
    collector = fakes.FakeCollector(
        METRICS, lambda metric, scope_id, at: 1 if at >= begin(3) else None
    )

    outcome = build(collector, Broken(), storage).run(batch(scopes=2))

    assert storage.frames == {}
    assert marks(storage, 2) == [2, 2]
    assert [held.reason for held in outcome.held] == ['rating: RuntimeError: no modules'] * 2


def test_what_is_asked_in_parts_is_put_where_it_belongs(build):
    """Quantities of each period, though a question about all of them failed."""

    def usage(metric, scope_id, at):
        if scope_id == 's1' and at == begin(4):
            raise BROKEN
        return (at - MARK) // HOUR * 10 + int(scope_id[1:])

    storage = fakes.MemoryStorage()

    build(fakes.FakeCollector({'cpu': 'cpu'}, usage), storage=storage).run(batch(scopes=2))

    assert {
        (scope_id, (at - MARK) // HOUR): [int(point.qty) for _, point in frame]
        for (scope_id, at), frame in storage.frames.items()
    } == {
        **{('s1', period): [period * 10 + 1] for period in (1, 2, 3)},
        **{('s2', period): [period * 10 + 2] for period in (1, 2, 3, 4)},
    }


@pytest.mark.parametrize(
    'bad, expected',
    [
        ([('s2', 3)], [4, 2, 4]),
        ([('s1', 1), ('s3', 4)], [0, 4, 3]),
    ],
)
def test_a_row_that_cannot_be_stored_holds_back_its_scope(build, bad, expected):
    def check(one):
        for frame in one.frames:
            if (one.scope_id, (frame.start - MARK) // HOUR) in bad:
                raise errors.InvalidInput(reason='1E99 has more than 20 digits')

    storage = fakes.MemoryStorage(check=check)

    outcome = build(storage=storage).run(batch())

    assert marks(storage) == expected
    assert len(storage.frames) == sum(expected)
    assert {held.reason for held in outcome.held} == {'storing: 1E99 has more than 20 digits'}
    assert sorted(
        (held.scope.scope_id, (held.mark - MARK) // HOUR + 1) for held in outcome.held
    ) == sorted(bad)


@pytest.mark.parametrize(
    'error',
    [
        errors.DatabaseUnavailable(reason='gone'),
        db_exception.DBConnectionError(),
        db_exception.DBDeadlock(),
        sa_exc.TimeoutError(),
    ],
)
def test_a_database_that_is_gone_is_not_asked_again(build, error):
    """It says nothing of the scopes: none of them is held back, none is tried alone."""

    def check(one):
        raise error

    storage = fakes.MemoryStorage(check=check)

    with pytest.raises(type(error)):
        build(storage=storage).run(batch())

    assert storage.commits == 1


def test_after_a_part_that_cannot_be_stored_comes_nothing_of_its_scope(build):
    """Though the later periods of the scope could be stored."""
    storage = fakes.MemoryStorage()
    commit = storage.commit

    def refuse(part):
        if any(one.scope_id == 's1' and one.mark == MARK for one in part):
            raise errors.InvalidInput(reason='strange')
        return commit(part)

    storage.commit = refuse

    outcome = build(storage=storage).run(batch(scopes=2))

    assert marks(storage, 2) == [0, 4]
    assert {key[0] for key in storage.frames} == {'s2'}
    assert [(held.scope.scope_id, held.mark) for held in outcome.held] == [('s1', MARK)]


def test_after_a_part_that_another_worker_stored_comes_nothing_of_its_scope(build):
    """Its later periods are that worker's too."""
    storage = fakes.MemoryStorage()
    commit, seen = storage.commit, []

    def commit_late(part):
        if len(part) > 1 or len(part[0].frames) > 2:
            raise errors.InvalidInput(reason='too much at once')
        seen.extend(part)
        return part if part[0].scope_id == 's1' else commit(part)

    storage.commit = commit_late

    outcome = build(storage=storage).run(batch(scopes=2))

    assert [(one.scope_id, one.mark) for one in seen] == [
        ('s1', MARK),
        ('s2', MARK),
        ('s2', begin(2)),
    ]
    assert [one.scope_id for one in outcome.moved] == ['s1']


def test_metrics_may_share_a_published_name(build):
    """The points of both are rated and stored, of each scope and period."""
    storage = fakes.MemoryStorage()
    collector = fakes.FakeCollector({'cpu': 'both', 'ram': 'both', 'net': 'other'})

    build(collector, storage=storage).run(batch(scopes=2, periods=2))

    assert len(storage.frames) == 4
    assert all(
        {name: len(points) for name, points in frame.usage.items()} == {'both': 2, 'other': 1}
        for frame in storage.frames.values()
    )


def test_rules_are_looked_at_before_every_batch(build):
    """What changed since the last one counts, before anything is collected."""

    class Watched(fakes.FlatRate):
        refreshed = 0

        def refresh(self):
            self.refreshed += 1

    modules = Watched()
    run = build(modules=modules).run

    run(batch())
    run(batch())

    assert modules.refreshed == 2


def test_a_scope_that_another_worker_rated_is_left_alone(build):
    storage = fakes.MemoryStorage(marks={2: begin(1)})

    outcome = build(storage=storage).run(batch())

    assert [one.scope_id for one in outcome.moved] == ['s2']
    assert [one.scope_id for one in outcome.stored] == ['s1', 's3']
    assert not [key for key in storage.frames if key[0] == 's2']
    assert storage.marks[2] == begin(1)


def test_points_to_skip_are_not_stored(build):
    """By the expression of the metric, else by the general one; they are rated first."""
    metrics = {
        'cpu': fakes.FakeMetric('cpu', "datapoint['rating']['price'] == 0.5"),
        'ram': 'ram',
        'net': fakes.FakeMetric('net', 'False'),
    }
    storage = fakes.MemoryStorage()

    build(
        fakes.FakeCollector(metrics),
        storage=storage,
        expression="datapoint['groupby'].get('project_id') == 's2'",
    ).run(batch(periods=1))

    assert {key[0]: list(frame.usage) for key, frame in storage.frames.items()} == {
        's1': ['net', 'ram'],
        's2': ['net'],
        's3': ['net', 'ram'],
    }


def test_a_frame_of_which_nothing_is_left_is_not_stored(build):
    storage = fakes.MemoryStorage()

    build(storage=storage, expression='True').run(batch())

    assert storage.frames == {}
    assert marks(storage) == [4, 4, 4]


@pytest.mark.parametrize('keeps_empty, expected', [(False, set()), (True, {begin(2)})])
def test_points_that_are_all_skipped_may_replace_what_is_stored(build, keeps_empty, expected):
    """No points at all never do, nor does an empty answer of a driver."""
    storage = fakes.MemoryStorage()

    class Chatty(fakes.FakeCollector):
        def collect(self, metric_name, periods, scope_ids):
            yield from super().collect(metric_name, periods, scope_ids)
            yield scope_ids[0], periods[2], []

    collector = Chatty(METRICS, lambda metric, scope_id, at: 1 if at == begin(2) else None)

    build(collector, storage=storage, expression='True', keeps_empty=keeps_empty).run(
        batch(scopes=1)
    )

    assert {at for _, at in storage.frames} == expected
