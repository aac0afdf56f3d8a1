"""Settings of a worker, read from the configuration."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from oslo_config import cfg

from cloudkitty import locks
from cloudkitty.core import schedule, timeframe
from cloudkitty.scopes import agreement
from cloudkitty.scopes.state import Identity, shard_of

# How soon to try a lock again that another worker holds.
BUSY_S = 5


@dataclass(frozen=True)
class Settings:
    """Options of a worker, see conf.py.

    :ivar workers: how many workers of this node rate what is due.
    :ivar worker: number of the worker on this node, from 0.
    :ivar rates: whether it rates what is due.
    :ivar reprocesses: whether it rates periods again.
    :ivar start_date: from when on new scopes are rated; None: from the beginning of the month.
    :ivar lag_max_s: how long periods wait for a metric that lags in the source; 0: never.
    """

    identity: Identity
    length_s: int
    wait_periods: int
    shards: int
    batch_scopes: int
    batch_periods: int
    batch_points: int = 20_000
    workers: int = 1
    worker: int = 0
    rates: bool = True
    reprocesses: bool = True
    lag_max_s: int = 0
    start_date: datetime | None = None

    @classmethod
    def of(cls, conf: cfg.ConfigOpts, worker: int = 0) -> 'Settings':
        """Return the settings of worker number *worker*.

        :raises ConfigurationError: a value is invalid.
        """
        collect, orchestrator = conf.collect, conf.orchestrator
        return cls(
            identity=Identity.of(conf),
            length_s=collect.period,
            wait_periods=collect.wait_periods,
            shards=orchestrator.shards,
            batch_scopes=orchestrator.batch_scopes,
            batch_periods=orchestrator.batch_periods,
            batch_points=orchestrator.batch_points,
            workers=max(orchestrator.max_workers, 1),
            worker=worker,
            rates=worker < orchestrator.max_workers,
            reprocesses=worker < orchestrator.max_workers_reprocessing,
            lag_max_s=collect.lag_max,
            start_date=agreement.parse_date(collect.start_date),
        )

    def initial_mark(self, now: datetime) -> datetime:
        """Return the mark of a scope that was never rated."""
        if self.start_date is None:
            return schedule.initial_mark(now, self.length_s)
        return timeframe.period_at(self.start_date, self.length_s).begin - self.length

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.length_s)

    @property
    def share(self) -> int:
        """How many shards the worker locks at once, so that the others get their share."""
        return -(-self.shards // self.workers)

    @property
    def shard_order(self) -> list[int]:
        """All shards; each worker of a node begins at another one."""
        first = self.worker % self.workers * self.shards // self.workers
        return [*range(first, self.shards), *range(first)]

    def mark_max(self, now: datetime) -> datetime:
        """Return the highest mark of a scope that has a period to rate at *now*."""
        return now - self.length * (1 + max(self.wait_periods, 1))

    def shard_lock(self, scope_id: str) -> bytes:
        """Return the name of the lock of a scope's shard."""
        return self.lock_of(shard_of(scope_id, self.shards))

    def lock_of(self, shard: int) -> bytes:
        """Return the name of the lock of a shard."""
        return self.lock_name(f'shard-{shard}/{self.shards}')

    def lock_name(self, base: str) -> bytes:
        """Return the name of a lock that is specific to this identity."""
        return locks.name(base, **self.identity._asdict())
