"""`/v2/dataframes`."""

from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.api import audit, parameters, schemas, visibility
from cloudkitty.api.tables import CSVTable
from cloudkitty.api.v2 import frames
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.audit import trail
from cloudkitty.report import Selection

_ATTRIBUTES = {'type': 'object'}
POINT = schemas.form(
    vol=schemas.form(unit=schemas.TEXT, qty=schemas.NUMBER),
    rating=schemas.form(price=schemas.NUMBER),
    groupby=_ATTRIBUTES,
    metadata=_ATTRIBUTES,
)
FRAME = schemas.form(
    period=schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT),
    usage=schemas.mapping(schemas.listing(POINT)),
)


def get_dataframes(request, *, filters, **selection):
    viewer = visibility.viewer_of(request)
    if viewer.sees_nothing:
        return {'total': 0, 'dataframes': []}
    wanted = Selection(
        filters={key: [value] for key, value in (filters or {}).items()}, **selection
    )
    total, found = visibility.report_of(request).frames(viewer, wanted, datetime.now(UTC))
    if not total:
        raise errors.NotFound(reason='No points match.')
    return {'total': total, 'dataframes': [frame.as_dict(mutable=True) for frame in found]}


def tabulate_dataframes(request, *, limit, **asked):
    """Return the points as rows; without a limit all of them, or an error."""
    limit_max = request.services.conf.api.limit_max
    answer = get_dataframes(request, limit=limit or limit_max, **asked)
    if limit is None and answer['total'] > limit_max:
        raise errors.InvalidInput(
            reason=f'{answer["total"]} points match, more than {limit_max}: choose a shorter '
            'time, other filters, or pages with offset and limit'
        )
    found = list(frames.flatten(answer['dataframes']))
    # Attributes in the order in which they are seen first.
    names = dict.fromkeys(name for row in found for name in row)
    return CSVTable('dataframes', [*dict.fromkeys((*frames.COLUMNS, *names))], found)


def add_dataframes(request, *, dataframes):
    services = request.services
    services.storage.push(frames.parse(dataframes, services.conf.collect.scope_key))


def remove_dataframes(request, *, scope_id, begin, end):
    """Remove pushed points, not rated ones; the audit trail records who did it."""
    if end <= begin:
        raise errors.InvalidInput(reason='end must be after begin')
    by, now = audit.actor(), datetime.now(UTC)

    def note(connection, removed):
        trail.record_removal(
            connection,
            by,
            removed={
                name: {'begin': begin, 'end': end, 'points': points}
                for name, points in removed.items()
            },
            now=now,
        )

    removed = request.services.storage.remove_pushed(scope_id, begin, end, note)
    if not removed:
        raise errors.NotFound(reason='No pushed points match.')
    return {'results': [{'scope_id': name, 'points': points} for name, points in removed.items()]}


ROUTES = {
    ('dataframes',): {
        'GET': Endpoint(
            get_dataframes,
            'dataframes:get',
            parameters.PAGE
            | {
                'begin': parameters.TIME,
                'end': parameters.TIME,
                'filters': parameters.map_one(),
            },
            answer=schemas.form(total=schemas.INTEGER, dataframes=schemas.listing(FRAME)),
            is_slow=True,
            tabulate=tabulate_dataframes,
        ),
        'DELETE': Endpoint(
            remove_dataframes,
            'dataframes:delete',
            {
                'scope_id': parameters.required(parameters.many()),
                'begin': parameters.required(parameters.one(parameters.instant)),
                'end': parameters.required(parameters.one(parameters.instant)),
            },
            answer=schemas.form(
                results=schemas.listing(schemas.form(scope_id=schemas.TEXT, points=schemas.INTEGER))
            ),
            is_slow=True,
        ),
        'POST': Endpoint(
            add_dataframes,
            'dataframes:add',
            status=204,
            is_slow=True,
            body={
                'dataframes': parameters.required(parameters.whole(schemas.listing(frames.GIVEN))),
            },
        ),
    },
}
