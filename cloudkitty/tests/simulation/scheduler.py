"""Simulated time and processes: one thread, and a seed that decides who goes on at every step."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import greenlet


class Killed(BaseException):
    """kill -9: nothing of the process goes on. Its transaction is rolled back by the database."""


class Process:
    """A process that gives way whenever it talks to something outside.

    :param main: what it does.
    :ivar ready_at_s: when it goes on.
    :ivar frozen_at_s: since when it gives no sign of life; None: it does.
    :ivar skew_s: how much its clock is ahead.
    :ivar is_worker: whether it may be killed and frozen.
    """

    def __init__(
        self,
        name: str,
        main: Callable[['Process'], None],
        *,
        skew_s: float = 0,
        ready_at_s: float = 0,
        is_worker: bool = True,
    ):
        self.name = name
        self.skew_s = skew_s
        self.is_worker = is_worker
        self.ready_at_s = ready_at_s
        self.frozen_at_s: float | None = None
        self.is_dead = False
        self.waits_for_writer = False
        self._main = main
        self._greenlet = greenlet.greenlet(self._run)

    def _run(self):
        try:
            self._main(self)
        except Killed:
            pass

    @property
    def has_ended(self) -> bool:
        return self._greenlet.dead

    def go_on(self) -> None:
        self.frozen_at_s = None
        self._greenlet.switch()

    def die(self, now_s: float) -> None:
        """End at once; called by the process itself. What it holds in the lock service stays."""
        self.is_dead = True
        self.frozen_at_s = now_s
        raise Killed

    def end(self) -> None:
        """End it, wherever it is; called from outside."""
        self.is_dead = True
        if self._greenlet:
            self._greenlet.throw(Killed())


class Scheduler:
    """Lets one process go on at a time.

    :param begin: what the time is at second 0, aware UTC.
    :ivar choose: the only source of chance.
    :ivar log: lines for people, None: they are not wanted.
    """

    def __init__(self, seed: int, begin: datetime, *, has_log: bool = False):
        self.choose = random.Random(seed)
        self.now_s = 0.0
        self.steps = 0
        self.log: list[str] | None = [] if has_log else None
        self.writer: Process | None = None
        self.processes: list[Process] = []
        self._begin = begin
        self._hub = greenlet.getcurrent()

    def clock(self, process: Process) -> Callable[[], datetime]:
        """Return the clock of a process."""
        return lambda: self._begin + timedelta(seconds=self.now_s + process.skew_s)

    def say(self, process: Process, what: str) -> None:
        if self.log is not None:
            moment = self._begin + timedelta(seconds=self.now_s)
            self.log.append(f'{self.steps:5} {moment:%H:%M:%S.%f} {process.name:9} {what}')

    def pause(self, process: Process, seconds: float) -> None:
        """Let others go on for so long; the process itself calls this."""
        process.ready_at_s = self.now_s + seconds
        self._hub.switch()

    def take_writer(self, process: Process) -> None:
        """Return when nobody else is writing."""
        while self.writer is not None:
            process.waits_for_writer = True
            self._hub.switch()
        process.waits_for_writer = False
        self.writer = process

    def run(self, until_s: float) -> None:
        """Let processes go on until it is *until_s*."""
        while self.now_s < until_s:
            able = [
                one
                for one in self.processes
                if not (one.waits_for_writer and self.writer is not None)
            ]
            ready = [one for one in able if one.ready_at_s <= self.now_s]
            if not ready:
                self.now_s = min((one.ready_at_s for one in able), default=until_s)
                continue
            one = ready[0] if len(ready) == 1 else self.choose.choice(ready)
            one.go_on()
            if one.has_ended:
                self.processes.remove(one)

    def end(self) -> None:
        """End what still runs."""
        for one in self.processes:
            one.end()
