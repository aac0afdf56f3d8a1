"""`/v2/budgets` and `/v2/webhooks` of the caller's own accounts; an admin sees all."""

from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2 import credits, statements
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.billing import budgets, delivery, webhooks
from cloudkitty.core import timeframe
from cloudkitty.core.billing import form

ALERT = schemas.form(
    budget_id=schemas.TEXT,
    account_id=schemas.TEXT,
    month=schemas.TEXT,
    basis=schemas.TEXT,
    measure=schemas.TEXT,
    threshold=schemas.INTEGER,
    budgeted=schemas.TEXT,
    amount=schemas.TEXT,
    currency=schemas.TEXT,
    at=schemas.MOMENT,
)
_BUDGET = {
    'id': schemas.TEXT,
    'account_id': schemas.TEXT,
    'name': schemas.TEXT,
    'amount': schemas.TEXT,
    'basis': schemas.TEXT,
    'measure': schemas.TEXT,
    'thresholds': schemas.listing(schemas.INTEGER),
    'created_at': schemas.MOMENT,
}
BUDGET = schemas.form(**_BUDGET)
TOLD_BUDGET = schemas.form(**_BUDGET, alerts=schemas.listing(ALERT))
_WEBHOOK = {
    'id': schemas.TEXT,
    'account_id': schemas.TEXT,
    'url': schemas.TEXT,
    'enabled': schemas.BOOLEAN,
    'created_at': schemas.MOMENT,
}
WEBHOOK = schemas.form(**_WEBHOOK)
SECRET_WEBHOOK = schemas.form(**_WEBHOOK, secret=schemas.TEXT)


def check_owner(request, connection, account_id, reason='There is no such account.'):
    """Make sure that the caller is an admin, or owns an account in the current month.

    :raises NotFound: neither, or there is no such account.
    """
    service = statements.service_of(request)
    viewer = visibility.viewer_of(request)
    try:
        account = service.account(
            connection, account_id, statements.month_or_current(service, None)
        )
    except errors.NotFound as exc:
        if viewer.is_admin:
            raise
        raise errors.NotFound(reason=reason) from exc
    is_owner = not viewer.sees_nothing and viewer.project_id == account.owner
    if not (viewer.is_admin or is_owner):
        raise errors.NotFound(reason=reason)


def _owned_budget(request, connection, budget_id):
    found = budgets.ROWS.get(connection, budget_id)
    check_owner(request, connection, found.account, 'There is no such budget.')
    return found


def _owned_webhook(request, connection, webhook_id):
    found = webhooks.ROWS.get(connection, webhook_id)
    check_owner(request, connection, found.account, 'There is no such webhook.')
    return found


def list_budgets(request, *, account_id):
    statements.service_of(request)
    with request.services.database.reader() as connection:
        check_owner(request, connection, account_id)
        found = budgets.ROWS.find(connection, account_id)
    return {'total': len(found), 'results': [_budget(one) for one in found]}


def get_budget(request, budget_id):
    """Return a budget with its alerts."""
    statements.service_of(request)
    with request.services.database.reader() as connection:
        found = _owned_budget(request, connection, budget_id)
        told = budgets.alerts(connection, budget_id)
    return _budget(found) | {'alerts': [budgets.to_form(one) for one in told]}


def create_budget(request, *, account_id, **values):
    statements.service_of(request)
    values['thresholds'] = tuple(values['thresholds'])

    def change(connection):
        check_owner(request, connection, account_id)
        return budgets.create(connection, account_id, values, datetime.now(UTC))

    return _budget(request.services.database.write(change))


def update_budget(request, budget_id, **values):
    """Update the given members of a budget."""
    statements.service_of(request)
    given = {name: value for name, value in values.items() if value is not None}
    if 'thresholds' in given:
        given['thresholds'] = tuple(given['thresholds'])

    def change(connection):
        _owned_budget(request, connection, budget_id)
        return budgets.update(connection, budget_id, given)

    return _budget(request.services.database.write(change))


def delete_budget(request, budget_id):
    statements.service_of(request)

    def change(connection):
        _owned_budget(request, connection, budget_id)
        budgets.delete(connection, budget_id)

    request.services.database.write(change)


