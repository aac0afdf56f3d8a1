"""Budgets of accounts, and the alerts when their thresholds are reached."""

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing import accounts, outbox
from cloudkitty.billing.forecasts import Forecasts
from cloudkitty.billing.owned import Owned
from cloudkitty.billing.statements import Statements
from cloudkitty.core import timeframe
from cloudkitty.core.billing import canonical, form, month, sharing
from cloudkitty.core.billing.statement import Line
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.db import billing_tables, tables, upsert
from cloudkitty.scopes import state as scope_state

TABLE = billing_tables.budgets
ALERTS = billing_tables.alerts
NET, LIST = 'net', 'list'
ACTUAL, FORECAST = 'actual', 'forecast'
BUDGETS_MAX = 20  # of an account
THRESHOLDS_MAX = 10
PERCENT_MAX = 1000


class Budget(NamedTuple):
    """An amount per month, before tax, above which the owner of an account wants to be alerted.

    :ivar amount: in the currency of its statements; of list prices in that of its plan.
    :ivar basis: NET or LIST.
    :ivar measure: ACTUAL or FORECAST.
    :ivar thresholds: percentages of the amount, ascending.
    """

    id: str
    account: str
    name: str
    amount: Decimal
    basis: str
    measure: str
    thresholds: tuple[int, ...]
    created_at: datetime


class Alert(NamedTuple):
    """A threshold that was reached.

    :ivar budgeted: the amount of the budget then.
    :ivar amount: the amount that was owed, or forecast.
    """

    budget: str
    account: str
    month: str
    basis: str
    measure: str
    threshold: int
    budgeted: Decimal
    amount: Decimal
    currency: str
    at: datetime


def crossed(budget: Budget, amount: Decimal, known: Iterable[int]) -> list[int]:
    """Return the thresholds that *amount* has reached and that are not *known*; ascending."""
    return [
        one
        for one in budget.thresholds
        if one not in set(known) and amount * 100 >= budget.amount * one
    ]


def create(
    connection: sa.Connection, account_id: str, values: dict[str, Any], now: datetime
) -> Budget:
    """Store a budget.

    :param values: name, amount, basis, measure and thresholds.
    :raises InvalidInput: the amount is zero, or the thresholds are not ascending.
    :raises Conflict: the account has too many.
    """
    made = _checked(Budget(id=uuid.uuid4().hex, account=account_id, created_at=now, **values))
    ROWS.require_room(connection, account_id)
    connection.execute(TABLE.insert().values(_row(made)))
    return made


def update(connection: sa.Connection, budget_id: str, values: dict[str, Any]) -> Budget:
    """Change a budget; thresholds that were reached this month raise no second alert."""
    made = _checked(ROWS.get(connection, budget_id)._replace(**values))
    connection.execute(sa.update(TABLE).where(TABLE.c.id == budget_id).values(_row(made)))
    return made


def delete(connection: sa.Connection, budget_id: str) -> None:
    """Remove a budget, and its alerts."""
    connection.execute(sa.delete(ALERTS).where(ALERTS.c.budget == budget_id))
    connection.execute(sa.delete(TABLE).where(TABLE.c.id == budget_id))


def alerts(connection: sa.Connection, budget_id: str) -> list[Alert]:
    """Return the alerts of a budget, the newest first."""
    columns = [ALERTS.c[name] for name in Alert._fields]
    rows = connection.execute(
        sa.select(*columns)
        .where(ALERTS.c.budget == budget_id)
        .order_by(ALERTS.c.at.desc(), ALERTS.c.threshold.desc())
        .limit(1000)
    )
    return [Alert(*row)._replace(at=timeframe.from_naive(row.at)) for row in rows]


def after(connection: sa.Connection, account_id: str, limit: int) -> list[str]:
    """Return the next accounts with budgets after *account_id*, sorted."""
    return list(
        connection.execute(
            sa.select(TABLE.c.account)
            .where(TABLE.c.account > account_id)
            .distinct()
            .order_by(TABLE.c.account)
            .limit(limit)
        ).scalars()
    )


