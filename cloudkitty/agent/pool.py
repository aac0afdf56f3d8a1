"""Runs pollsters in threads, each with a deadline."""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import BasePollster, Clock, Listing

LOG = logging.getLogger(__name__)

# Counters that are handed over at once, and such lists that wait to be sent.
CHUNK = 50
CHUNKS_MAX = 20
# How often a thread that hands over results checks whether its run was abandoned.
WAIT_S = 1.0


Outbox = queue.Queue[tuple['Run', list[Counter] | None]]


class Discoveries:
    """Discovered resources of a cycle, shared by pollsters with the same discovery."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, Listing | Exception] = {}

    def of(self, pollster: BasePollster) -> Listing:
        """Return the resources that a pollster has to measure.

        :raises Exception: it could not be discovered; the same for all that share it.
        """
        name = pollster.DISCOVERY
        if not name:
            return pollster.discover()
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._found:
                try:
                    self._found[name] = pollster.discover()
                # Any error of a plug-in is passed to all that wait for it.
                except Exception as exc:
                    self._found[name] = exc
        found = self._found[name]
        if isinstance(found, Exception):
            raise found
        return found


class Run:
    """One pollster in one cycle.

    :ivar begin, end: microseconds since the epoch; end None: it has not finished.
    :ivar listing: the resources to measure; None: unknown.
    :ivar failure: why it did not measure everything; None: it did, or has not finished.
    """

    def __init__(self, name: str, pollster: BasePollster) -> None:
        self.name = name
        self.pollster = pollster
        self.begin = 0
        self.end: int | None = None
        self.listing: Listing | None = None
        self.failure: str | None = None
        self.started_s: float | None = None
        self.is_abandoned = threading.Event()

    def work(
        self, discoveries: Discoveries, now: Clock, hand_over: Callable[['Run', Any], None]
    ) -> None:
        """Measure, and hand over lists of counters; then None."""
        self.begin = now()
        try:
            self.listing = discoveries.of(self.pollster)
            for chunk in _chunks(self.pollster.poll(self.listing.resources, now)):
                hand_over(self, chunk)
        except _Abandoned:
            return
        # The next cycle tries again; the other pollsters have nothing to do with it.
        except Exception as exc:
            LOG.debug('Pollster %s', self.name, exc_info=True)
            self.failure = ' '.join(f'{type(exc).__name__}: {exc}'.split())[:300]
        self.end = now()
        hand_over(self, None)


class _Abandoned(Exception):
    """The run was abandoned."""


class Pool:
    """Runs pollsters in a few threads. One that takes too long is abandoned, not waited for.

    A thread cannot be ended from outside: an abandoned one ends when its pollster does, and that
    pollster is left out until then.

    :param threads: how many measure at once.
    :param deadline_s: seconds that a pollster may take.
    :param now: returns the current time, microseconds since the epoch.
    """

    def __init__(self, threads: int, deadline_s: float, now: Clock) -> None:
        self._threads = threads
        self._deadline_s = deadline_s
        self._now = now
        self._abandoned: dict[str, threading.Thread] = {}

    def run(
        self, pollsters: Sequence[tuple[str, BasePollster]], is_stopping: Callable[[], bool]
    ) -> Iterator[tuple[Run, list[Counter] | None]]:
        """Yield runs with counters as they come; None: the run has ended, see Run.failure."""
        runs = [Run(name, pollster) for name, pollster in pollsters]
        busy = [run for run in runs if self._is_busy(run.name)]
        for run in busy:
            run.failure = 'it has not come back since an earlier cycle'
            yield run, None
        open_runs = {run for run in runs if run not in busy}
        waiting = deque(run for run in runs if run not in busy)
        outbox: Outbox = queue.Queue(CHUNKS_MAX)
        discoveries = Discoveries()
        crew = _Crew(
            waiting, lambda run: run.work(discoveries, self._now, lambda *part: _put(outbox, *part))
        )
        for _ in range(min(self._threads, len(waiting))):
            crew.start()
        while open_runs and not is_stopping():
            try:
                run, chunk = outbox.get(timeout=min(WAIT_S, self._deadline_s / 4))
            except queue.Empty:
                yield from self._abandon(open_runs, crew)
                continue
            # Results of abandoned runs are ignored.
            if run in open_runs:
                if chunk is None:
                    open_runs.remove(run)
                yield run, chunk
        waiting.clear()
        for run in open_runs:
            run.is_abandoned.set()

    def _abandon(
        self, open_runs: set[Run], crew: '_Crew'
    ) -> Iterator[tuple[Run, list[Counter] | None]]:
        edge_s = time.monotonic() - self._deadline_s
        for run in list(open_runs):
            if run.started_s is not None and run.started_s < edge_s:
                open_runs.remove(run)
                run.is_abandoned.set()
                run.failure = f'it took longer than {self._deadline_s} s'
                self._abandoned[run.name] = crew.thread_of(run)
                # Another thread takes over the work of that one.
                crew.start()
                yield run, None

    def _is_busy(self, name: str) -> bool:
        thread = self._abandoned.get(name)
        if thread is not None and not thread.is_alive():
            del self._abandoned[name]
            return False
        return thread is not None


def _put(outbox: Outbox, run: Run, chunk: list[Counter] | None) -> None:
    """Hand over a part, as soon as there is room.

    :raises _Abandoned: nobody waits for it any more.
    """
    while not run.is_abandoned.is_set():
        with contextlib.suppress(queue.Full):
            outbox.put((run, chunk), timeout=WAIT_S)
            return
    raise _Abandoned


class _Crew:
    """Threads that work off a queue of runs."""

    def __init__(self, waiting: 'deque[Run]', work: Callable[[Run], None]) -> None:
        self._waiting = waiting
        self._work = work
        self._threads: dict[Run, threading.Thread] = {}

    def start(self) -> None:
        threading.Thread(target=self._loop, name='pollster', daemon=True).start()

    def thread_of(self, run: Run) -> threading.Thread:
        return self._threads[run]

    def _loop(self) -> None:
        while True:
            try:
                run = self._waiting.popleft()
            except IndexError:
                return
            self._threads[run] = threading.current_thread()
            run.started_s = time.monotonic()
            try:
                self._work(run)
            except _Abandoned:
                return
            if run.is_abandoned.is_set():
                return


def _chunks(counters: Any) -> Iterator[list[Counter]]:
    chunk: list[Counter] = []
    try:
        for counter in counters:
            chunk.append(counter)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except Exception:
        # Counters that were yielded before the error are used.
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
