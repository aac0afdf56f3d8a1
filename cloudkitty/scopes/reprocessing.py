"""Orders to rate periods again: table storage_scope_reprocessing_schedule.

A task is finished when its *current* time has reached its end; until then *current* is the begin of
the last period that is done. Rows are never deleted.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import decimals, timeframe
from cloudkitty.db import tables, upsert
from cloudkitty.scopes import state as scope_state

_TASKS = tables.tasks
_SCOPES = tables.scopes
_PRICES = tables.task_prices
_CURRENT = _TASKS.c.current_reprocess_time
_NO_FAILURE = {'failure_count': None, 'failure_reason': None, 'failed_at': None, 'retry_at': None}
# Most names in the text of an error.
NAMES_MAX = 10


@dataclass(frozen=True, slots=True)
class Task:
    """One row: the periods of a scope that begin in [start, end), aware UTC.

    :ivar current: begin of the last period done, *end* when all are; None before the first.
    :ivar kept_periods: how many of them kept their data because the source no longer has any.
    :ivar is_dry_run: no points are stored, only the prices that would change, see list_prices().
    """

    id: int
    scope_id: str
    start: datetime
    end: datetime
    current: datetime | None
    reason: str
    kept_periods: int
    failure_count: int | None = None
    failure_reason: str | None = None
    is_dry_run: bool = False

    @property
    def rest(self) -> timeframe.Period:
        """The time that is still to be rated again, and perhaps one period that is done."""
        return timeframe.Period(self.current or self.start, self.end)


class Prices(NamedTuple):
    """The old and the new prices of the periods of a dry run."""

    old: Decimal
    new: Decimal


class Ready(NamedTuple):
    """The tasks that have work.

    :ivar tasks: those that can be worked on, each with its scope.
    :ivar next_retry_at: when the first of those held back is tried again.
    """

    tasks: list[tuple[Task, scope_state.Scope]]
    next_retry_at: datetime | None


def create(
    connection: sa.Connection,
    scope_ids: Collection[str] | None,
    *,
    identity: scope_state.Identity,
    window: timeframe.Period,
    reason: str,
    is_dry_run: bool = False,
) -> None:
    """Order to rate the periods of active scopes that begin in *window* again.

    :param scope_ids: None: all active scopes.
    :param identity: of the scopes that are rated; the table may still have the same id under a
        fetcher, collector or scope key of an earlier configuration, with a mark that no longer
        moves.
    :param is_dry_run: only record what would change; any number of dry runs may overlap.
    :raises NotFound: *scope_ids* is None, and there are no active scopes.
    :raises InvalidInput: a scope is unknown or not active, is not rated up to the end of *window*,
        or is to be rated again there already.
    """
    _, found = scope_state.list_scopes(
        connection,
        scope_id=scope_ids,
        active=[True],
        scope_key=[identity.scope_key],
        fetcher=[identity.fetcher],
        collector=[identity.collector],
    )
    known = {scope.scope_id: scope.id for scope in found}
    if scope_ids is None and not known:
        raise errors.NotFound(reason='No scope is active.')
    _refuse(set(scope_ids or ()) - known.keys(), 'unknown or not active')
    # Until the end of the transaction no other order for these scopes is stored or carried out.
    marks = scope_state.lock_marks(connection, [scope.id for scope in found])
    # The end of the window is never before its start.
    _refuse(
        {scope.scope_id for scope in found if marks[scope.id] < window.end},
        f'not rated up to {timeframe.render(window.end)} yet',
    )
    if not is_dry_run:
        _refuse(_overlapping(connection, known, window), 'part of an unfinished task of this time')
    rows = [{**_row(scope_id, window, reason), 'dry_run': is_dry_run} for scope_id in sorted(known)]
    for chunk in scope_state.chunks(rows):
        connection.execute(sa.insert(_TASKS), chunk)


def _refuse(names: Collection[str], what: str) -> None:
    if names:
        shown = ', '.join(sorted(names)[:NAMES_MAX])
        number = '1 scope is' if len(names) == 1 else f'{len(names)} scopes are'
        raise errors.InvalidInput(reason=f'{number} {what}: {shown:.500}')


def _overlapping(
    connection: sa.Connection, known: Collection[str], window: timeframe.Period
) -> set[str]:
    # A locking read sees tasks that were committed since this transaction began; without the lock
    # MariaDB reads from the snapshot of the transaction's first read.
    start, end = timeframe.to_naive(window.begin), timeframe.to_naive(window.end)
    return {
        scope_id
        for chunk in scope_state.chunks(sorted(known))
        for (scope_id,) in connection.execute(
            sa.select(_TASKS.c.identifier)
            .where(
                _TASKS.c.identifier.in_(chunk),
                _is_unfinished(),
                ~_TASKS.c.dry_run,
                # What is done of it is in nobody's way.
                sa.func.coalesce(_CURRENT, _TASKS.c.start_reprocess_time) < end,
                _TASKS.c.end_reprocess_time > start,
            )
            .with_for_update()
        )
    }


def _row(scope_id: str, window: timeframe.Period, reason: str) -> dict[str, Any]:
    begin, end = timeframe.to_naive(window.begin), timeframe.to_naive(window.end)
    # No period begins in an empty window: such a task is finished at once.
    return {
        'identifier': scope_id,
        'start_reprocess_time': begin,
        'end_reprocess_time': end,
        'current_reprocess_time': end if begin == end else None,
        'reason': reason,
        'kept_periods': 0,
    }


def _is_unfinished() -> sa.ColumnElement[bool]:
    return sa.or_(_CURRENT.is_(None), _CURRENT < _TASKS.c.end_reprocess_time)


def list_tasks(
    connection: sa.Connection,
    *,
    scope_ids: Collection[str] | None = None,
    is_ascending: bool = False,
    offset: int = 0,
    limit: int | None = None,
) -> tuple[int, list[Task]]:
    """Return how many tasks match and those from *offset* on, ordered by creation.

    :param scope_ids: None or none: all.
    """
    found = sa.select(_TASKS)
    if scope_ids:
        found = found.where(_TASKS.c.identifier.in_(scope_ids))
    total = connection.execute(
        sa.select(sa.func.count()).select_from(found.subquery())
    ).scalar_one()
    order = _TASKS.c.id.asc() if is_ascending else _TASKS.c.id.desc()
    page = found.order_by(order).offset(offset).limit(limit)
    return total, [_task(row) for row in connection.execute(page)]


def find_ready(
    connection: sa.Connection, identity: scope_state.Identity, *, now: datetime, limit: int
) -> Ready:
    """Return at most *limit* tasks for scopes of *identity* that have work, see Ready.

    Those whose touch() is the longest ago come first.
    """
    values = {**identity._asdict(), 'moment': timeframe.to_naive(now)}
    rows = connection.execute(_READY, {**values, 'most': limit}).all()
    owners = {
        scope.id: scope
        for scope in scope_state.get_scopes(connection, [row.state_id for row in rows])
    }
    next_retry_at = connection.execute(_NEXT_RETRY, values).scalar()
    return Ready(
        [(_task(row), owners[row.state_id]) for row in rows if row.state_id in owners],
        timeframe.from_naive(next_retry_at),
    )


def list_unfinished(
    connection: sa.Connection, identity: scope_state.Identity, window: timeframe.Period
) -> list[tuple[Task, int]]:
    """Return tasks with periods in *window*, each with the key of its scope of *identity*."""
    joined = sa.and_(
        _TASKS.c.identifier == _SCOPES.c.identifier, *scope_state.identity_conditions(identity)
    )
    rows = connection.execute(
        sa.select(_TASKS, _SCOPES.c.id.label('state_id'))
        .join_from(_TASKS, _SCOPES, joined)
        .where(
            _is_unfinished(),
            ~_TASKS.c.dry_run,
            _TASKS.c.start_reprocess_time < timeframe.to_naive(window.end),
            _TASKS.c.end_reprocess_time > timeframe.to_naive(window.begin),
        )
        .order_by(_TASKS.c.id)
    )
    return [(_task(row), row.state_id) for row in rows]


def oldest_unfinished(connection: sa.Connection) -> datetime | None:
    """Return the first time that is still to be rated again as ordered; None: there is none."""
    begin = connection.execute(
        sa.select(sa.func.min(sa.func.coalesce(_CURRENT, _TASKS.c.start_reprocess_time))).where(
            _is_unfinished()
        )
    ).scalar()
    return timeframe.from_naive(begin)


def unfinished_of(connection: sa.Connection, scope_id: str) -> list[Task]:
    """Return the unfinished tasks of a scope, but no dry runs."""
    found = sa.select(_TASKS).where(
        _TASKS.c.identifier == scope_id, _is_unfinished(), ~_TASKS.c.dry_run
    )
    return list(map(_task, connection.execute(found.order_by(_TASKS.c.id))))


def last_done_at(connection: sa.Connection, scope_id: str, reason: str) -> datetime | None:
    """Return when a worker took up a finished task of a scope with *reason* last."""
    tried_at = connection.execute(
        sa.select(sa.func.max(_TASKS.c.tried_at)).where(
            _TASKS.c.identifier == scope_id,
            _TASKS.c.reason == reason,
            ~_TASKS.c.dry_run,
            ~_is_unfinished(),
        )
    ).scalar()
    return timeframe.from_naive(tried_at)


def count_held(connection: sa.Connection) -> int:
    """Return how many unfinished tasks a failure holds back."""
    return connection.execute(
        sa.select(sa.func.count()).where(_is_unfinished(), _TASKS.c.failure_count.is_not(None))
    ).scalar_one()


def add_prices(connection: sa.Connection, prices: Mapping[int, Mapping[str, Prices]]) -> None:
    """Add to the old and the new prices by task and metric; call lock_tasks() before."""
    rows = [
        (
            task_id,
            metric,
            *(decimals.on_grid(total, decimals.SUM_DIGITS_MAX) for total in (pair.old, pair.new)),
        )
        for task_id, by_metric in sorted(prices.items())
        for metric, pair in sorted(by_metric.items())
    ]
    upsert.add(connection, _PRICES, ('task_id', 'metric', 'old_price', 'new_price'), rows)


def list_prices(connection: sa.Connection, task_ids: Iterable[int]) -> dict[int, dict[str, Prices]]:
    """Return the old and the new prices so far, by task and metric."""
    found: dict[int, dict[str, Prices]] = {}
    for chunk in scope_state.chunks(sorted(task_ids)):
        for row in connection.execute(
            sa.select(_PRICES).where(_PRICES.c.task_id.in_(chunk)).order_by(_PRICES.c.metric)
        ):
            found.setdefault(row.task_id, {})[row.metric] = Prices(row.old_price, row.new_price)
    return found


def touch(connection: sa.Connection, task_ids: Iterable[int], *, now: datetime) -> None:
    """Record that tasks were worked on, which moves them to the end of the queue."""
    for chunk in scope_state.chunks(sorted(task_ids)):
        connection.execute(
            sa.update(_TASKS).where(_TASKS.c.id.in_(chunk)).values(tried_at=timeframe.to_naive(now))
        )


def lock_tasks(connection: sa.Connection, task_ids: Iterable[int]) -> dict[int, datetime | None]:
    """Return the *current* times of these tasks, locked until the transaction ends."""
    return {
        key: timeframe.from_naive(current)
        for chunk in scope_state.chunks(sorted(task_ids))
        for key, current in connection.execute(
            sa.select(_TASKS.c.id, _CURRENT)
            .where(_TASKS.c.id.in_(chunk))
            .order_by(_TASKS.c.id)
            .with_for_update()
        )
    }


def advance(
    connection: sa.Connection, currents: Mapping[int, datetime], kept: Mapping[int, int]
) -> None:
    """Store the *current* times of tasks and clear their failures; call lock_tasks() before.

    :param currents: aware UTC, by primary key.
    :param kept: numbers of further periods that kept their data, by primary key.
    """
    groups: dict[tuple[datetime, int], list[int]] = {}
    for key, current in currents.items():
        groups.setdefault((current, kept.get(key, 0)), []).append(key)
    for (current, count), keys in groups.items():
        for chunk in scope_state.chunks(sorted(keys)):
            connection.execute(
                sa.update(_TASKS)
                .where(_TASKS.c.id.in_(chunk))
                .values(
                    current_reprocess_time=timeframe.to_naive(current),
                    kept_periods=_TASKS.c.kept_periods + count,
                    **_NO_FAILURE,
                )
            )


def record_failure(
    connection: sa.Connection,
    currents: Mapping[int, datetime | None],
    reason: str,
    *,
    now: datetime,
    retry_at: datetime,
) -> None:
    """Hold tasks back until *retry_at* with the reason, except those that have moved meanwhile.

    :param currents: where the tasks were when they failed, aware UTC or None, by primary key.
    """
    for current, keys in scope_state.group_by_mark(currents).items():
        for chunk in scope_state.chunks(sorted(keys)):
            connection.execute(
                sa.update(_TASKS)
                .where(
                    _TASKS.c.id.in_(chunk), _CURRENT == (current and timeframe.to_naive(current))
                )
                .values(
                    failure_count=sa.func.coalesce(_TASKS.c.failure_count, 0) + 1,
                    failure_reason=reason,
                    failed_at=timeframe.to_naive(now),
                    retry_at=timeframe.to_naive(retry_at),
                )
            )


def _build_ready() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return the statements of find_ready(): the tasks that have work, and the next retry."""
    moment = sa.bindparam('moment', type_=_TASKS.c.retry_at.type)
    mark = _SCOPES.c.last_processed_timestamp
    joined = sa.and_(
        _TASKS.c.identifier == _SCOPES.c.identifier, *scope_state.bound_identity_conditions()
    )
    # A scope that was set back must be rated that far again first.
    is_rated = sa.or_(
        mark > _CURRENT, sa.and_(_CURRENT.is_(None), mark >= _TASKS.c.start_reprocess_time)
    )
    ready = (
        sa.select(_TASKS, _SCOPES.c.id.label('state_id'))
        .join_from(_TASKS, _SCOPES, joined)
        .where(
            _is_unfinished(),
            is_rated,
            sa.or_(_TASKS.c.retry_at.is_(None), _TASKS.c.retry_at <= moment),
        )
        # Databases disagree on where NULL sorts.
        .order_by(_TASKS.c.tried_at.is_not(None), _TASKS.c.tried_at, _TASKS.c.id)
        .limit(sa.bindparam('most', type_=sa.Integer))
    )
    rest = (
        sa.select(sa.func.min(_TASKS.c.retry_at))
        .join_from(_TASKS, _SCOPES, joined)
        .where(_is_unfinished(), _TASKS.c.retry_at > moment)
    )
    return ready, rest


# Building a statement takes longer than running it, so those of every turn are built once.
_READY, _NEXT_RETRY = _build_ready()


def _task(row: tables.Row) -> Task:
    return Task(
        id=row.id,
        scope_id=row.identifier,
        start=timeframe.from_naive(row.start_reprocess_time),
        end=timeframe.from_naive(row.end_reprocess_time),
        current=timeframe.from_naive(row.current_reprocess_time),
        reason=row.reason,
        kept_periods=row.kept_periods,
        failure_count=row.failure_count,
        failure_reason=row.failure_reason,
        is_dry_run=row.dry_run,
    )
