"""Rounds of chaos: rate everything while things go wrong, then compare with a quiet run."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cloudkitty.processor import service
from cloudkitty.tests import stored
from cloudkitty.tests.chaos.trouble import Chaos
from cloudkitty.tests.chaos.world import BEGIN, LENGTH, Size, World

# Longest time that the rest of the work may take once all is well again.
CALM_S = 300
PROGRESS_S = 5
TROUBLES_PER_S = 0.7


class Report(NamedTuple):
    """What a run was.

    :ivar counts: how often each kind of trouble was made.
    """

    rounds: int
    counts: dict[str, int]


class Differs(Exception):
    """A round did not end with what the quiet run stored."""


def run(
    folder: Path,
    *,
    database: str,
    locks: str,
    driver: str = 'sql',
    seed: int,
    seconds: float,
    size: Size,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Make rounds until *seconds* have passed, at least one.

    :param folder: must be reachable by the servers' users.
    :param say: told what happens.
    :raises Differs: the text has the first differences.
    """
    choose = random.Random(seed)
    world = World(folder, database=database, locks=locks, driver=driver, size=size)
    counts: dict[str, int] = {}
    with world.running():
        expected = _quiet(world)
        say(f'quiet run: {world.done()} periods of {size.scopes} scopes, {len(expected)} bytes')
        until, rounds = time.monotonic() + seconds, 0
        while not rounds or time.monotonic() < until:
            rounds += 1
            chaos = Chaos(world, choose, say)
            _round(world, chaos, until, say)
            found = world.dump()
            if found != expected:
                raise Differs(
                    f'round {rounds} of seed {seed}, see {world.log_path}:\n'
                    f'{stored.difference(expected, found)}'
                )
            say(f'round {rounds}: equal')
            for kind, count in chaos.counts.items():
                counts[kind] = counts.get(kind, 0) + count
    return Report(rounds, counts)


def _quiet(world):
    """Rate everything in this process; return what is stored then."""
    world.clear()
    now = BEGIN + LENGTH * (world.size.periods + 2)
    for option in ('batch_scopes', 'batch_periods'):
        world.conf.set_override(option, 50, 'orchestrator')
    parts = service.build(world.conf, 0, clock=lambda: now)
    parts.worker.turn()
    parts.locks.close()
    expected = world.dump()
    assert world.is_finished, stored.difference(b'', expected)
    return expected


def _round(world, chaos, until, say):
    world.kill_processors()
    world.clear()
    world.start_processors()
    whole = world.size.scopes * world.size.periods
    next_trouble = next_word = time.monotonic()
    while world.done() < whole and time.monotonic() < until:
        now = time.monotonic()
        chaos.mend(now)
        if now >= next_trouble:
            chaos.step()
            next_trouble = now + chaos.choose.expovariate(TROUBLES_PER_S)
        if now >= next_word:
            say(f'{world.done()} of {whole} periods rated')
            next_word = now + PROGRESS_S
        time.sleep(0.1)
    chaos.end()
    say('calm')
    deadline = time.monotonic() + CALM_S
    while not world.is_finished:
        if time.monotonic() > deadline:
            raise Differs(
                f'not done {CALM_S} s after the last trouble, {world.done()} of {whole} '
                f'periods, see {world.log_path}'
            )
        world.start_processors()
        time.sleep(0.3)
