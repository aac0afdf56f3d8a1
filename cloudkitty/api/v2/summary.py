"""`/v2/summary`."""

import difflib
import re
from datetime import UTC, datetime

from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.tables import CSVTable
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.report import EMPTY, Extras, Selection, Table, rows
from cloudkitty.storage import query

TABLE = 'table'
OBJECT = 'object'
PREVIOUS = 'previous'
# How alike a name is that may have been meant, 0 to 1.
ALIKE = 0.6

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*', re.ASCII)
_CELL = {'type': ['string', 'number', 'null']}
_WARNINGS = schemas.listing(schemas.TEXT)
_TABLE = schemas.with_optional(
    schemas.form(
        total=schemas.INTEGER,
        columns=schemas.listing(schemas.TEXT),
        results=schemas.listing(schemas.listing(_CELL)),
        format=schemas.constant(TABLE),
    ),
    warnings=_WARNINGS,
)
_OBJECTS = schemas.with_optional(
    schemas.form(
        total=schemas.INTEGER,
        results=schemas.listing(schemas.mapping(_CELL)),
        format=schemas.constant(OBJECT),
    ),
    warnings=_WARNINGS,
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
    warnings = _warn(request, table, asked['groupby'])
    told = {'warnings': warnings} if warnings else {}
    if response_format == OBJECT:
        return {'total': table.total, 'results': table.rows, 'format': OBJECT, **told}
    cells = [[row[name] for name in table.columns] for row in table.rows]
    return {
        'total': table.total,
        'columns': table.columns,
        'results': cells,
        'format': TABLE,
        **told,
    }


def _warn(request, table, groupby):
    """Return a warning for each group that is a slip, as far as a whole answer shows it."""
    if table.total != len(table.rows):
        return []
    groups = [name for name in query.parse_groupby(groupby) if name != query.TIME]
    usual = (query.TYPE, query.TIME, query.UNIT, *query.TIME_GROUPS)
    names = [visibility.report_of(request).scope_key, *usual]
    found = []
    for name in rows.without_values(table.rows, groups):
        near = difflib.get_close_matches(name, names, 1, ALIKE)
        meant = f'; did you mean {near[0]!r}?' if near else ''
        found.append(f'No usage that was found has the attribute {name!r}{meant}')
    return found


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
