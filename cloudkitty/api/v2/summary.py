"""`/v2/summary`."""

from datetime import UTC, datetime

from cloudkitty.api import query, reading, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.report import EMPTY, Selection

TABLE = 'table'
OBJECT = 'object'

_CELL = {'type': ['string', 'number', 'null']}
_TABLE = schemas.form(total=schemas.INTEGER, columns=schemas.listing(schemas.TEXT),
                      results=schemas.listing(schemas.listing(_CELL)),
                      format=schemas.constant(TABLE))
_OBJECTS = schemas.form(total=schemas.INTEGER, results=schemas.listing(schemas.mapping(_CELL)),
                        format=schemas.constant(OBJECT))
# What a caller without a project sees.
_NOTHING = schemas.form(total=schemas.constant(0), columns=schemas.constant([]),
                        results=schemas.constant([]))


def get_summary(request, *, groupby, response_format, custom_fields, **selection):
    viewer = reading.viewer_of(request)
    if viewer.sees_nothing:
        return {'total': EMPTY.total, 'columns': EMPTY.columns, 'results': EMPTY.rows}
    table = reading.report_of(request).summary(
        viewer, Selection(**selection), groupby=groupby, custom_fields=custom_fields,
        now=datetime.now(UTC))
    if response_format == OBJECT:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        return {'total': table.total, 'results': rows, 'format': OBJECT}
    return {'total': table.total, 'columns': table.columns, 'results': table.rows,
            'format': TABLE}


ROUTES = {
    ('summary',): {
        'GET': Endpoint(get_summary, 'summary:get_summary', query.PAGE | {
            'begin': query.TIME,
            'end': query.TIME,
            'groupby': query.many(query.attribute, default=(), maximum=query.NAMES_MAX),
            'filters': query.map_many(),
            'response_format': query.one(query.choice(TABLE, OBJECT), default=TABLE),
            'custom_fields': query.one(query.text),
        }, answer={'oneOf': [_TABLE, _OBJECTS, _NOTHING]}),
    },
}
