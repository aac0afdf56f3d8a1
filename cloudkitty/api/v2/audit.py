"""`/v2/audit`: who changed which rule."""

from cloudkitty.api import query, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.db import audit, changes

_OBJECT = {'type': ['object', 'null']}
ENTRY = schemas.form(
    at=schemas.MOMENT, user_id=schemas.OPTIONAL_TEXT, project_id=schemas.OPTIONAL_TEXT,
    request_id=schemas.OPTIONAL_TEXT, action={'enum': list(audit.ACTIONS)},
    kind={'enum': [kind.name for kind in changes.KINDS]}, object_id=schemas.TEXT,
    before=_OBJECT, after=_OBJECT)


def list_entries(request, **wanted):
    with request.services.database.reader() as connection:
        total, entries = audit.list_entries(connection, **wanted)
    return {'total': total, 'results': [entry._asdict() for entry in entries]}


ROUTES = {
    ('audit',): {
        'GET': Endpoint(list_entries, 'audit:list', query.PAGE | {
            'begin': query.TIME,
            'end': query.TIME,
            'kind': query.many(query.choice(*(kind.name for kind in changes.KINDS))),
            'action': query.many(query.choice(*audit.ACTIONS)),
            'object_id': query.many(),
            'user_id': query.many(),
            'project_id': query.many(),
            'request_id': query.many(),
        }, answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(ENTRY))),
    },
}
