"""Days on which everything goes wrong, and what was really used on them.

A seed makes a day: machines that are resized, renamed and stopped, volumes that grow, pods that
restart beside their ghosts, counters that begin again or move to another host. Exporters are
scraped late or not at all, twice, by two replicas, under changing labels, with clocks that differ.
The seed is the scope of its day, so that one Prometheus holds many days.
"""

import bisect
import functools
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cloudkitty.core.timeframe import Period
from cloudkitty.tests.services import Family

DAY = datetime(2026, 11, 28, tzinfo=UTC)
BEGIN_S = int(DAY.timestamp())
LENGTH_S = 24 * 3600
PERIODS = [
    Period(DAY + timedelta(hours=hour), DAY + timedelta(hours=hour + 1)) for hour in range(24)
]
INTERVAL_S = 60
LATE_MAX_S = 20
SKEW_MAX_S = 3
# A hole is longer than what one lost scrape leaves.
HOLE_MIN_S = 5 * INTERVAL_S
GHOST_S = 270
FREE = ('SHELVED_OFFLOADED',)
GIB = 2**30
MEGABYTE = 10**6
# A change is seen by its own scrapes; what is lost or late there is no fault of the arithmetic.
CALM_S = 3 * INTERVAL_S


class Span(NamedTuple):
    """A part of a resource's life, seconds of the day.

    :ivar value: bytes, GiB, or bytes a second of a counter.
    :ivar labels: what is different in this part.
    """

    begin: float
    end: float
    value: float
    labels: dict


@dataclass
class Resource:
    """What somebody used.

    :ivar spans: one after the other.
    :ivar key: attributes whose times are told apart.
    :ivar divisor: of the value, in the unit that is charged.
    """

    metric: str
    published: str
    labels: dict
    spans: list[Span]
    key: tuple[str, ...]
    divisor: float = 1
    is_counter: bool = False
    has_ghosts: bool = False

    def changes(self) -> Iterator[float]:
        """Yield the seconds of the day at which something changes."""
        for span in self.spans:
            yield from span[:2]

    def charged(self, span: Span) -> float:
        """Return the value of *span* in the unit that is charged."""
        if self.published == 'instance':
            return 0 if span.labels['status'] in FREE else 1
        return span.value / self.divisor


@dataclass
class Observer:
    """Something that scrapes an exporter.

    :ivar labels: what it puts on all series.
    :ivar instants: when, and what its clock said then.
    """

    labels: dict
    instants: list[tuple[float, float]] = field(default_factory=list)


