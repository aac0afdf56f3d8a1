"""Lives follow from the set of facts."""

import os
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies

from cloudkitty.core.metering import facts, lives
from cloudkitty.core.metering.lives import HEALED, PRESUMED, SAID, Life, Statement

THREE, FIVE = Decimal(3), Decimal(5)
# Sets of facts that the properties are tried with; 20,000 for a thorough run.
EXAMPLES = int(os.environ.get('CLOUDKITTY_TEST_EXAMPLES', '300'))


def begin(at, quantity=THREE, **more):
    return Statement(at, facts.BEGIN, quantity=quantity, **more)


def change(at, quantity=FIVE, **more):
    return Statement(at, facts.CHANGE, quantity=quantity, **more)


def seen(at, quantity=THREE, **more):
    return Statement(at, facts.SEEN, quantity=quantity, **more)


def end(at, **more):
    return Statement(at, facts.END, **more)


def presumed(at):
    return Statement(at, facts.PRESUMED_END)


@pytest.mark.parametrize(
    'statements, expected',
    [
        ([], []),
        ([begin(10)], [Life(10, None, THREE, None, SAID)]),
        ([begin(10), end(20)], [Life(10, 20, THREE, None, SAID)]),
        (
            [begin(10), change(15), end(20)],
            [Life(10, 15, THREE, None, SAID), Life(15, 20, FIVE, None, SAID)],
        ),
        # Nothing changes, so nothing is cut.
        ([begin(10), change(15, THREE), seen(16)], [Life(10, None, THREE, None, SAID)]),
        # A change may state attributes only, or the quantity only.
        (
            [begin(10, attributes='a'), change(15, None, attributes='b')],
            [Life(10, 15, THREE, 'a', SAID), Life(15, None, THREE, 'b', SAID)],
        ),
        (
            [begin(10, attributes='a'), change(15)],
            [Life(10, 15, THREE, 'a', SAID), Life(15, None, FIVE, 'a', SAID)],
        ),
        # A missed begin.
        ([seen(10)], [Life(10, None, THREE, None, HEALED)]),
        ([seen(10, born=4)], [Life(4, None, THREE, None, HEALED)]),
        ([change(8), seen(10, FIVE, born=4)], [Life(4, None, FIVE, None, HEALED)]),
        ([end(10, quantity=FIVE, born=4)], [Life(4, 10, FIVE, None, HEALED)]),
        ([end(10)], []),
        # After an end that was said only a begin opens another life.
        ([begin(10), end(20), seen(25), change(26)], [Life(10, 20, THREE, None, SAID)]),
        (
            [begin(10), end(20), begin(30, FIVE)],
            [Life(10, 20, THREE, None, SAID), Life(30, None, FIVE, None, SAID)],
        ),
        # The first end counts.
        ([begin(10), end(20), end(22)], [Life(10, 20, THREE, None, SAID)]),
        # A presumed end is taken back by whatever comes later.
        ([begin(10), presumed(20)], [Life(10, 20, THREE, None, PRESUMED)]),
        ([begin(10), presumed(20), seen(30)], [Life(10, None, THREE, None, HEALED)]),
        (
            [begin(10), presumed(20), change(30)],
            [Life(10, 30, THREE, None, HEALED), Life(30, None, FIVE, None, SAID)],
        ),
        ([begin(10), presumed(20), end(30)], [Life(10, 30, THREE, None, HEALED)]),
        # At one instant a begin is taken first, an end last.
        ([end(10), begin(10)], []),
        ([begin(10), end(20), begin(20)], [Life(10, 20, THREE, None, SAID)]),
        ([begin(10), change(10)], [Life(10, None, FIVE, None, SAID)]),
        # A later birth belongs to the later life.
        (
            [begin(10), end(20), begin(30), seen(35, born=5)],
            [Life(10, 20, THREE, None, SAID), Life(30, None, THREE, None, SAID)],
        ),
    ],
)
def test_fold(statements, expected):
    """Each kind of fact does to a life what it says."""
    assert lives.fold(statements) == expected


STATEMENTS = strategies.builds(
    Statement,
    at=strategies.integers(0, 50),
    stage=strategies.sampled_from(
        [facts.BEGIN, facts.CHANGE, facts.SEEN, facts.END, facts.PRESUMED_END]
    ),
    tag=strategies.integers(0, 2),
    quantity=strategies.sampled_from([None, Decimal(1), Decimal(2), Decimal('0.5')]),
    attributes=strategies.sampled_from([None, 1, 2]),
    born=strategies.none(),
)
SETS = strategies.lists(STATEMENTS, max_size=12, unique_by=lambda one: (one.at, one.stage, one.tag))


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(SETS, strategies.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(statements, random):
    """Whatever way the facts come, the lives are the same."""
    shuffled = statements + random.sample(statements, len(statements) // 2)
    random.shuffle(shuffled)

    assert lives.fold(shuffled) == lives.fold(statements)


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(SETS)
def test_lives_do_not_overlap(statements):
    """One follows the other, each has a length, and only the last may be open."""
    found = lives.fold(statements)

    for before, after in zip(found, found[1:], strict=False):
        assert before.end is not None
        assert before.begin < before.end <= after.begin


@pytest.mark.parametrize(
    'old, new, expected',
    [
        ([], [], []),
        ([], [begin(10)], [(10, None)]),
        ([begin(10)], [begin(10), end(20)], [(20, None)]),
        ([begin(10), end(20)], [begin(10), end(15)], [(15, 20)]),
        ([begin(10)], [begin(10), change(15)], [(15, None), (15, None)]),
        ([begin(10)], [begin(5)], [(5, None), (10, None)]),
        ([begin(10), end(20)], [], [(10, 20)]),
    ],
)
def test_differences(old, new, expected):
    """Only the time whose usage changed is named."""
    assert lives.differences(lives.fold(old), lives.fold(new)) == expected
