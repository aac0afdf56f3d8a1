"""What a cycle sends: news, the list of what exists, and how far that reaches."""

import threading
import time

import pytest

from cloudkitty import pollster
from cloudkitty.agent import manager, spool
from cloudkitty.agent.pool import Pool
from cloudkitty.agent.sender import Sender
from cloudkitty.core.metering import facts, reports, signature
from cloudkitty.core.metering import message as messages
from cloudkitty.tests import agents

SECRET = 'a secret of the tests'
INTERVAL_S = 600
# Long enough for a busy machine, since most tests do not wait for it.
DEADLINE_S = 60


class World:
    """An agent with pollsters that see things, and what it sends.

    :ivar now: microseconds since the epoch.
    """

    def __init__(self, folder, *names, deadline_s=DEADLINE_S, threads=2):
        self.now = agents.NOW
        self.bus = agents.Bus()
        self.pollsters = {name: agents.Things() for name in names or ('one',)}
        self.sender = Sender(self.bus.send, spool.Spool(folder, 2**20))
        self.manager = manager.Manager(
            list(self.pollsters.items()),
            pool=Pool(threads, deadline_s, lambda: self.now),
            sender=self.sender,
            identity=manager.Identity('compute@h1', SECRET),
            interval_s=INTERVAL_S,
            now=lambda: self.now,
        )

    @property
    def one(self):
        return next(iter(self.pollsters.values()))

    def cycle(self):
        """Run a cycle an interval later; return (facts, parts of censuses, beacon)."""
        self.now += INTERVAL_S * facts.SECOND_US
        self.manager.cycle(lambda: False)
        sent = self.bus.take()
        assert all(signature.verify(messages.check(one), [SECRET]) == 0 for one in sent)
        by_meter = {meter: [] for meter in reports.METERS}
        stated = []
        for one in sent:
            if one['counter_name'] in by_meter:
                by_meter[one['counter_name']].append(one)
            else:
                stated.append(messages.fact_of(one))
        beacons = [reports.read_beacon(one) for one in by_meter[reports.BEACON]]
        parts = [reports.read_census(one) for one in by_meter[reports.CENSUS]]
        return stated, parts, beacons[-1] if beacons else None


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def states(stated):
    return [fact.resource_id for fact in stated if fact.kind == facts.STATE]


def test_a_state_is_sent_once_and_a_gauge_each_time(world):
    """That a resource is still there is said by the list alone."""
    world.one.things = ['a', 'b']
    stated, (part,), beacon = world.cycle()
    assert states(stated) == ['a', 'b']
    assert part == reports.Part(
        'compute@h1', 'one', ('things',), world.now, world.now, True, True, 1, 1, ('a', 'b')
    )
    assert beacon == reports.Beacon(
        'compute@h1', world.now, INTERVAL_S, {'things': world.now, 'weight': world.now}
    )

    world.one.things = ['b', 'c']
    stated, (part,), _ = world.cycle()
    assert states(stated) == ['c']
    assert [fact.resource_id for fact in stated if fact.kind == facts.GAUGE] == ['b', 'c']
    assert part.resource_ids == ('b', 'c')

    # One that was gone is news.
    world.one.things = ['a']
    assert states(world.cycle()[0]) == ['a']


