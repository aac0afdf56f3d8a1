"""What goes wrong: kills, frozen processes, restarts, and orders in between."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent import futures
from datetime import UTC, datetime
from typing import NamedTuple

from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.chaos.world import BEGIN, IDENTITY, LENGTH, LOCK_LIFE_S, REFUSALS, World

FOREVER_S = 3600


class Trouble(NamedTuple):
    """Something that goes wrong for a while.

    :ivar target: what cannot have another trouble meanwhile.
    :ivar seconds: how long it lasts.
    :ivar end: makes it good again.
    """

    target: str
    seconds: float
    end: Callable[[], None]


class Chaos:
    """Makes trouble, several things at a time, until it is told to make good.

    :param choose: the generator that decides.
    :param say: told what happens.
    """

    def __init__(self, world: World, choose: random.Random, say: Callable[[str], None]):
        self.world, self.choose, self.say = world, choose, say
        self.counts: dict[str, int] = {}
        self._under_way: list[tuple[float, Trouble]] = []
        self._clerk = futures.ThreadPoolExecutor(1)
        self._kinds = [
            (8, 'worker killed', self._kill_worker),
            (8, 'worker frozen', self._freeze_worker),
            (1, 'node killed', self._kill_node),
            (1, 'node frozen', self._freeze_node),
            (1, 'locks restarted', lambda: self._restart('locks', self.world.locks)),
            (1, 'locks frozen', lambda: self._hold('locks', self.world.locks)),
            (1, 'database restarted', lambda: self._restart('database', self.world.database)),
            (1, 'source restarted', lambda: self._restart('source', self.world.prometheus)),
            (1, 'source frozen', lambda: self._hold('source', self.world.prometheus)),
            (3, 'reset ordered', self._reset),
            (3, 'reprocessing ordered', self._reprocess),
        ]
        if (clickhouse := world.clickhouse) is not None:
            self._kinds += [
                (2, 'ClickHouse restarted', lambda: self._restart('ClickHouse', clickhouse)),
                (2, 'ClickHouse frozen', lambda: self._hold('ClickHouse', clickhouse)),
            ]

    def step(self) -> None:
        """Begin one more trouble, unless it would hit what is in trouble already."""
        (kind,) = self.choose.choices(self._kinds, [weight for weight, _, _ in self._kinds])
        trouble = kind[2]()
        if trouble is None:
            return
        self.say(f'{kind[1]}: {trouble.target} for {trouble.seconds:.1f} s')
        self.counts[kind[1]] = self.counts.get(kind[1], 0) + 1
        self._under_way.append((time.monotonic() + trouble.seconds, trouble))

    def end(self) -> None:
        """Make everything good; return when the last order is written."""
        self.mend(time.monotonic() + FOREVER_S)
        self._clerk.shutdown()

    def mend(self, now: float) -> None:
        """End the troubles whose time is over at *now*."""
        over = [trouble for until, trouble in self._under_way if until <= now]
        self._under_way = [
            (until, trouble) for until, trouble in self._under_way if trouble not in over
        ]
        for trouble in over:
            trouble.end()
        self.world.start_processors(
            absent=[
                number
                for number in range(len(self.world.processors))
                if not self._is_free(f'node-{number}')
            ]
        )

    def _is_free(self, target):
        return all(trouble.target != target for _, trouble in self._under_way)

    def _node(self):
        number = self.choose.randrange(len(self.world.processors))
        one = self.world.processors[number]
        if self._is_free(f'node-{number}') and one is not None and one.is_running:
            return f'node-{number}', one
        return None, None

    def _worker(self):
        name, one = self._node()
        workers = one.workers if one else []
        return (name, self.choose.choice(workers)) if workers else (None, None)

    def _kill_worker(self):
        _, pid = self._worker()
        if pid is None:
            return None
        self._signal(pid, signal.SIGKILL)
        return Trouble(f'{pid}', 0, _nothing)

    def _freeze_worker(self):
        _, pid = self._worker()
        if pid is None or not self._is_free(f'{pid}'):
            return None
        self._signal(pid, signal.SIGSTOP)
        return Trouble(
            f'{pid}',
            self.choose.uniform(1, 3) * LOCK_LIFE_S,
            lambda: self._signal(pid, signal.SIGCONT),
        )

    @staticmethod
    def _signal(pid, number):
        # It may be gone, and nobody else can have got its number: its master waits for it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _kill_node(self):
        name, one = self._node()
        if one is None:
            return None
        one.end(signal.SIGKILL)
        return Trouble(name, self.choose.uniform(0, 4), _nothing)

    def _freeze_node(self):
        name, one = self._node()
        if one is None:
            return None
        one.signal_all(signal.SIGSTOP)
        return Trouble(
            name, self.choose.uniform(1, 3) * LOCK_LIFE_S, lambda: one.signal_all(signal.SIGCONT)
        )

    def _restart(self, name, server):
        if not self._is_free(name):
            return None
        self.choose.choice([server.stop, server.kill])()
        return Trouble(name, self.choose.uniform(0, 5), server.start)

    def _hold(self, name, server):
        if not self._is_free(name):
            return None
        server.hold()
        return Trouble(name, self.choose.uniform(1, 6), server.resume)

    def _reset(self):
        names = self._some_scopes()
        mark = BEGIN + LENGTH * self.choose.randrange(-1, self.world.size.periods)

        def change(connection):
            _, found = scope_state.list_scopes(connection, scope_id=names)
            behind = [scope.id for scope in found if scope.mark > mark]
            resets.order(connection, behind, mark, now=datetime.now(UTC))

        return self._order(change, f'{len(names)} scopes to {mark:%H:%M}')

    def _reprocess(self):
        names = self._some_scopes()
        first, last = sorted([self.choose.random(), self.choose.random()])

        def change(connection):
            _, found = scope_state.list_scopes(connection, scope_id=names)
            rated = (min(scope.mark for scope in found) - BEGIN) // LENGTH + 1
            window = Period(BEGIN + LENGTH * int(first * rated), BEGIN + LENGTH * int(last * rated))
            scope_reprocessing.create(
                connection, names, identity=IDENTITY, window=window, reason='chaos'
            )

        return self._order(change, f'{len(names)} scopes')

    def _some_scopes(self):
        return self.choose.sample(self.world.size.names, self.choose.choice([1, 3, 10]))

    def _order(self, change, what):
        # Not here: a frozen worker may hold the rows, and only this thread lets it go on.
        self._clerk.submit(self._write, change)
        return Trouble(what, 0, _nothing)

    def _write(self, change):
        with contextlib.suppress(*REFUSALS):
            with self.world.store.writer() as connection:
                change(connection)


def _nothing():
    """What is gone needs nothing."""
