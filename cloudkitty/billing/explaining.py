"""Explains a line of a statement: the item of the plan, and the usage of the line."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing import accounts, ledger
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import month, statement, terms
from cloudkitty.core.billing.plan import Plan
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period

# Most resources in an explanation, those with the highest list price first.
RESOURCES_MAX = 1000


class Resource(NamedTuple):
    """The usage of a resource in a line; *resource* is '' if usage has no resource."""

    scope_id: str
    resource: str
    quantity: Decimal
    list_price: Decimal


class Explanation(NamedTuple):
    """The explanation of a line.

    :ivar line: as the statement shows it, with the steps of its computation.
    :ivar item: the item of the plan as written; None: no item matched the usage.
    :ivar resources: the usage of the line as it is stored now.
    :ivar others: number of resources that are not listed.
    :ivar is_current: whether the usage has not changed since the line was computed.
    """

    line: Mapping[str, Any]
    item: Mapping[str, Any] | None
    resources: Sequence[Resource]
    others: int
    is_current: bool


def explain(
    service: Statements,
    connection: sa.Connection,
    content: Mapping[str, Any],
    position: int,
) -> Explanation:
    """Return the explanation of a line.

    :param content: a statement or a draft, as JSON.
    :param position: of the line, from 1.
    :raises NotFound: there is no such line.
    """
    if not 1 <= position <= len(content['lines']):
        raise errors.NotFound(reason=f'The statement has no line {position}.')
    line = content['lines'][position - 1]
    period, account_id = line['month'], content['account']['id']
    version = content['version']
    if period != content['month']:
        # A correction: its month was closed with a version of its own.
        closed = ledger.closed_months(connection, account_id).get(period)
        version = version if closed is None else closed.version
    document = service.documents.get(connection, version, period)
    account = accounts.find(document, account_id, has_statements=True)
    plan = terms.resolve(document, account, period).plan
    found: list[Resource] = []
    if line['metric'] is not None:
        span = month.bounds(period, account.zone)
        scopes = account.scopes if line['scope_id'] is None else [line['scope_id']]
        found = _resources(service, connection, scopes, plan, span, line)
    found.sort(key=lambda one: (-one.list_price, one.scope_id, one.resource))
    return Explanation(
        line,
        _item(service.documents.form(connection, version), plan, line),
        found[:RESOURCES_MAX],
        max(len(found) - RESOURCES_MAX, 0),
        not line['correction'] and _sums(found) == _shown(line),
    )


def _resources(
    service: Statements,
    connection: sa.Connection,
    scopes: Sequence[str],
    plan: Plan,
    span: Period,
    line: Mapping[str, Any],
) -> list[Resource]:
    by_resource: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for usage, resource in service.sums.resources(connection, scopes, plan, span, line['metric']):
        item, key = statement.place(plan, usage)
        if item == line['item'] and dict(key) == line['key']:
            known = by_resource.get((usage.scope_id, resource), (ZERO, ZERO))
            by_resource[usage.scope_id, resource] = (
                SUM_CONTEXT.add(known[0], usage.quantity),
                SUM_CONTEXT.add(known[1], usage.list_price),
            )
    return [Resource(*names, *sums) for names, sums in by_resource.items()]


def _item(form: Mapping[str, Any], plan: Plan, line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    items = form.get('plans', {}).get(plan.name, {}).get('items', [])
    return next((item for item in items if item['name'] == line['item']), None)


def _sums(found: Sequence[Resource]) -> tuple[Decimal, Decimal]:
    quantity = listed = ZERO
    for one in found:
        quantity = SUM_CONTEXT.add(quantity, one.quantity)
        listed = SUM_CONTEXT.add(listed, one.list_price)
    return quantity, listed


def _shown(line: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    return Decimal(line['quantity']), Decimal(line['list'])