def list_webhooks(request, *, account_id):
    statements.service_of(request)
    with request.services.database.reader() as connection:
        check_owner(request, connection, account_id)
        found = webhooks.ROWS.find(connection, account_id)
    return {'total': len(found), 'results': [_webhook(one) for one in found]}


def create_webhook(request, *, account_id, url):
    """Store a webhook; only this answer contains its secret."""
    statements.service_of(request)
    delivery.library()

    def change(connection):
        check_owner(request, connection, account_id)
        return webhooks.create(connection, account_id, url, datetime.now(UTC))

    made = request.services.database.write(change)
    return _webhook(made) | {'secret': made.secret}


def rotate_webhook(request, webhook_id):
    """Give a webhook a new secret, and enable it again."""
    statements.service_of(request)

    def change(connection):
        _owned_webhook(request, connection, webhook_id)
        return webhooks.rotate(connection, webhook_id)

    made = request.services.database.write(change)
    return _webhook(made) | {'secret': made.secret}


def delete_webhook(request, webhook_id):
    statements.service_of(request)

    def change(connection):
        _owned_webhook(request, connection, webhook_id)
        webhooks.delete(connection, webhook_id)

    request.services.database.write(change)


def _budget(one):
    return {
        'id': one.id,
        'account_id': one.account,
        'name': one.name,
        'amount': form.number(one.amount),
        'basis': one.basis,
        'measure': one.measure,
        'thresholds': list(one.thresholds),
        'created_at': timeframe.render(one.created_at),
    }


def _webhook(one):
    return {
        'id': one.id,
        'account_id': one.account,
        'url': one.url,
        'enabled': one.is_enabled,
        'created_at': timeframe.render(one.created_at),
    }


def _percentages(values):
    read = parameters.integer(1, budgets.PERCENT_MAX)
    return [read(value) for value in values]


ACCOUNT = parameters.required(parameters.one(statements.account_id))
AMOUNT = parameters.one(credits.amount)
THRESHOLDS = parameters.Parameter(
    _percentages,
    schema={
        'type': 'array',
        'items': {'type': 'integer', 'minimum': 1, 'maximum': budgets.PERCENT_MAX},
        'minItems': 1,
        'maxItems': budgets.THRESHOLDS_MAX,
    },
)
NAME = parameters.one(parameters.attribute)
URL = parameters.one(parameters.nonempty(webhooks.URL_LENGTH_MAX))
ROUTES = {
    ('budgets',): {
        'GET': Endpoint(
            list_budgets,
            'budget:get',
            {'account_id': ACCOUNT},
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(BUDGET)),
        ),
        'POST': Endpoint(
            create_budget,
            'budget:manage',
            body={
                'account_id': ACCOUNT,
                'name': NAME._replace(default=''),
                'amount': parameters.required(AMOUNT),
                'basis': parameters.one(
                    parameters.choice(budgets.NET, budgets.LIST), default=budgets.NET
                ),
                'measure': parameters.one(
                    parameters.choice(budgets.ACTUAL, budgets.FORECAST), default=budgets.ACTUAL
                ),
                'thresholds': THRESHOLDS._replace(default=[50, 80, 100]),
            },
            answer=BUDGET,
        ),
    },
    ('budgets', '*'): {
        'GET': Endpoint(get_budget, 'budget:get', answer=TOLD_BUDGET),
        'PUT': Endpoint(
            update_budget,
            'budget:manage',
            body={'name': NAME, 'amount': AMOUNT, 'thresholds': THRESHOLDS},
            answer=BUDGET,
        ),
        'DELETE': Endpoint(delete_budget, 'budget:manage', status=204),
    },
    ('webhooks',): {
        'GET': Endpoint(
            list_webhooks,
            'webhook:get',
            {'account_id': ACCOUNT},
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(WEBHOOK)),
        ),
        'POST': Endpoint(
            create_webhook,
            'webhook:manage',
            body={'account_id': ACCOUNT, 'url': parameters.required(URL)},
            answer=SECRET_WEBHOOK,
        ),
    },
    ('webhooks', '*'): {
        'DELETE': Endpoint(delete_webhook, 'webhook:manage', status=204),
    },
    ('webhooks', '*', 'secret'): {
        'POST': Endpoint(rotate_webhook, 'webhook:manage', body={}, answer=SECRET_WEBHOOK),
    },
}
