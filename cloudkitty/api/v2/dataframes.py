"""`/v2/dataframes`."""

from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.api import query, reading, schemas
from cloudkitty.api.v2 import frames
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.report import Selection

_ATTRIBUTES = {'type': 'object'}
POINT = schemas.form(
    vol=schemas.form(unit=schemas.TEXT, qty=schemas.NUMBER),
    rating=schemas.form(price=schemas.NUMBER), groupby=_ATTRIBUTES, metadata=_ATTRIBUTES)
FRAME = schemas.form(
    period=schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT),
    usage=schemas.mapping(schemas.listing(POINT)))


def get_dataframes(request, *, filters, **selection):
    viewer = reading.viewer_of(request)
    if viewer.sees_nothing:
        return {'total': 0, 'dataframes': []}
    wanted = Selection(filters={key: [value] for key, value in (filters or {}).items()},
                       **selection)
    total, found = reading.report_of(request).frames(viewer, wanted, datetime.now(UTC))
    if not total:
        raise errors.NotFound(reason='No points match.')
    return {'total': total, 'dataframes': [frame.as_dict(mutable=True) for frame in found]}


def add_dataframes(request, *, dataframes):
    services = request.services
    services.storage.push(frames.parse(dataframes, services.conf.collect.scope_key))


ROUTES = {
    ('dataframes',): {
        'GET': Endpoint(get_dataframes, 'dataframes:get', query.PAGE | {
            'begin': query.TIME,
            'end': query.TIME,
            'filters': query.map_one(),
        }, answer=schemas.form(total=schemas.INTEGER, dataframes=schemas.listing(FRAME))),
        'POST': Endpoint(add_dataframes, 'dataframes:add', status=204, body={
            'dataframes': query.required(query.whole(schemas.listing(frames.GIVEN))),
        }),
    },
}
