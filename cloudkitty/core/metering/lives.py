"""Lives of resources: from when to when each existed, and with what quantity. Pure.

fold() is a function of the set of facts: neither their order nor repetition changes its result.

Source: doc/source/contributor/metering.rst, "Lives".
"""

from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core.metering import facts

ONE = Decimal(1)
# How a life is known: its bounds were said; its begin was missed and taken from a later fact; its
# end was missed and presumed.
SAID, HEALED, PRESUMED = 'said', 'healed', 'presumed'


class Statement(NamedTuple):
    """A fact of one series, as far as lives depend on it; see facts.Fact.

    :ivar attributes: compared for equality only; None: not stated.
    """

    at: int
    stage: int
    tag: int = 0
    quantity: Decimal | None = None
    attributes: Hashable | None = None
    born: int | None = None


class Life(NamedTuple):
    """A span of time with one quantity and the same attributes, [begin, end).

    :ivar begin, end: microseconds since the epoch; end None: it has not ended.
    :ivar evidence: SAID, HEALED or PRESUMED.
    """

    begin: int
    end: int | None
    quantity: Decimal
    attributes: Hashable | None
    evidence: str


def fold(statements: Iterable[Statement]) -> list[Life]:
    """Return the lives that *statements* of one series tell of, oldest first; they do not overlap.

    A begin opens a life. A change to another quantity or other attributes closes one and opens the
    next. A sighting opens a life if none is known, where it was born if that is said. After an end
    that was said only a begin opens another; an end that was presumed is taken back by any later
    fact.
    """
    ordered = sorted(set(statements), key=lambda one: (one.at, one.stage, one.tag))
    walk = _Walk(_earliest_birth(ordered))
    for statement in ordered:
        _STEPS[statement.stage](walk, statement)
    return walk.result()


def _earliest_birth(ordered: Sequence[Statement]) -> int | None:
    """Return when the first life was born, if a fact up to its end or its begin says so."""
    births: list[int] = []
    for statement in ordered:
        if statement.stage == facts.BEGIN:
            break
        if statement.born is not None:
            births.append(statement.born)
        if statement.stage == facts.END:
            break
    return min(births, default=None)


class _Walk:
    """The lives so far, the last of them possibly open.

    :param born: see _earliest_birth().
    """

    def __init__(self, born: int | None) -> None:
        self._born = born
        self._lives: list[Life] = []
        self._is_open = False
        # Whether the last end was said.
        self._is_over = False

    def begin(self, statement: Statement) -> None:
        if self._is_open:
            self.change(statement)
            return
        self._open(statement.at, statement, SAID)

    def change(self, statement: Statement) -> None:
        if self._is_over:
            return
        if not self._is_open:
            self.see(statement)
        last = self._lives[-1]
        quantity = last.quantity if statement.quantity is None else statement.quantity
        attributes = last.attributes if statement.attributes is None else statement.attributes
        if (quantity, attributes) != (last.quantity, last.attributes):
            self._lives[-1] = last._replace(end=statement.at)
            self._lives.append(Life(statement.at, None, quantity, attributes, SAID))

    def see(self, statement: Statement) -> None:
        if self._is_over:
            return
        self._reopen()
        if not self._is_open:
            self._open(self._birth(statement), statement, HEALED)

    def end(self, statement: Statement) -> None:
        if self._is_over:
            return
        self._reopen()
        if not self._is_open and self._born is not None:
            self._open(self._birth(statement), statement, HEALED)
        self._close(statement.at)
        self._is_over = True

    def presume_end(self, statement: Statement) -> None:
        if self._is_open:
            self._close(statement.at)
            self._lives[-1] = self._lives[-1]._replace(evidence=PRESUMED)

    def result(self) -> list[Life]:
        return [life for life in self._lives if life.end is None or life.begin < life.end]

    def _birth(self, statement: Statement) -> int:
        return statement.at if self._born is None else min(self._born, statement.at)

    def _open(self, at: int, statement: Statement, evidence: str) -> None:
        quantity = ONE if statement.quantity is None else statement.quantity
        self._lives.append(Life(at, None, quantity, statement.attributes, evidence))
        self._is_open, self._is_over = True, False

    def _close(self, at: int) -> None:
        if self._is_open:
            self._lives[-1] = self._lives[-1]._replace(end=at)
            self._is_open = False

    def _reopen(self) -> None:
        """Take back an end that was presumed."""
        if self._lives and not self._is_open and not self._is_over:
            self._lives[-1] = self._lives[-1]._replace(end=None, evidence=HEALED)
            self._is_open = True


_STEPS = {
    facts.BEGIN: _Walk.begin,
    facts.CHANGE: _Walk.change,
    facts.SEEN: _Walk.see,
    facts.END: _Walk.end,
    facts.PRESUMED_END: _Walk.presume_end,
}


def differences(old: Iterable[Life], new: Iterable[Life]) -> list[tuple[int, int | None]]:
    """Return the spans of time, [begin, end), of lives that are in one of *old* and *new* only.

    A life that only got longer or shorter counts with the part that changed.
    """
    before, after = set(old) - set(new), set(new) - set(old)
    starts = {_start(life): life for life in before}
    spans: list[tuple[int, int | None]] = []
    for life in after:
        same = starts.pop(_start(life), None)
        if same is None:
            spans.append((life.begin, life.end))
        elif same.end != life.end:
            first, last = sorted((same.end, life.end), key=lambda end: (end is None, end))
            assert first is not None
            spans.append((first, last))
    spans.extend((life.begin, life.end) for life in starts.values())
    return sorted(spans, key=lambda span: span[0])


def _start(life: Life) -> tuple[int, Decimal, Hashable]:
    return life.begin, life.quantity, life.attributes
