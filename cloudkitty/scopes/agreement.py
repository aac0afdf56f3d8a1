"""Terms on which all processes that rate into one database agree: table rating_agreements.

The first process that starts stores the terms of its configuration. A change has a date and
comes into force once all that begins before that date is rated.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.db import Database, tables, types
from cloudkitty.scopes import state as scope_state

TIME_BASIS = 'UTC'
# Characters of a scope key.
KEY_LENGTH_MAX = 40
# Fetchers that were called within this time belong to running processors.
ASKED_LATELY = timedelta(days=1)

_TABLE = tables.agreements
_SCOPES = tables.scopes
_FETCHES = tables.fetches
# Names of options that differ from those of the members.
_OPTIONS = {'period_s': 'period'}
_ALL = sa.select(_TABLE, types.utc_clock().label('now')).order_by(_TABLE.c.id)


class Terms(NamedTuple):
    """The terms of rating.

    :ivar period_s: length of a period, seconds.
    :ivar scope_key: attribute that names the scope.
    :ivar start_date: from when on new scopes are rated, aware UTC; None: from their first month on.
    :ivar time_basis: the zone whose months and days count.
    """

    period_s: int
    scope_key: str
    start_date: datetime | None = None
    time_basis: str = TIME_BASIS

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'Terms':
        """Return the terms in the configuration.

        :raises ConfigurationError: the date is invalid.
        """
        collect = conf.collect
        return cls(collect.period, collect.scope_key, parse_date(collect.start_date))

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.period_s)


class Agreement(NamedTuple):
    """A row of the table.

    :ivar begin: earlier periods are those of the row before, aware UTC; None: this is the first
        row.
    :ivar in_force: False: a pending change.
    """

    id: int
    begin: datetime | None
    terms: Terms
    in_force: bool


class Span(NamedTuple):
    """The terms of a time range.

    :ivar until: when they end, aware UTC; None: they are in force.
    """

    terms: Terms
    until: datetime | None


class State(NamedTuple):
    """The agreements so far, the oldest first, and the database's clock.

    :ivar now: aware UTC.
    """

    agreements: Sequence[Agreement]
    now: datetime

    @property
    def current(self) -> Agreement | None:
        """The agreement in force; None: nothing was rated yet."""
        return next((one for one in reversed(self.agreements) if one.in_force), None)

    @property
    def ordered(self) -> Agreement | None:
        """The change that waits for its date, or for periods before it."""
        last = self.agreements[-1] if self.agreements else None
        return last if last and not last.in_force else None

    @property
    def changed_at(self) -> datetime | None:
        """The date of the last change in force; None: there was none."""
        return self.current.begin if self.current else None

    def at(self, begin: datetime) -> 'Span | None':
        """Return the terms of the periods that begin at *begin*; None: there are none yet."""
        until = None
        for one in reversed(self.agreements):
            if one.in_force:
                if one.begin is None or one.begin <= begin:
                    return Span(one.terms, until)
                until = one.begin
        return None


def parse_date(text: str | None) -> datetime | None:
    """Return a start date, aware UTC; None: there is none.

    :raises ConfigurationError: it is no date.
    """
    try:
        return timeframe.to_utc(timeframe.parse(text)) if text else None
    except errors.InvalidInput as exc:
        raise errors.ConfigurationError(reason=f'[collect]start_date: {exc}') from exc


def read(connection: sa.Connection) -> State:
    """Return the agreements and the database's clock."""
    rows = connection.execute(_ALL).all()
    now = rows[0].now if rows else connection.execute(sa.select(types.utc_clock())).scalar_one()
    return State([_agreement(row) for row in rows], timeframe.from_naive(now))


def require(connection: sa.Connection, terms: Terms) -> State:
    """Return the agreements if *terms* are those in force, or if there are none.

    :raises Disagreement: others are in force.
    """
    state = read(connection)
    compare(state, terms)
    return state


def compare(state: State, terms: Terms) -> None:
    """Make sure that *terms* are those in force, or that there are none yet.

    :raises Disagreement: others are in force.
    """
    if state.current is not None and state.current.terms != terms:
        raise errors.Disagreement(reason=_difference(terms, state))


