"""Selects the states to send: those that have changed, and each of them once a day."""

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter

RESEND_US = 86400 * facts.SECOND_US


class States:
    """Remembers the states that were sent, with some 100 bytes each; ended ones are dropped.

    An unchanged state is not sent in each cycle: the census tells that the resource still exists.
    """

    def __init__(self) -> None:
        self._sent: dict[bytes, tuple[bytes, int]] = {}
        self._cycle: set[bytes] = set()

    def is_news(self, counter: Counter) -> bool:
        """Return whether a counter of kind state is to be sent."""
        key, content = _key(counter), _content(counter)
        self._cycle.add(key)
        known = self._sent.get(key)
        return known is None or known[0] != content or counter.at >= known[1]

    def record(self, counter: Counter) -> None:
        """Record that a counter was sent."""
        key = _key(counter)
        # So that not all are sent at once a day later.
        spread = int.from_bytes(key[:8], 'big') % (RESEND_US // 2)
        self._sent[key] = _content(counter), counter.at + RESEND_US // 2 + spread

    def end_cycle(self) -> None:
        """Drop the states that were not seen since the last call."""
        self._sent = {key: known for key, known in self._sent.items() if key in self._cycle}
        self._cycle = set()


def _key(counter: Counter) -> bytes:
    return facts.digest(counter.scope_id, counter.name, counter.resource_id)


def _content(counter: Counter) -> bytes:
    attributes = repr(sorted(counter.attributes.items()))
    return facts.digest(str(counter.volume), counter.unit, str(counter.born), attributes)
