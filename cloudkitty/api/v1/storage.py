"""`/v1/storage`: rated points."""

from datetime import UTC, datetime

import pecan
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import rest, types, visibility
from cloudkitty.report import Selection
from cloudkitty.storage.query import TYPE

RULE = 'storage:list_data_frames'
UNDEFINED_SCOPE = '__UNDEF__'


class RatedResource(wtypes.Base):
    """A point: what was used, and its price."""

    service = wtypes.wsattr(str)
    desc = wtypes.wsattr(types.json_object)
    volume = wtypes.wsattr(types.number)
    rating = wtypes.wsattr(types.number)


class DataFrame(wtypes.Base):
    """The points of one period, metric and scope."""

    begin = wtypes.wsattr(types.moment)
    end = wtypes.wsattr(types.moment)
    tenant_id = wtypes.wsattr(str)
    resources = wtypes.wsattr([RatedResource])


class DataFrameCollection(wtypes.Base):
    dataframes = [DataFrame]


def _model(frame):
    return DataFrame(
        begin=frame.begin,
        end=frame.end,
        tenant_id=UNDEFINED_SCOPE if frame.scope_id is None else frame.scope_id,
        resources=[
            RatedResource(
                service=frame.metric, desc=dict(point.desc), volume=point.qty, rating=point.price
            )
            for point in frame.points
        ],
    )


class DataFramesController(rest.Controller):
    """`/v1/storage/dataframes`."""

    @rest.expose(DataFrameCollection, types.moment, types.moment, str, str, rule=RULE, is_slow=True)
    def get_all(self, begin=None, end=None, tenant_id=None, resource_type=None):
        viewer = (
            visibility.viewer_of_project(pecan.request, RULE, tenant_id)
            if tenant_id
            else visibility.viewer_of(pecan.request)
        )
        if viewer.sees_nothing:
            return DataFrameCollection(dataframes=[])
        limit = pecan.request.services.conf.api.limit_max
        selection = Selection(
            begin, end, {TYPE: [resource_type]} if resource_type else None, limit=limit
        )
        total, frames = visibility.report_of(pecan.request).scope_frames(
            viewer, selection, datetime.now(UTC)
        )
        if total > limit:
            raise errors.InvalidInput(
                reason=f'{total} points match, more than {limit}: ask for a shorter time, or read '
                'them by pages from /v2/dataframes'
            )
        return DataFrameCollection(dataframes=[_model(frame) for frame in frames])


class StorageController(rest.Controller):
    """`/v1/storage`."""

    dataframes = DataFramesController()
