"""`/v2/scope`."""

from cloudkitty import errors
from cloudkitty.api import query, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.db import scopes

SCOPE = schemas.form(
    scope_id=schemas.TEXT, scope_key=schemas.OPTIONAL_TEXT, fetcher=schemas.OPTIONAL_TEXT,
    collector=schemas.OPTIONAL_TEXT, last_processed_timestamp=schemas.MOMENT,
    state=schemas.MOMENT, active=schemas.BOOLEAN, scope_activation_toggle_date=schemas.MOMENT)


def render(scope: scopes.Scope) -> dict:
    """Return a scope as answers show it."""
    return {
        'scope_id': scope.scope_id,
        'scope_key': scope.scope_key,
        'fetcher': scope.fetcher,
        'collector': scope.collector,
        'last_processed_timestamp': scope.mark,
        # The old name, which the released client reads.
        'state': scope.mark,
        'active': scope.active,
        'scope_activation_toggle_date': scope.toggled_at,
    }


def list_scopes(request, *, offset, limit, **filters):
    with request.services.database.reader() as connection:
        total, found = scopes.list_scopes(connection, offset=offset, limit=limit, **filters)
    if not found:
        raise errors.NotFound(reason='No scope matches.')
    return {'total': total, 'results': [render(scope) for scope in found]}


ROUTES = {
    ('scope',): {
        'GET': Endpoint(list_scopes, 'scope:get_state', query.PAGE | {
            'scope_id': query.many(),
            'scope_key': query.many(),
            'fetcher': query.many(),
            'collector': query.many(),
            'active': query.many(query.integer(0, 1)),
        }, answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(SCOPE))),
    },
}
