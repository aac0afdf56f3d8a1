"""`/v2/whatif`: simulation of a month under other plans or rules."""

from cloudkitty import errors
from cloudkitty.api import parameters, schemas
from cloudkitty.api.v2 import billing, statements
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.billing.whatif import Limits, Scenario, Whatif
from cloudkitty.core.billing import canonical, form, reading
from cloudkitty.core.billing import document as documents
from cloudkitty.core.pricing import forms

ACCOUNTS_MAX = 100
# Together they take about as long.
POINTS_MAX = 200_000
SECONDS_MAX = 20
SIDE = {
    'anyOf': [
        schemas.form(
            list=schemas.TEXT,
            net=schemas.TEXT,
            currency=schemas.TEXT,
            blockers=schemas.listing(schemas.TEXT),
        ),
        {'type': 'null'},
    ]
}
OUTCOME = schemas.form(
    account_id=schemas.TEXT,
    before=SIDE,
    after=SIDE,
    list_delta=schemas.OPTIONAL_TEXT,
    net_delta=schemas.OPTIONAL_TEXT,
    exact=schemas.BOOLEAN,
)
RULES = {'type': 'array', 'items': {'type': 'object'}, 'maxItems': forms.RULES_MAX}


def answer(request, *, account_ids, month, document, rules):
    """Return what each account would owe; nothing is stored."""
    service = statements.service_of(request)
    if document is None and rules is None:
        raise errors.InvalidInput(reason='document or rules must be given')
    scenario = Scenario(
        month,
        None if document is None else documents.parse(document),
        None if rules is None else forms.parse(rules),
    )
    limits = Limits(POINTS_MAX, SECONDS_MAX)
    found = Whatif(service).answer(scenario, list(dict.fromkeys(account_ids)), limits)
    return {'month': month, 'results': [_render(one) for one in found]}


def _render(outcome):
    listed, net = outcome.deltas or (None, None)
    return {
        'account_id': outcome.account_id,
        'before': _side(outcome.before),
        'after': _side(outcome.after),
        'list_delta': None if listed is None else form.number(listed),
        'net_delta': None if net is None else canonical.render(net),
        'exact': outcome.is_exact,
    }


def _side(side):
    if side is None:
        return None
    return {
        'list': form.number(side.list_price),
        'net': canonical.render(side.net),
        'currency': side.currency,
        'blockers': side.problems,
    }


def _account_ids(values):
    if not 1 <= len(values) <= ACCOUNTS_MAX:
        raise ValueError(f'1 to {ACCOUNTS_MAX} accounts are expected')
    return [statements.account_id(value) for value in values]


ROUTES = {
    ('whatif',): {
        'POST': Endpoint(
            answer,
            'billing:preview',
            body={
                'account_ids': parameters.required(
                    parameters.Parameter(
                        _account_ids,
                        schema={
                            'type': 'array',
                            'items': {'type': 'string', 'maxLength': reading.NAME_LENGTH_MAX},
                            'minItems': 1,
                            'maxItems': ACCOUNTS_MAX,
                        },
                    )
                ),
                'month': parameters.required(billing.MONTH),
                'document': parameters.Parameter(
                    billing.read_document, is_whole=True, schema=billing.DOCUMENT
                ),
                'rules': parameters.whole(RULES),
            },
            answer=schemas.form(month=schemas.TEXT, results=schemas.listing(OUTCOME)),
            is_slow=True,
        ),
    },
}
