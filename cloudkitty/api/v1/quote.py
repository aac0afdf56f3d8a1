"""`/v1/rating/quote`: what resources would cost now."""

import decimal
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pecan
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import reading, rest, types
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, DataFrame, DataPoint

RULE = 'rating:quote'
UNIT = 'undef'
METADATA = 'metadata'
GROUPBY = 'groupby'


class Resource(wtypes.Base):
    """What the price is asked of."""

    service = wtypes.wsattr(types.Text(255, 1), mandatory=True)
    desc = wtypes.wsattr(types.json_object)
    volume = wtypes.wsattr(types.number, mandatory=True)


class Resources(wtypes.Base):
    """The body of a quote."""

    resources = wtypes.wsattr([Resource], mandatory=True)


def attributes_of(desc: Mapping) -> tuple[dict, dict]:
    """Return groupby and metadata of a description.

    Clients nest both, or write all attributes flat; what is flat is metadata.

    :raises InvalidInput: what should be an object is none.

    Source: contract rating, section 7, with target R16.
    """
    nested = {}
    for name in (GROUPBY, METADATA):
        nested[name] = desc.get(name)
        if nested[name] is None:
            nested[name] = {}
        if not isinstance(nested[name], dict):
            raise errors.InvalidInput(
                reason=f"Invalid input for field/attribute {name}. Value: '{nested[name]}'. "
                       'A JSON object is expected.')
    flat = {name: value for name, value in desc.items() if name not in nested}
    return nested[GROUPBY], {**flat, **nested[METADATA]}


def build_frames(resources: Iterable[Resource], *, scope_key: str, begin: datetime,
                 end: datetime) -> dict[str | None, DataFrame]:
    """Return the points to be priced, by the scope they name; None: by general rules only."""
    frames: dict[str | None, DataFrame] = {}
    for resource in resources:
        groupby, metadata = attributes_of(resource.desc or {})
        scope_id = groupby.get(scope_key)
        if scope_id is not None and not isinstance(scope_id, str):
            raise errors.InvalidInput(
                reason=f"Invalid input for field/attribute {scope_key}. Value: '{scope_id}'. "
                       'Text is expected.')
        frame = frames.setdefault(scope_id, DataFrame(begin, end))
        frame.add_point(DataPoint(UNIT, resource.volume, ZERO, groupby, metadata),
                        resource.service)
    return frames


def total_price(frames: Iterable[DataFrame]) -> Decimal:
    """Return the exact sum of the prices."""
    with decimal.localcontext(SUM_CONTEXT):
        return sum((point.price for frame in frames for _, point in frame), ZERO)


class QuoteController(rest.Controller):
    """`/v1/rating/quote`."""

    @rest.expose(types.number, body=Resources, rule=RULE)
    def post(self, res_data):
        services = pecan.request.services
        collect = services.conf.collect
        now = datetime.now(UTC)
        frames = build_frames(res_data.resources, scope_key=collect.scope_key, begin=now,
                              end=now + timedelta(seconds=collect.period))
        for scope_id in frames:
            _check_scope(scope_id)
        return total_price(services.modules.quote(frame, scope_id)
                           for scope_id, frame in frames.items())


def _check_scope(scope_id):
    """Keep the rules of a scope from those who may not see it."""
    viewer = reading.viewer_of(pecan.request)
    if scope_id is not None and not viewer.is_admin and scope_id != viewer.project_id:
        raise errors.Forbidden(rule=RULE)