class Evaluation:
    """Compares the amounts that accounts owe with their budgets.

    :param notifies_bus: whether messages are also sent to the message bus.
    """

    def __init__(self, statements: Statements, *, notifies_bus: bool) -> None:
        self.statements = statements
        self.forecasts = Forecasts(statements)
        self.notifies_bus = notifies_bus

    def check(self, account_id: str) -> list[Alert]:
        """Store and send the new alerts of an account in its current month."""
        service = self.statements
        now = service.clock()
        with service.database.reader() as connection:
            budgets = ROWS.find(connection, account_id)
            try:
                found = self._measured(connection, account_id, budgets, now)
            except errors.NotFound:
                # The account was removed from the document; its budgets are kept.
                return []
            due = [one for one in found if one.threshold not in self._known(connection, one)]
        return service.database.write(lambda connection: self._tell(connection, due)) if due else []

    def stamps(self, connection: sa.Connection, account_ids: Sequence[str]) -> dict[str, str]:
        """Return what tells of each account whether it is to be checked again.

        It is another text once a period of one of its scopes is rated, or its budgets or the
        document have changed. Usage that is pushed does not change it.
        """
        service = self.statements
        period = service.clock().strftime('%Y-%m')
        version = service.documents.version_of(connection, period)
        document = service.documents.get(connection, version, period)
        named = {one: accounts.scopes_of(document, one) for one in account_ids}
        marks: dict[str, list[str]] = {}
        for chunk in scope_state.chunks(sorted(set().union(*named.values()))):
            _, found = scope_state.list_scopes(
                connection, scope_id=chunk, scope_key=[service.sums.scope_key]
            )
            for scope in found:
                marks.setdefault(scope.scope_id, []).append(timeframe.render(scope.mark))
        limits: dict[str, list[list[str]]] = {}
        for chunk in scope_state.chunks(account_ids):
            rows = connection.execute(
                sa.select(TABLE).where(TABLE.c.account.in_(chunk)).order_by(TABLE.c.id)
            )
            for row in rows:
                limits.setdefault(row.account, []).append([str(value) for value in row])
        return {
            one: canonical.digest(
                canonical.encode([version, [marks.get(scope) for scope in scopes], limits.get(one)])
            )
            for one, scopes in named.items()
        }

    def _measured(
        self, connection: sa.Connection, account_id: str, budgets: Sequence[Budget], now: datetime
    ) -> list[Alert]:
        """Return an alert of each threshold that is reached, known ones included."""
        service = self.statements
        first = service.account(connection, account_id, now.strftime('%Y-%m'))
        period = month.month_of(now, first.zone)
        version = service.documents.version_of(connection, period)
        account = service.account(connection, account_id, period)
        document = service.documents.get(connection, version, period)
        resolved, lines, _ = service.compute(connection, document, account, period)
        measures: dict[str, list[Line] | None] = {ACTUAL: lines}
        if any(one.measure == FORECAST for one in budgets):
            measures[FORECAST] = self.forecasts.make(connection, account_id, period).lines
        found = []
        for budget in budgets:
            measured = measures[budget.measure]
            if measured is None:
                continue
            amount = sharing.total(measured) if budget.basis == NET else _listed(measured)
            currency = resolved.currency if budget.basis == NET else resolved.price_currency
            found += [
                Alert(
                    budget.id,
                    account_id,
                    period,
                    budget.basis,
                    budget.measure,
                    threshold,
                    budget.amount,
                    amount,
                    currency,
                    now,
                )
                for threshold in crossed(budget, amount, ())
            ]
        return found

    @staticmethod
    def _known(connection: sa.Connection, alert: Alert) -> set[int]:
        rows = connection.execute(
            sa.select(ALERTS.c.threshold).where(
                ALERTS.c.budget == alert.budget,
                ALERTS.c.month == alert.month,
                ALERTS.c.basis == alert.basis,
                ALERTS.c.measure == alert.measure,
            )
        )
        return set(rows.scalars())

    def _tell(self, connection: sa.Connection, due: Sequence[Alert]) -> list[Alert]:
        """Store alerts that no other worker has stored, and their messages."""
        told = []
        for alert in due:
            budget = connection.execute(
                sa.select(TABLE).where(TABLE.c.id == alert.budget).with_for_update()
            ).first()
            # Others that do the same, or remove the budget, take the same lock.
            if budget is None or alert.threshold in self._known(connection, alert):
                continue
            row = alert._asdict() | {'at': timeframe.to_naive(alert.at)}
            upsert.insert_missing(connection, ALERTS, [row])
            data = to_form(alert) | {'name': budget.name}
            outbox.add(
                connection,
                [outbox.Event(alert.account, outbox.CROSSED, data)],
                now=alert.at,
                notifies_bus=self.notifies_bus,
            )
            told.append(alert)
        return told


def to_form(alert: Alert) -> dict[str, Any]:
    """Return an alert as JSON."""
    return {
        'budget_id': alert.budget,
        'account_id': alert.account,
        'month': alert.month,
        'basis': alert.basis,
        'measure': alert.measure,
        'threshold': alert.threshold,
        'budgeted': form.number(alert.budgeted),
        'amount': form.number(alert.amount),
        'currency': alert.currency,
        'at': timeframe.render(alert.at),
    }


def _listed(lines: Iterable[Line]) -> Decimal:
    whole = ZERO
    for line in lines:
        whole = SUM_CONTEXT.add(whole, line.list_price)
    return whole


def _checked(budget: Budget) -> Budget:
    if budget.amount <= 0:
        raise errors.InvalidInput(reason='amount must be more than 0')
    if not 1 <= len(budget.thresholds) <= THRESHOLDS_MAX:
        raise errors.InvalidInput(reason=f'1 to {THRESHOLDS_MAX} thresholds are expected')
    if list(budget.thresholds) != sorted(set(budget.thresholds)):
        raise errors.InvalidInput(reason='thresholds must ascend')
    return budget


def _row(budget: Budget) -> dict[str, Any]:
    return budget._asdict() | {
        'thresholds': json.dumps(budget.thresholds),
        'created_at': timeframe.to_naive(budget.created_at),
    }


def _budget(row: tables.Row) -> Budget:
    values = {name: getattr(row, name) for name in Budget._fields}
    return Budget(
        **values
        | {
            'thresholds': tuple(json.loads(row.thresholds)),
            'created_at': timeframe.from_naive(row.created_at),
        }
    )


ROWS = Owned(TABLE, 'budget', BUDGETS_MAX, _budget)