def settle(database: Database, terms: Terms, *, now: datetime) -> None:
    """Store *terms* if there is no agreement yet, else make sure that they are in force.

    :param now: aware UTC.
    :raises Disagreement: others are in force.
    """
    with database.reader() as connection:
        if require(connection, terms).agreements:
            return

    def change(connection: sa.Connection) -> None:
        if not require(connection, terms).agreements:
            _insert(connection, Agreement(1, None, terms, True), now)

    try:
        database.write(change)
    except db_exception.DBDuplicateEntry:
        # Another process was faster; now its terms are there.
        database.write(change)


def order(connection: sa.Connection, terms: Terms, begin: datetime) -> Agreement:
    """Order that *terms* apply to periods that begin at *begin* or later; return the order.

    :raises InvalidInput: that cannot be done.
    :raises Conflict: nothing is agreed on yet, or another change waits.
    """
    state = read(connection)
    if state.current is None:
        raise errors.Conflict(reason='Nothing is agreed on before a processor has started.')
    if state.ordered is not None:
        raise errors.Conflict(
            reason=f'A change at {timeframe.render(_begin(state.ordered))} waits already.'
        )
    old = state.current.terms
    _check_order(old, terms, begin, state)
    first = _first_free(connection, old)
    if first is not None and first > begin:
        raise errors.InvalidInput(
            reason=f'Periods up to {timeframe.render(first)} are rated already'
        )
    made = Agreement(state.agreements[-1].id + 1, begin, terms, False)
    _insert(connection, made, state.now)
    return made


def cancel(connection: sa.Connection) -> Agreement | None:
    """Delete the pending change and return it; None: there was none."""
    waiting = read(connection).ordered
    if waiting is None:
        return None
    gone = connection.execute(
        sa.delete(_TABLE).where(_TABLE.c.id == waiting.id, _TABLE.c.in_force.is_(False))
    )
    return waiting if gone.rowcount else None


def list_behind(connection: sa.Connection, state: State, *, limit: int) -> list[str]:
    """Return the scope ids for which the pending change still waits, at most *limit*.

    Those that a failure holds back are not waited for.
    """
    if state.ordered is None or state.current is None:
        return []
    mark = timeframe.to_naive(_begin(state.ordered) - state.current.terms.length)
    found = sa.select(_SCOPES.c.identifier).where(
        *_working(state.now, state.current.terms),
        _SCOPES.c.failure_count.is_(None),
        sa.or_(
            _SCOPES.c.last_processed_timestamp < mark,
            _SCOPES.c.id.in_(sa.select(tables.resets.c.state_id)),
        ),
    )
    return list(connection.execute(found.order_by(_SCOPES.c.id).limit(limit)).scalars())


def take_effect(connection: sa.Connection) -> bool:
    """Bring the pending change into force if no due period begins before its date.

    The next period of each scope begins where it would have begun without the change. Runs in a
    writing transaction; what commits meanwhile waits for the marks, and then finds them moved.
    """
    state = read(connection)
    waiting = state.ordered
    if waiting is None or state.current is None or state.now < _begin(waiting):
        return False
    keys = connection.execute(sa.select(_SCOPES.c.id)).scalars().all()
    scope_state.lock_marks(connection, keys)
    if list_behind(connection, state, limit=1):
        return False
    done = connection.execute(
        sa.update(_TABLE)
        .where(_TABLE.c.id == waiting.id, _TABLE.c.in_force.is_(False))
        .values(in_force=True)
    )
    if not done.rowcount:
        return False
    moved = state.current.terms.length - waiting.terms.length
    for column in (_SCOPES.c.last_processed_timestamp, _SCOPES.c.final_mark):
        _move(connection, column, moved)
    return True


def count_future_marks(connection: sa.Connection) -> int:
    """Return the number of scopes whose last period begins after the database's clock."""
    return connection.execute(
        sa.select(sa.func.count())
        .select_from(_SCOPES)
        .where(_SCOPES.c.last_processed_timestamp > types.utc_clock())
    ).scalar_one()