class Day:
    """The day of one seed."""

    def __init__(self, seed: int):
        self.scope_id = f'day-{seed}'
        self._random = random.Random(seed)
        self.hole = self._choose_hole()
        self.resources = [*self._servers(), *self._volumes(), *self._pods(), *self._traffic()]
        self.observers = self._choose_observers()

    # What happens

    def _choose_hole(self):
        """Return when no exporter answers to anybody."""
        begin = self._random.uniform(1, 20) * 3600
        return begin, begin + self._random.uniform(HOLE_MIN_S, 5400)

    def _life(self):
        begin = self._random.choice([0, self._random.uniform(0, 12) * 3600])
        end = self._random.choice([LENGTH_S, self._random.uniform(13, 23.9) * 3600])
        return begin, end

    def _cut(self, begin, end, count):
        """Return *count* parts of a life, none shorter than ten minutes where it is long enough."""
        shortest = min(600, (end - begin) / count / 2)
        while True:
            cuts = sorted(self._random.uniform(begin, end) for _ in range(count - 1))
            edges = [begin, *cuts, end]
            if all(late - early > shortest for early, late in itertools.pairwise(edges)):
                return list(itertools.pairwise(edges))

    def _servers(self):
        """Servers that are renamed, resized, rescued, shelved."""
        for number in range(2):
            spans = []
            for part, (begin, end) in enumerate(self._cut(*self._life(), 5)):
                labels = {
                    'name': f'name-{self._random.randrange(3)}',
                    'flavor_id': f'f{self._random.randrange(3)}',
                    'status': self._random.choice(
                        ['ACTIVE', 'ACTIVE', 'RESCUE', 'SHELVED_OFFLOADED', 'ERROR']
                    ),
                    'host': f'cmp{part}',
                }
                spans.append(Span(begin, end, self._random.randrange(20), labels))
            yield Resource(
                'openstack_nova_server_status',
                'instance',
                {'uuid': f's{number}', 'user_id': 'u1'},
                spans,
                ('uuid', 'flavor_id'),
            )

    def _volumes(self):
        """Volumes that are extended, retyped and renamed."""
        spans = [
            Span(
                begin,
                end,
                size,
                {
                    'size': str(size),
                    'volume_type': self._random.choice(['ssd', 'hdd']),
                    'name': f'disk-{size}',
                },
            )
            for size, (begin, end) in zip((10, 20, 35), self._cut(*self._life(), 3), strict=True)
        ]
        yield Resource(
            'openstack_cinder_volume_gb',
            'volume.size',
            {'id': 'v1', 'user_id': 'u1'},
            spans,
            ('id', 'volume_type'),
        )

    def _pods(self):
        """Containers that restart; the dead ones are shown for some minutes."""
        count = self._random.choice([1, 3, 12])
        spans = [
            Span(begin, end, GIB, {'id': f'/kubepods/{number}', 'name': f'c{number}'})
            for number, (begin, end) in enumerate(self._cut(*self._life(), count))
        ]
        yield Resource(
            'container_memory_working_set_bytes',
            'memory',
            {'pod': 'web', 'container': 'app'},
            spans,
            ('pod',),
            divisor=GIB,
            has_ghosts=True,
        )

    def _traffic(self):
        """Counters of a server's port: it reboots, and moves to another host."""
        spans = [
            Span(begin, end, self._random.randrange(1, 100) * 10_000, {'target': f'tap{number}'})
            for number, (begin, end) in enumerate(self._cut(*self._life(), 4))
        ]
        if self._random.random() < 0.5:
            # A reboot in place of a move: the same series begins again.
            spans = [span._replace(labels={'target': 'tap'}) for span in spans]
        yield Resource(
            'libvirt_domain_interface_stats_transmit_bytes_total',
            'traffic',
            {'domain': 'instance-1'},
            spans,
            ('domain',),
            divisor=MEGABYTE,
            is_counter=True,
        )

    # Who looks

    def _choose_observers(self):
        """One scrape job; or two; or two replicas, whose clocks differ; the label changes once."""
        kind = self._random.choice(['one', 'one', 'jobs', 'replicas', 'moves'])
        if kind == 'jobs':
            names = [{'job': 'openstack'}, {'job': 'openstack-old'}]
        elif kind == 'replicas':
            names = [{'replica': 'a'}, {'replica': 'b'}]
        else:
            names = [{'instance': '10.0.0.5:8080'}]
        found = []
        for labels in names:
            skew = self._random.uniform(-SKEW_MAX_S, SKEW_MAX_S) if len(names) > 1 else 0
            found.append(Observer(labels, self._scrapes(skew)))
        if kind == 'moves':
            self._move(found)
        return found

    def _move(self, found):
        """Let the exporter answer at another address from some time on."""
        whole = found[0].instants
        at = self._random.randrange(len(whole))
        found[0].instants = whole[:at]
        found.append(Observer({'instance': '10.0.0.9:8080'}, whole[at:]))

    def _scrapes(self, skew):
        changes = sorted(instant for resource in self.resources for instant in resource.changes())
        phase, instants, was_lost = self._random.uniform(0, INTERVAL_S), [], False
        for number in range(LENGTH_S // INTERVAL_S):
            at = phase + number * INTERVAL_S
            near = bisect.bisect(changes, at + CALM_S) - bisect.bisect(changes, at - CALM_S)
            trouble = self._random.random()
            if self.hole[0] <= at < self.hole[1] or (trouble < 0.02 and not near and not was_lost):
                was_lost = True
                continue
            if trouble > 0.95 and not near and not was_lost:
                at += self._random.uniform(1, LATE_MAX_S)
                was_lost = True
            else:
                was_lost = False
            instants.append((at, at + skew))
        return instants

    # What the source tells

    def series(self) -> Iterator[tuple[Resource, dict, list]]:
        """Yield (resource, labels, samples) of each series."""
        for observer in self.observers:
            for resource in self.resources:
                found: dict[tuple, list] = defaultdict(list)
                for number, span in enumerate(resource.spans):
                    labels = {
                        'tenant_id': self.scope_id,
                        **observer.labels,
                        **resource.labels,
                        **span.labels,
                    }
                    samples = found[tuple(sorted(labels.items()))]
                    samples.extend(self._samples(resource, span, number, observer))
                for labels, samples in found.items():
                    if samples:
                        yield resource, dict(labels), samples

    def _samples(self, resource, span, number, observer):
        is_last = number == len(resource.spans) - 1
        end = span.end + (GHOST_S if resource.has_ghosts and not is_last else 0)
        for at, clock in observer.instants:
            if span.begin <= at < end:
                value = span.value
                if resource.is_counter:
                    value = round((at - span.begin) * span.value)
                yield round(BEGIN_S + clock, 3), value

    # What is right

    def stretches(self, resource: Resource, hour: int, key: tuple) -> int:
        """Return in how many parts of an hour it was used with the attributes *key*, and seen.

        A counter that begins again begins a part.
        """
        found: list[tuple[float, float]] = []
        for span in resource.spans:
            labels = {**resource.labels, **span.labels}
            if key != tuple(labels[name] for name in resource.key) or not resource.charged(span):
                continue
            for since, until in self.seen:
                begin = max(span.begin, since, hour * 3600)
                end = min(span.end, until, (hour + 1) * 3600)
                if begin < end:
                    found.append((begin, end))
        joined = (
            0
            if resource.is_counter
            else sum(early[1] == late[0] for early, late in itertools.pairwise(found))
        )
        return len(found) - joined

    def truth(self) -> dict[tuple, float]:
        """Return what was used, in hours of the unit, by (metric, begin of the hour, *key*).

        Of a counter it is the growth. Nobody can know what was used while nobody looked.
        """
        found: dict[tuple, float] = defaultdict(float)
        for resource in self.resources:
            for span in resource.spans:
                labels = {**resource.labels, **span.labels}
                key = tuple(labels[name] for name in resource.key)
                rate = resource.charged(span) / (1 if resource.is_counter else 3600)
                for hour in range(24) if rate else ():
                    length = self._seen_in(
                        max(span.begin, hour * 3600), min(span.end, (hour + 1) * 3600)
                    )
                    if length:
                        found[resource.published, hour, *key] += length * rate
        return dict(found)

    def is_used_around_the_hole(self, published: str) -> bool:
        """Return whether a resource of this metric was seen just before and just after the hole."""
        return any(
            any(span.begin <= at < span.end for span in resource.spans)
            and any(span.begin <= since < span.end for span in resource.spans)
            for resource in self.resources
            if resource.published == published
            for at, since in [(self.seen[0][1] - INTERVAL_S, self.seen[1][0])]
        )

    def is_dark(self, begin: float, end: float) -> bool:
        """Return whether a time lies in the hole, or in one in which nothing was used."""
        lives = [(resource.spans[0].begin, resource.spans[-1].end) for resource in self.resources]
        edges = sorted(
            {begin, end, *(at for life in lives for at in life if begin < at < end)}
            | {at for at in (self.seen[0][1], self.seen[1][0]) if begin < at < end}
        )
        slack = 2 * INTERVAL_S
        return all(
            late - early <= slack
            or self.seen[0][1] - slack <= early
            and late <= self.seen[1][0] + slack
            or not any(life[0] < late and life[1] > early for life in lives)
            for early, late in itertools.pairwise(edges)
        )

    def _seen_in(self, begin, end):
        """Return how long somebody looked, seconds."""
        return sum(max(0, min(end, until) - max(begin, since)) for since, until in self.seen)

    @functools.cached_property
    def seen(self) -> list[tuple[float, float]]:
        """Return when somebody looked: until a scrape interval after the last look."""
        instants = sorted(at for observer in self.observers for at, _ in observer.instants)
        before = [at for at in instants if at < self.hole[0]]
        after = [at for at in instants if at >= self.hole[1]]
        return [(0, before[-1] + INTERVAL_S), (after[0], LENGTH_S)]


def families(days: Iterable[Day]) -> list[Family]:
    """Return what a Prometheus has scraped on *days*, by metric."""
    found: dict[str, list] = defaultdict(list)
    kinds = {}
    for day in days:
        for resource, labels, samples in day.series():
            found[resource.metric].append((labels, samples))
            kinds[resource.metric] = 'counter' if resource.is_counter else 'gauge'
    return [Family(name, kinds[name], series) for name, series in found.items()]
