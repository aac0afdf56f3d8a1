"""`/v2/summary`."""

import re
from datetime import UTC, datetime

from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.tables import CSVTable
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.report import EMPTY, Extras, Selection, Table, rows

TABLE = 'table'
OBJECT = 'object'
PREVIOUS = 'previous'

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*', re.ASCII)
_CELL = {'type': ['string', 'number', 'null']}
_TABLE = schemas.form(
    total=schemas.INTEGER,
    columns=schemas.listing(schemas.TEXT),
    results=schemas.listing(schemas.listing(_CELL)),
    format=schemas.constant(TABLE),
)
_OBJECTS = schemas.form(
    total=schemas.INTEGER,
    results=schemas.listing(schemas.mapping(_CELL)),
    format=schemas.constant(OBJECT),
)
# What a caller without a project sees.
_NOTHING = schemas.form(
    total=schemas.constant(0), columns=schemas.constant([]), results=schemas.constant([])
)


@parameters.accepts({'type': 'string', 'pattern': f'^{_NAME.pattern}$'})
def _column_name(value):
    if not _NAME.fullmatch(parameters.attribute(value)):
        raise ValueError('a name of ASCII letters, digits and underscores is expected')
    return value


def get_summary(request, *, response_format, **asked):
    table = _summary(request, **asked)
    if table is EMPTY:
        return {'total': EMPTY.total, 'columns': EMPTY.columns, 'results': EMPTY.rows}
    if response_format == OBJECT:
        return {'total': table.total, 'results': table.rows, 'format': OBJECT}
    cells = [[row[name] for name in table.columns] for row in table.rows]
    return {'total': table.total, 'columns': table.columns, 'results': cells, 'format': TABLE}


def tabulate_summary(request, *, response_format, **asked):
    table = _summary(request, **asked)
    return CSVTable('summary', table.columns, table.rows)


def _summary(
    request, *, groupby, custom_fields, attributes, buckets, compare, order_by, **selection
) -> Table:
    viewer = visibility.viewer_of(request)
    if viewer.sees_nothing:
        return EMPTY
    return visibility.report_of(request).summary(
        viewer,
        Selection(**selection),
        groupby=groupby,
        custom_fields=custom_fields,
        extras=Extras(attributes, buckets, compare == PREVIOUS, rows.parse_order(order_by)),
        now=datetime.now(UTC),
    )


def _names(convert):
    return parameters.many(convert, default=(), maximum=parameters.NAMES_MAX)


ROUTES = {
    ('summary',): {
        'GET': Endpoint(
            get_summary,
            'summary:get_summary',
            parameters.PAGE
            | {
                'begin': parameters.TIME,
                'end': parameters.TIME,
                'groupby': _names(parameters.attribute),
                'filters': parameters.map_many(),
                'response_format': parameters.one(parameters.choice(TABLE, OBJECT), default=TABLE),
                'custom_fields': parameters.one(parameters.text),
                'attributes': _names(_column_name),
                'buckets': parameters.one(parameters.boolean_like, default=False),
                'compare': parameters.one(parameters.choice(PREVIOUS)),
                'order_by': _names(parameters.attribute),
            },
            answer={'oneOf': [_TABLE, _OBJECTS, _NOTHING]},
            is_slow=True,
            tabulate=tabulate_summary,
        ),
    },
}
