"""`/v2/statements/explain`: explanation of a line of a statement."""

from cloudkitty import errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2 import statements
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.billing import explaining, ledger
from cloudkitty.core.billing import form

RESOURCE = schemas.form(
    scope_id=schemas.TEXT, resource=schemas.TEXT, quantity=schemas.TEXT, list=schemas.TEXT
)
EXPLANATION = schemas.form(
    line=statements.LINE,
    item={'type': ['object', 'null']},
    resources=schemas.listing(RESOURCE),
    others=schemas.INTEGER,
    current=schemas.BOOLEAN,
)


def explain(request, *, number, account_id, month, position):
    """Explain a line of a closed statement, or of the draft of an account and month."""
    service = statements.service_of(request)
    is_draft = account_id is not None and month is not None and number is None
    is_closed = number is not None and account_id is None and month is None
    if not (is_draft or is_closed):
        raise errors.InvalidInput(reason='Either number, or account_id and month, must be given')
    viewer = visibility.viewer_of(request)
    with request.services.database.reader() as connection:
        if is_draft:
            account = service.account(connection, account_id, month)
            owner, scopes = account.owner, account.scopes
            statements.check_visible(viewer, owner, scopes)
            content = service.prepare(connection, account_id, month).to_form()
        else:
            owner = ledger.get(connection, number).owner
            content = ledger.document(connection, number)
            scopes = [line['scope_id'] for line in content['lines']]
            statements.check_visible(viewer, owner, scopes)
        if not (viewer.is_admin or owner == viewer.project_id):
            # Positions are those of what the caller sees.
            content = form.share_of(content, viewer.project_id)
        found = explaining.explain(service, connection, content, position)
    return {
        'line': found.line,
        'item': found.item,
        'resources': [
            {
                'scope_id': one.scope_id,
                'resource': one.resource,
                'quantity': form.number(one.quantity),
                'list': form.number(one.list_price),
            }
            for one in found.resources
        ],
        'others': found.others,
        'current': found.is_current,
    }


ROUTES = {
    ('statements', 'explain'): {
        'GET': Endpoint(
            explain,
            'statement:get',
            {
                'number': parameters.one(parameters.nonempty(64)),
                'account_id': parameters.one(statements.account_id),
                'month': parameters.one(statements.month),
                'position': parameters.required(parameters.one(parameters.integer(1))),
            },
            answer=EXPLANATION,
            is_slow=True,
        ),
    },
}
