"""What the bus does not take waits, in order, and is lost only when the spool is full."""

import pytest

from cloudkitty.agent import sender as sending
from cloudkitty.agent import spool
from cloudkitty.tests import agents


@pytest.fixture
def world(tmp_path):
    """A sender, its bus, and the clock of both as a list."""
    clock = [0.0]
    bus = agents.Bus()
    made = sending.Sender(bus.send, spool.Spool(tmp_path, 2**20), lambda: clock[0])
    return made, bus, clock


def numbers(messages):
    return [one['n'] for one in messages]


def test_what_waits_is_sent_before_what_follows(world):
    """Nothing overtakes."""
    sender, bus, clock = world
    bus.is_away = True
    assert sender.send([{'n': 1}])
    bus.is_away = False
    assert sender.send([{'n': 2}])
    assert (bus.sent, sender.waiting) == ([], 2)

    clock[0] += sender.retry_in_s
    sender.retry()
    assert sender.send([{'n': 3}])
    assert (numbers(bus.sent), sender.waiting, sender.retry_in_s) == ([1, 2, 3], 0, None)


def test_a_bus_that_is_away_is_asked_ever_less_often(world):
    """After 1, 2, 4, 8, 16 and then each 30 seconds; messages do not wait for it."""
    sender, bus, clock = world
    bus.is_away = True
    pauses = []
    for number in range(8):
        sender.send([{'n': number}])
        pauses.append(sender.retry_in_s)
        clock[0] += sender.retry_in_s - 0.5
        sender.retry()
        clock[0] += 0.5
        sender.retry()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    # The first message asked too.
    assert bus.calls == len(pauses) + 1


def test_what_does_not_fit_is_counted(world):
    """And what fits later is kept."""
    sender, bus, clock = world
    bus.is_away = True
    assert sender.send([{'n': 'x' * 900_000}])
    assert not sender.send([{'n': 'y' * 200_000}, {'n': 2}])
    assert sender.dropped == 2
    assert sender.send([{'n': 3}])
    bus.is_away = False
    clock[0] += 100
    sender.retry()
    assert [one['n'][:1] if isinstance(one['n'], str) else one['n'] for one in bus.sent] == ['x', 3]


def test_numbers_keep_the_text_that_was_signed(world):
    """1 and 1.0 are signed differently."""
    sender, bus, clock = world
    bus.is_away = True
    sender.send([{'n': 1.0}, {'n': 1}, {'n': 2**70}, {'n': '\u2028ü'}])
    bus.is_away = False
    clock[0] += 100
    sender.retry()
    assert [repr(one['n']) for one in bus.sent] == ['1.0', '1', str(2**70), repr('\u2028ü')]
