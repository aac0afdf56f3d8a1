"""Pollsters and a bus for tests of the agent."""

import threading
from decimal import Decimal

from cloudkitty import errors, pollster
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter

NOW = 1_700_000_000 * facts.SECOND_US


def counter(resource_id, volume=1, *, at=NOW, name='things', kind=facts.STATE, **more) -> Counter:
    """Return a counter of project p1; a state exists with all that is known of it."""
    if kind == facts.STATE:
        more.setdefault('life', 'change')
    attributes = more.pop('attributes', {'colour': 'red'})
    return Counter(
        name, kind, 'thing', Decimal(volume), 'p1', None, resource_id, at, attributes, **more
    )


class Things(pollster.BasePollster):
    """Sees the things that a test puts into *things*, and measures each.

    :ivar failure: raised after the things were yielded; None: nothing is.
    :ivar gate: poll() waits for it.
    """

    METERS = ('things', 'weight')
    STATES = ('things',)

    def __init__(self, conf=None):
        self.conf = conf
        self.things = []
        self.is_complete = True
        self.failure = None
        self.gate = threading.Event()
        self.gate.set()
        self.discoveries = 0

    def discover(self):
        self.discoveries += 1
        return pollster.Listing(list(self.things), self.is_complete, is_cloud=True)

    def poll(self, resources, now):
        for resource_id in resources:
            yield counter(resource_id, at=now())
            yield counter(resource_id, 7, at=now(), name='weight', kind=facts.GAUGE)
        self.gate.wait()
        if self.failure is not None:
            raise self.failure


class Bus:
    """Takes messages, unless it is away.

    :ivar sent: the messages, in order.
    """

    def __init__(self):
        self.is_away = False
        self.sent = []
        self.calls = 0

    def send(self, messages):
        self.calls += 1
        if self.is_away:
            raise errors.BusUnavailable(reason='told to be away')
        self.sent.extend(messages)

    def take(self):
        """Return what was sent since the last call."""
        found, self.sent = self.sent, []
        return found
