"""Reasons why a source with samples may count differently from embedded metering."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.lives import PRESUMED
from cloudkitty.usage import listing
from cloudkitty.usage.listing import LifeRow, SampleRow, Selection

# Most facts of a resource that are examined.
FACTS_MAX = 2000
UNTOLD = 'nobody has told this service of it'


class Subject(NamedTuple):
    """A meter of a resource in a period, [begin, end) in microseconds since the epoch.

    :ivar hold_us: how long a sample holds.
    """

    scope_id: str
    meter: str
    resource_id: str
    begin: int
    end: int
    hold_us: int


def cause(connection: sa.Connection, subject: Subject) -> str:
    """Return what is particular about the usage of a period; '': nothing is.

    The connection must hold a snapshot, see db.hold_snapshot().
    """
    chosen = Selection([subject.scope_id], subject.meter, subject.resource_id)
    # A source that samples goes on for a while after an end.
    before = subject.begin - (subject.end - subject.begin)
    wide = chosen._replace(begin=before, end=subject.end)
    lives = listing.lives(connection, wide, limit=FACTS_MAX)
    if lives:
        return _of_lives(lives, subject)
    wide = wide._replace(begin=min(before, subject.begin - subject.hold_us))
    samples = [one for one in listing.samples(connection, wide, limit=FACTS_MAX) if not one.is_void]
    if samples:
        return _of_samples(samples, subject)
    return '' if listing.samples(connection, chosen, limit=1) else UNTOLD


def _of_lives(lives: Sequence[LifeRow], subject: Subject) -> str:
    found = []
    begins = {life.begin for life in lives}
    for life in lives:
        # Where another follows at once, it has changed.
        has_ended = life.end is not None and life.end < subject.end and life.end not in begins
        if life.begin >= subject.begin:
            found.append(f'{_how(life)} at {facts.render_us(life.begin)}')
        if has_ended and life.end is not None:
            word = 'is presumed to have ended' if life.evidence == PRESUMED else 'ended'
            late = ', before the period' if life.end <= subject.begin else ''
            found.append(f'it {word} at {facts.render_us(life.end)}{late}')
    return '; '.join(found)


def _how(life: LifeRow) -> str:
    word = 'is seen first' if life.evidence == 'healed' else 'begins'
    return f'a life with {life.quantity.normalize():f} {word}'


def _of_samples(samples: Sequence[SampleRow], subject: Subject) -> str:
    inside = [one for one in samples if one.key.at >= subject.begin]
    if not inside:
        return f'no sample since {facts.render_us(samples[-1].key.at)}'
    if samples[0].series.kind == facts.CUMULATIVE:
        for one, other in pairwise(samples):
            if other.key.at >= subject.begin and _is_less(other, one):
                return f'the counter began again before {facts.render_us(other.key.at)}'
        if inside[0] is samples[0]:
            return f'the first value is of {facts.render_us(inside[0].key.at)}'
    if samples[0].series.kind == facts.DELTA:
        return ''
    before = [one.key.at for one in samples if one.key.at < subject.begin][-1:]
    instants = [*(before or [subject.begin]), *(one.key.at for one in inside), subject.end]
    for at, following in pairwise(instants):
        if following - at > subject.hold_us:
            return f'no sample from {facts.render_us(at)} to {facts.render_us(following)}'
    return ''


def _is_less(one: SampleRow, other: SampleRow) -> bool:
    return one.quantity is not None and other.quantity is not None and one.quantity < other.quantity
