"""When a worker removes what is too old: with real locks and a clock that the tests move."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import locks
from cloudkitty.processor import retention, settings
from cloudkitty.scopes import state as scope_state

START = datetime(2024, 5, 1, tzinfo=UTC)
SETTINGS = settings.Settings(
    identity=scope_state.Identity('project_id', 'fake', 'fake'),
    length_s=3600,
    wait_periods=1,
    shards=4,
    batch_scopes=10,
    batch_periods=24,
)


class Store:
    """Removes nothing; answers one after the other what it was told."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def expire(self, now):
        self.asked.append(now)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def build(clock, tmp_path):
    """Builds the job of one of the workers."""

    def job(store):
        return retention.Retention(
            expire=store.expire,
            settings=SETTINGS,
            clock=clock,
            locks=locks.Locks(f'file://{tmp_path}'),
        )

    return job


def test_it_goes_on_while_there_is_more_and_rests_then(build, clock):
    store = Store(True, True, False, False)
    job = build(store)

    assert [job.step() for _ in range(5)] == [True, True, False, False, False]

    assert store.asked == [START] * 3
    assert job.next_at == START + retention.PAUSE
    clock.now = job.next_at
    assert job.step() is False
    assert len(store.asked) == 4


def test_one_worker_at_a_time(build):
    outer, inner = Store(True), Store()
    others = build(inner)

    def expire(now):
        assert others.step() is False
        return True

    outer.expire = expire
    assert build(outer).step() is True
    assert inner.asked == []


def test_a_failure_holds_nobody_and_is_tried_again(build, clock, caplog):
    store = Store(RuntimeError('no'), True)
    job = build(store)

    assert job.step() is False
    assert job.step() is False
    assert START < job.next_at <= START + timedelta(hours=1)
    clock.now = job.next_at
    assert job.step() is True
    assert 'Removing old data failed, and is tried again until it works: ' in caplog.text
