"""`/v2/billing/accounts/{id}/credits`: prepaid or granted credits of an account."""

from datetime import UTC, date, datetime
from decimal import Decimal

from cloudkitty import errors
from cloudkitty.api import audit, parameters, schemas, visibility
from cloudkitty.api.v2 import statements
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.billing import credits
from cloudkitty.core.billing import canonical, money, reading

CREDIT = schemas.form(
    id=schemas.TEXT,
    amount=schemas.TEXT,
    balance=schemas.TEXT,
    currency=schemas.TEXT,
    priority=schemas.INTEGER,
    **{'from': schemas.OPTIONAL_TEXT, 'until': schemas.OPTIONAL_TEXT},
    note=schemas.TEXT,
    created_at=schemas.MOMENT,
)
NUMBER_PATTERN = r'^[0-9]{1,20}(\.[0-9]{1,20})?$'


@parameters.accepts({'anyOf': [{'type': 'number'}, {'type': 'string', 'pattern': NUMBER_PATTERN}]})
def amount(value) -> Decimal:
    """Return a number, or numeric text, as an amount of money, which must not be negative."""
    return money.to_exact(reading.Node(value, 'amount').number())


@parameters.accepts({'type': 'string', 'format': 'date'})
def day(value) -> date:
    """Return a day such as 2026-10-01."""
    return reading.Node(value, 'day').day()


@parameters.accepts({'type': 'string', 'pattern': f'^{reading.CURRENCY_PATTERN}$'})
def currency(value) -> str:
    """Return the code of a currency such as EUR."""
    return reading.Node(value, 'currency').currency()


def list_credits(request, account_id):
    """Return the credits of an account, to its owner and to an admin."""
    service = statements.service_of(request)
    viewer = visibility.viewer_of(request)
    with request.services.database.reader() as connection:
        account = service.account(
            connection, account_id, statements.month_or_current(service, None)
        )
        if not viewer.is_admin and (viewer.sees_nothing or viewer.project_id != account.owner):
            raise errors.NotFound(reason='There is no such account.')
        found = credits.find(connection, account_id)
    return {'total': len(found), 'results': [_render(one) for one in found]}


def grant(request, account_id, **values):
    service = statements.service_of(request)
    form = {name: values[name] for name in ('amount', 'currency', 'priority', 'note')}
    form |= {'begin': values['from'], 'end': values['until']}
    return _render(service.grant(account_id, form, actor=audit.actor()))


def withdraw(request, account_id, credit_id):
    statements.service_of(request)
    request.services.database.write(
        lambda connection: credits.withdraw(
            connection, account_id, credit_id, actor=audit.actor(), now=datetime.now(UTC)
        )
    )


def _render(entry):
    return {
        'id': entry.id,
        'amount': canonical.render(entry.amount),
        'balance': canonical.render(entry.balance),
        'currency': entry.currency,
        'priority': entry.priority,
        'from': None if entry.begin is None else entry.begin.isoformat(),
        'until': None if entry.end is None else entry.end.isoformat(),
        'note': entry.note,
        'created_at': entry.created_at,
    }


DAY = parameters.one(parameters.or_null(day))
ROUTES = {
    ('billing', 'accounts', '*', 'credits'): {
        'GET': Endpoint(
            list_credits,
            'billing:get_credits',
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(CREDIT)),
        ),
        'POST': Endpoint(
            grant,
            'billing:manage_credits',
            body={
                'amount': parameters.required(parameters.one(amount)),
                'currency': parameters.required(parameters.one(currency)),
                'priority': parameters.one(parameters.integer(0, 1000), default=0),
                'from': DAY,
                'until': DAY,
                'note': parameters.one(parameters.attribute, default=''),
            },
            answer=CREDIT,
        ),
    },
    ('billing', 'accounts', '*', 'credits', '*'): {
        'DELETE': Endpoint(withdraw, 'billing:manage_credits', status=204),
    },
}
