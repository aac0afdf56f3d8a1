"""`/v2/dataframes`."""

from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.api import query
from cloudkitty.api.v2.endpoint import Endpoint, viewer_of
from cloudkitty.report import Report, Selection


def get_dataframes(request, *, filters, **selection):
    viewer = viewer_of(request)
    if viewer.sees_nothing:
        return {'total': 0, 'dataframes': []}
    report = Report(request.services.storage, request.services.conf.collect.scope_key)
    wanted = Selection(filters={key: [value] for key, value in (filters or {}).items()},
                       **selection)
    total, frames = report.frames(viewer, wanted, datetime.now(UTC))
    if not total:
        raise errors.NotFound(reason='No points match.')
    return {'total': total, 'dataframes': [frame.as_dict(mutable=True) for frame in frames]}


ROUTES = {
    ('dataframes',): {
        'GET': Endpoint(get_dataframes, 'dataframes:get', query.PAGE | {
            'begin': query.TIME,
            'end': query.TIME,
            'filters': query.map_one(),
        }),
    },
}
