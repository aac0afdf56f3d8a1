"""The limit of concurrent slow calls."""

import contextlib
import threading

import pytest

from cloudkitty import errors
from cloudkitty.api.concurrency import CallLimiter

DEADLINE_S = 20


class _Call(threading.Thread):
    """A call that holds its slot until it is told to end."""

    def __init__(self, limiter, caller):
        super().__init__(daemon=True)
        self._limiter, self._caller = limiter, caller
        self.runs, self.done = threading.Event(), threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            with self._limiter.acquire(self._caller):
                self.runs.set()
                self.done.wait(DEADLINE_S)
        except errors.TooManyCalls as exc:
            self.error = exc


@pytest.fixture
def calls():
    started = []
    yield lambda *args: started.append(_Call(*args)) or started[-1]
    for call in started:
        call.done.set()
    for call in started:
        call.join(DEADLINE_S)


def test_one_call_of_a_caller_runs_and_others_wait_for_it(calls):
    limiter = CallLimiter(threads=8)
    first = calls(limiter, 'p1')
    assert first.runs.wait(DEADLINE_S)
    second = calls(limiter, 'p1')

    other = calls(limiter, 'p2')
    assert other.runs.wait(DEADLINE_S)
    assert not second.runs.is_set()
    first.done.set()
    assert second.runs.wait(DEADLINE_S)


def test_a_caller_takes_half_of_the_threads_at_most(calls):
    """What is more is refused at once, and others still have slots."""
    limiter = CallLimiter(threads=4)
    limiter.running_max = 2
    running = [calls(limiter, 'p1') for _ in range(2)]
    assert all(call.runs.wait(DEADLINE_S) for call in running)

    with pytest.raises(errors.TooManyCalls), limiter.acquire('p1'):
        raise AssertionError('it has a slot')
    other = CallLimiter(threads=8)
    mine = calls(other, 'p1')
    assert mine.runs.wait(DEADLINE_S)
    with other.acquire('p2'):
        assert not mine.done.is_set()


def test_some_threads_are_left_for_other_calls(calls):
    limiter = CallLimiter(threads=4)
    taken = [calls(limiter, name) for name in ('p1', 'p2')]
    assert all(call.runs.wait(DEADLINE_S) for call in taken)

    with pytest.raises(errors.TooManyCalls), limiter.acquire('p3'):
        raise AssertionError('it has a slot')


def test_nobody_waits_for_ever(calls):
    limiter = CallLimiter(threads=8)
    limiter.wait_s = 0.05
    assert calls(limiter, 'p1').runs.wait(DEADLINE_S)

    with pytest.raises(errors.TooManyCalls), limiter.acquire('p1'):
        raise AssertionError('it has a slot')


def test_a_call_that_fails_releases_its_slot():
    limiter = CallLimiter(threads=1)
    for _ in range(3):
        with contextlib.suppress(ValueError), limiter.acquire('p1'):
            raise ValueError('of the call')
