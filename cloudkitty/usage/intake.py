"""Intake: checks facts and stores them; no other code writes the tables of facts.

A batch is stored in one transaction, completely or not at all.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Attributes
from cloudkitty.usage import keys, late
from cloudkitty.usage.attribute_rows import AttributeIds, Known
from cloudkitty.usage.batch import Batch
from cloudkitty.usage.entries import UNLIMITED, Entry, Origin, Outcome, OwnLimits


class Intake:
    """Stores facts about usage.

    :param clock: returns the current time, aware UTC.
    :param own: limits of what projects push themselves.
    """

    def __init__(
        self,
        database: db.Database,
        limits: late.Limits,
        clock: Callable[[], datetime],
        own: OwnLimits = UNLIMITED,
    ) -> None:
        self._database = database
        self._own = own
        self._limits = limits
        self._clock = clock
        self._attributes = AttributeIds()

    @classmethod
    def of(
        cls,
        conf: cfg.ConfigOpts,
        database: db.Database,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> 'Intake':
        """Return the intake with the limits of the configuration."""
        return cls(database, late.Limits.of(conf), clock, OwnLimits.of(conf))

    def store(
        self,
        entries: Sequence[Entry],
        origin: Origin,
        *,
        request: keys.Request | None = None,
        answer: Callable[[Outcome], str] = lambda outcome: '',
    ) -> Outcome | str:
        """Store *entries*; return the result once it is committed.

        :param request: if it is repeated, its first answer is returned, and nothing is stored.
        :param answer: renders the answer that is kept for *request*.
        :raises Conflict: *request* was made with another body.
        """
        now = self._clock()

        def change(connection: sa.Connection) -> tuple[Outcome | str, Mapping[Attributes, Known]]:
            if request is not None:
                told = keys.begin_request(connection, request, facts.to_us(now))
                if told is not None:
                    return told, {}
            batch = Batch(connection, self._limits, now, self._own)
            outcome, ids = batch.store(entries, origin, self._attributes)
            if request is not None:
                keys.end_request(connection, request, answer(outcome))
            return outcome, ids

        outcome, ids = self._database.write(change)
        self._attributes.remember(ids)
        return outcome

    def void(
        self,
        source: str,
        event_id: str,
        note: Callable[[sa.Connection], None] = lambda connection: None,
    ) -> bool:
        """Withdraw the facts of an event; return whether there is such an event.

        :param note: called in the same transaction if there is.
        """
        now = self._clock()

        def change(connection: sa.Connection) -> bool:
            batch = Batch(connection, self._limits, now)
            if not batch.void(keys.digest_of(source, event_id)):
                return False
            note(connection)
            return True

        return self._database.write(change)