def _check_order(old: Terms, new: Terms, begin: datetime, state: State) -> None:
    if new == old:
        raise errors.InvalidInput(reason='Nothing would change')
    if begin <= state.now:
        raise errors.InvalidInput(
            reason=f'{timeframe.render(begin)} is not in the future: it is '
            f'{timeframe.render(state.now)} for the database'
        )
    for length_s in (old.period_s, new.period_s):
        if timeframe.period_at(begin, length_s).begin != begin:
            raise errors.InvalidInput(
                reason=f'{timeframe.render(begin)} is no edge of periods of {length_s} s'
            )
    if new.scope_key != old.scope_key and (new.start_date is None or new.start_date < begin):
        raise errors.InvalidInput(
            reason='With another scope key all scopes are new: order a start date too, which must '
            f'not be before {timeframe.render(begin)}, or a part of their past is billed again'
        )


def _first_free(connection: sa.Connection, terms: Terms) -> datetime | None:
    """Return the end of the latest period that is rated."""
    latest = connection.execute(
        sa.select(sa.func.max(_SCOPES.c.last_processed_timestamp)).where(
            _SCOPES.c.scope_key == terms.scope_key
        )
    ).scalar()
    return None if latest is None else timeframe.from_naive(latest) + terms.length


def _working(now: datetime, terms: Terms) -> Sequence[sa.ColumnElement[bool]]:
    """Return the conditions for scopes that running processors rate."""
    mark, final = _SCOPES.c.last_processed_timestamp, _SCOPES.c.final_mark
    is_asked = (
        sa.select(_FETCHES.c.fetcher)
        .where(
            *(_FETCHES.c[name] == _SCOPES.c[name] for name in scope_state.Identity._fields),
            _FETCHES.c.fetched_at >= timeframe.to_naive(now - ASKED_LATELY),
        )
        .exists()
    )
    return (
        _SCOPES.c.scope_key == terms.scope_key,
        _SCOPES.c.active,
        sa.or_(final.is_(None), mark < final),
        is_asked,
    )


def _move(connection: sa.Connection, column: sa.Column[Any], by: timedelta) -> None:
    """Add *by* to the instants in *column* of the scopes."""
    if not by:
        return
    instants = connection.execute(sa.select(column).distinct().where(column.isnot(None))).scalars()
    # In this order no instant becomes one that is still to be moved.
    for instant in sorted(instants, reverse=by > timedelta(0)):
        connection.execute(
            sa.update(_SCOPES).where(column == instant).values({column.name: instant + by})
        )


def _difference(terms: Terms, state: State) -> str:
    """Return the error text for a process with other *terms*."""
    current, waiting = state.current, state.ordered
    assert current is not None  # else there would be no difference
    differences = [
        f'[collect]{_OPTIONS.get(name, name)} is {_shown(mine)} here and {_shown(agreed)} in the '
        'database'
        for name, mine, agreed in zip(Terms._fields, terms, current.terms, strict=True)
        if mine != agreed
    ]
    if waiting is not None and waiting.terms == terms:
        advice = (
            f'that changes once all periods before {timeframe.render(_begin(waiting))} are rated'
        )
    elif current.begin is not None:
        advice = f'this holds since {timeframe.render(current.begin)}: change the file'
    else:
        advice = 'all processors of a database rate alike: see `cloudkitty-status agreement`'
    return f'Nothing is rated here: {", ".join(differences)}; {advice}'


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return timeframe.render(value)
    return str(value) if value is not None else 'not set'


def describe(made: Agreement) -> dict[str, str]:
    """Return an agreement for display, by the names of the options."""
    terms = {
        _OPTIONS.get(name, name): _shown(value) for name, value in made.terms._asdict().items()
    }
    return {'begin': _shown(made.begin), **terms}


def _insert(connection: sa.Connection, made: Agreement, now: datetime) -> None:
    terms = made.terms
    connection.execute(
        sa.insert(_TABLE).values(
            id=made.id,
            begin=made.begin and timeframe.to_naive(made.begin),
            period=terms.period_s,
            scope_key=terms.scope_key,
            start_date=terms.start_date and timeframe.to_naive(terms.start_date),
            time_basis=terms.time_basis,
            in_force=made.in_force,
            agreed_at=timeframe.to_naive(now),
        )
    )


def _agreement(row: tables.Row) -> Agreement:
    terms = Terms(row.period, row.scope_key, timeframe.from_naive(row.start_date), row.time_basis)
    return Agreement(row.id, timeframe.from_naive(row.begin), terms, row.in_force)


def _begin(made: Agreement) -> datetime:
    """Return the date of a change; only the first agreement has none."""
    return made.begin or datetime.min.replace(tzinfo=UTC)
