"""Resets of scopes, carried out under the lock of their shard."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty import db
from cloudkitty.locks import Locks
from cloudkitty.pipeline import UNUSABLE
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.settings import BUSY_S, Settings
from cloudkitty.scopes import resets

LOG = logging.getLogger(__name__)

# Orders that are read at a time.
ORDERS_MAX = 1000


class Resets:
    """Carries out the resets of the scopes whose shards it can lock.

    :param reset: carries out one order, as BaseStorage.reset does.
    :param clock: returns the current time, aware UTC.
    :ivar next_at: when there is work again; None: when there are new orders.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        reset: Callable[[resets.Reset], bool],
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        self._database = database
        self._reset = reset
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._backoff = Backoff('Resetting scopes', settings.length_s)
        self.next_at: datetime | None = None

    def step(self) -> bool:
        """Carry out the orders whose shards are free; return whether there were any."""
        if self._backoff.is_waiting(self._clock()):
            return False
        self.next_at = None
        with self._database.reader() as connection:
            pending = resets.list_pending(connection, self._settings.identity, limit=ORDERS_MAX)
        by_shard: dict[bytes, list[resets.Reset]] = {}
        for order in pending:
            by_shard.setdefault(self._settings.shard_lock(order.scope_id), []).append(order)
        done = 0
        for lock_name, orders in by_shard.items():
            with self._locks.hold(lock_name) as is_mine:
                if is_mine:
                    done += self._carry_out(orders)
                else:
                    self.next_at = self._clock() + timedelta(
                        seconds=min(BUSY_S, self._settings.length_s)
                    )
        if self._backoff.is_waiting(self._clock()):
            self.next_at = self._backoff.until
        elif done:
            self._backoff.record_success(self._clock())
            LOG.info('Reset %s scopes', done)
        return done > 0

    def _carry_out(self, orders):
        """Carry out *orders*; return how many succeeded."""
        done, failure = 0, None
        for order in orders:
            try:
                done += self._reset(order)
            except UNUSABLE:
                raise
            # A third-party store may raise anything; one scope must not hold up the others.
            except Exception as exc:
                failure = exc
        if failure is not None:
            self._backoff.record_failure(self._clock(), failure)
        return done
