"""Guard of a worker: it must agree with the database, and its clock with those of others."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.scopes import agreement

LOG = logging.getLogger(__name__)


class Guard:
    """Checks terms and clock before each turn of a worker, and the clock again before it writes.

    :param clock: the worker's; returns the current time, aware UTC.
    :param source_times: returns the current time, aware UTC, of each source that provides it.
    :param offset_max_s: how far the clocks may be apart, seconds; None: they are not compared.
    :ivar until: periods that begin at or after this instant, aware UTC, are rated by other terms;
        None: no change is ordered.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        terms: agreement.Terms,
        clock: Callable[[], datetime],
        source_times: Callable[[], Iterable[datetime]] = tuple,
        offset_max_s: float | None = None,
    ):
        self._database = database
        self._terms = terms
        self._clock = clock
        self._source_times = source_times
        self._offset_max = None if offset_max_s is None else timedelta(seconds=offset_max_s)
        self.until: datetime | None = None

    def check(self) -> None:
        """Make sure that this worker may work now.

        :raises Disagreement: the database is rated by other terms.
        :raises ClockOff: the clock of this host is too far from that of the database or the source.
        """
        before = self._clock()
        with self._database.reader() as connection:
            state = agreement.read(connection)
        self._compare('the database', state.now, before)
        self.check_source()
        if _is_due(state) and self._database.write(agreement.take_effect):
            LOG.info(
                'The change that was ordered is now in effect: %s',
                agreement.describe(state.agreements[-1]),
            )
            with self._database.reader() as connection:
                state = agreement.read(connection)
        agreement.compare(state, self._terms)
        self.until = state.ordered.begin if state.ordered else None

    def check_source(self) -> None:
        """Make sure that the clocks of this host and of the source agree, if the latter is known.

        :raises ClockOff: they do not.
        """
        for theirs in self._source_times():
            self._compare('the source', theirs, self._clock())

    def _compare(self, whose: str, theirs: datetime, before: datetime) -> None:
        """Compare the time of *whose* clock, which was read after *before* and before now."""
        if self._offset_max is None:
            return
        now = self._clock()
        if before - self._offset_max <= theirs <= now + self._offset_max:
            return
        raise errors.ClockOff(
            reason=f'Nothing is rated here: the clock of this host says {timeframe.render(now)}, '
            f'and that of {whose} {timeframe.render(theirs)}; they may be '
            f'{self._offset_max.total_seconds():g} s apart'
        )


def _is_due(state):
    return state.ordered is not None and state.ordered.begin <= state.now