def test_all_states_are_sent_again_within_a_day(world):
    """Each at a time of its own: what was lost on the way heals."""
    world.one.things = [str(number) for number in range(40)]
    world.cycle()
    sent = [len(states(world.cycle()[0])) for _ in range(24 * 3600 // INTERVAL_S)]
    assert sum(sent) == 40
    assert max(sent) < 10


def test_what_was_lost_is_sent_in_the_next_cycle(world):
    """A spool that is full is no reason to believe that the state was told."""
    world.one.things = ['a']
    while world.sender.send([{'filling': 'x' * 1000}]):
        world.bus.is_away = True
    world.bus.take()
    world.cycle()
    assert world.sender.dropped

    world.bus.is_away = False
    world.sender._retry_at_s = 0
    while world.sender.waiting:
        world.sender.retry()
    world.bus.take()
    stated, _, beacon = world.cycle()
    assert states(stated) == ['a']
    assert beacon.dropped == world.sender.dropped


def test_a_failure_makes_the_list_incomplete(world):
    """What was yielded before it counts; the meters are complete up to the cycle before."""
    world.one.things = ['a']
    _, _, before = world.cycle()
    world.one.failure = ValueError('told to fail')
    world.one.things = ['a', 'b']

    stated, (part,), beacon = world.cycle()
    assert states(stated) == ['b']
    assert (part.is_complete, part.resource_ids) == (False, ('a', 'b'))
    assert (beacon.failed, beacon.until) == (('one',), before.until)

    world.one.failure = None
    _, (part,), beacon = world.cycle()
    assert part.is_complete
    assert (beacon.failed, beacon.until['weight']) == ((), world.now)


def test_a_partial_list_stays_one(world):
    """Whatever the poll says."""
    world.one.is_complete = False
    world.one.things = ['a']
    assert not world.cycle()[1][0].is_complete


def test_one_that_hangs_loses_its_cycle_alone(tmp_path):
    """It is left out until it comes back; nothing of what it says too late is sent."""
    world = World(tmp_path, 'slow', 'other', deadline_s=0.2, threads=1)
    slow, other = world.pollsters.values()
    slow.things, other.things = ['s'], ['o']
    slow.gate.clear()

    stated, parts, beacon = world.cycle()
    assert [part.subject for part in parts] == ['other']
    assert beacon.failed == ('slow',)
    assert states(stated)[-1] == 'o'

    _, parts, beacon = world.cycle()
    assert [part.subject for part in parts] == ['other']
    assert (beacon.failed, slow.discoveries) == (('slow',), 1)

    slow.gate.set()
    for thread in threading.enumerate():
        if thread.name == 'pollster':
            thread.join(30)
    _, parts, beacon = world.cycle()
    assert sorted(part.subject for part in parts) == ['other', 'slow']
    assert beacon.failed == ()


@pytest.mark.parametrize(
    'wrong, reason',
    [
        (agents.counter('a', name='unknown'), 'not in METERS'),
        (agents.counter('a', kind=facts.DELTA, name='weight'), 'no deltas'),
        (agents.counter('a', life='begin'), 'one of seen, change, end'),
        (agents.counter('a', kind=facts.GAUGE), 'a state if it is in STATES'),
        (agents.counter('x' * 256), '255'),
        (agents.counter('a', attributes={str(n): 'x' for n in range(65)}), '64 attributes'),
        (agents.counter('a', 'NaN'), 'finite'),
        (agents.counter('a', attributes={'display_name': '\ud800'}), 'surrogate'),
    ],
)
def test_what_cannot_be_stored_is_not_sent(world, caplog, wrong, reason):
    """The rest of the cycle is, and the log says why."""
    world.one.poll = lambda resources, now: [wrong, agents.counter('good', at=now())]

    stated, (part,), beacon = world.cycle()
    assert states(stated) == ['good']
    assert not part.is_complete
    assert beacon.failed == ('one',)
    assert reason in caplog.text


def test_an_end_is_sent_and_not_counted(world):
    """A resource that was deleted is said with its last state, then with its end."""
    end = agents.counter('gone', life='end')
    world.one.poll = lambda resources, now: [agents.counter('gone'), end, agents.counter('here')]

    stated, (part,), _ = world.cycle()
    assert [(fact.resource_id, fact.stage) for fact in stated] == [
        ('gone', facts.CHANGE),
        ('gone', facts.END),
        ('here', facts.CHANGE),
    ]
    assert part.resource_ids == ('here',)


def test_long_lists_come_in_parts(world):
    """Even an empty list is one part."""
    world.one.poll = lambda resources, now: [agents.counter(str(n), at=now()) for n in range(2500)]
    _, parts, _ = world.cycle()
    assert [(part.number, part.parts, len(part.resource_ids)) for part in parts] == [
        (1, 3, 1000),
        (2, 3, 1000),
        (3, 3, 500),
    ]
    world.one.poll = lambda resources, now: []
    _, parts, _ = world.cycle()
    assert [(part.number, part.parts, part.resource_ids) for part in parts] == [(1, 1, ())]


def test_pollsters_share_what_was_discovered(tmp_path):
    """Those with the same name for it; a failure is that of all of them."""
    world = World(tmp_path, 'one', 'two', 'three')
    first, second, third = world.pollsters.values()
    first.DISCOVERY = second.DISCOVERY = 'shared'
    world.cycle()
    assert sorted([first.discoveries, second.discoveries, third.discoveries]) == [0, 1, 1]

    def fail():
        raise OSError('no answer')

    first.discover = second.discover = fail
    _, parts, beacon = world.cycle()
    assert sorted(beacon.failed) == ['one', 'two']
    assert [part.subject for part in parts] == ['three']


def test_an_agent_that_stops_does_so_between_messages(world):
    """It says nothing of a cycle that it did not finish."""
    world.one.things = ['a']
    world.one.gate.clear()
    stopping = threading.Event()
    threading.Timer(0.1, stopping.set).start()
    began = time.monotonic()
    world.manager.cycle(stopping.is_set)
    world.one.gate.set()

    assert time.monotonic() - began < 30
    assert not [one for one in world.bus.sent if one['counter_name'] in reports.METERS]


def test_a_follower_forgets_what_it_has_sent(world):
    """The leader may have sent other states since."""
    world.one.things = ['a']
    world.cycle()
    world.manager.forget()
    assert states(world.cycle()[0]) == ['a']


def test_load_says_who_works(conf, caplog):
    """Unknown names stop the start, known ones are left out, and a no is logged with its reason."""
    caplog.set_level('INFO')
    conf.set_override('hypervisor', 'vmware', 'agent')
    assert pollster.load(conf, [pollster.COMPUTE]) == []
    assert caplog.text.count('is off: [agent]hypervisor is vmware') == 7
    assert 'Pollster machine is off: [pollster_machine]scope_id is empty' in caplog.text
