"""`/v2/audit`: who changed which rule."""

from cloudkitty.api import parameters, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.audit import trail

_OBJECT = {'type': ['object', 'null']}
ENTRY = schemas.form(
    at=schemas.MOMENT,
    user_id=schemas.OPTIONAL_TEXT,
    project_id=schemas.OPTIONAL_TEXT,
    request_id=schemas.OPTIONAL_TEXT,
    action={'enum': list(trail.ACTIONS)},
    kind={'enum': list(trail.KINDS)},
    object_id=schemas.TEXT,
    before=_OBJECT,
    after=_OBJECT,
)


def list_entries(request, **wanted):
    with request.services.database.reader() as connection:
        total, entries = trail.list_entries(connection, **wanted)
    return {'total': total, 'results': [entry._asdict() for entry in entries]}


ROUTES = {
    ('audit',): {
        'GET': Endpoint(
            list_entries,
            'audit:list',
            parameters.PAGE
            | {
                'begin': parameters.TIME,
                'end': parameters.TIME,
                'kind': parameters.many(parameters.choice(*trail.KINDS)),
                'action': parameters.many(parameters.choice(*trail.ACTIONS)),
                'object_id': parameters.many(),
                'user_id': parameters.many(),
                'project_id': parameters.many(),
                'request_id': parameters.many(),
            },
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(ENTRY)),
        ),
    },
}
