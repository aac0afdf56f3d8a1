"""Records since when the source refuses a metric; only a lasting refusal leaves it out."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cloudkitty import db
from cloudkitty.core import schedule
from cloudkitty.pipeline import Batch, Outcome
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import refusals
from cloudkitty.scopes.refusals import Patience, Refusal


class RefusalLog:
    """Tells the pipeline which refusals have lasted, and records new ones.

    Rows are in the database: they outlive a worker, and all workers share them.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(self, *, database: db.Database, settings: Settings, clock: Callable[[], datetime]):
        self._database = database
        self._clock = clock
        self._length = settings.length
        self._lag_max = timedelta(seconds=settings.lag_max_s)
        # A source that was not queried for longer may have answered meanwhile.
        self._silence_max = max(self._lag_max / 2, 2 * timedelta(seconds=schedule.RETRY_MAX_S))
        self._known: Mapping[tuple[str, str], Refusal] = {}

    def prepare(self, batch: Batch) -> Batch:
        """Return *batch* with the known refusals of its scopes."""
        if not self._lag_max:
            return batch
        names = {scope.id: scope.scope_id for scope in batch.scopes}
        with self._database.reader() as connection:
            found = refusals.list_refusals(connection, list(names))
        self._known = {refusals.key(names[one.state_id], one.metric): one for one in found}
        now = self._clock()
        fresh = {key: one for key, one in self._known.items() if self._is_fresh(one, now)}
        return batch._replace(patience=Patience(now - self._lag_max, fresh))

    def record(self, batch: Batch, outcome: Outcome) -> None:
        """Store the refusals of *batch*; delete those of queries that are answered again."""
        if not self._lag_max:
            return
        now, first, last = self._clock(), batch.periods[0].begin, batch.periods[-1].begin
        ids = {scope.scope_id: scope.id for scope in batch.scopes}
        met = refusals.first_runs(outcome.refused, self._length)
        new = []
        for key, (begin, end) in met.items():
            old, since = self._known.get(key), now
            if old is not None and old.goes_on(begin, first) and self._is_fresh(old, now):
                since = old.since
            new.append(Refusal(ids[key[0]], key[1], begin, end, since, now))
        failed = {refusals.key(*one) for one in outcome.unanswered}
        over = [
            one
            for key, one in self._known.items()
            if key not in met and key not in failed and one.begin <= last
        ]
        if new or over:
            self._database.write(lambda connection: refusals.replace(connection, over, new))

    def _is_fresh(self, one: Refusal, now: datetime) -> bool:
        return now - one.seen <= self._silence_max
