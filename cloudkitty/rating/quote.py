"""Quotes, shared by the REST API and the RPC endpoint."""

import decimal
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import bounds
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period
from cloudkitty.rating.modules import ModuleSet

UNIT = 'undef'
METADATA = 'metadata'
GROUPBY = 'groupby'
# Most points of one quote: it is priced in one go, while others wait.
ITEMS_MAX = 1000


class Item(NamedTuple):
    """An item of a quote.

    :ivar desc: its attributes, see attributes_of().
    """

    service: str
    desc: Mapping[str, Any]
    volume: Decimal


def attributes_of(desc: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return groupby and metadata of a description.

    Clients nest both, or write all attributes flat, which makes them metadata.

    :raises InvalidInput: a value that must be an object is not one.

    Source: doc/source/contributor/compatibility/rest-v1.rst, "Quote".
    """
    nested: dict[str, Any] = {}
    for name in (GROUPBY, METADATA):
        nested[name] = desc.get(name)
        if nested[name] is None:
            nested[name] = {}
        if not isinstance(nested[name], dict):
            raise errors.InvalidInput(
                reason=f"Invalid input for field/attribute {name}. Value: '{nested[name]}'. "
                'A JSON object is expected.'
            )
    flat = {name: value for name, value in desc.items() if name not in nested}
    return nested[GROUPBY], {**flat, **nested[METADATA]}


def build_frames(
    items: Sequence[Item], *, scope_key: str, period: Period
) -> dict[str | None, DataFrame]:
    """Return the frames to be priced by the scope they name; None: general rules only.

    :raises InvalidInput: a description is invalid, or there are too many.
    """
    if len(items) > ITEMS_MAX:
        raise errors.InvalidInput(reason=f'{len(items)} resources are given, more than {ITEMS_MAX}')
    frames: dict[str | None, DataFrame] = {}
    for item in items:
        groupby, metadata = attributes_of(item.desc)
        scope_id = groupby.get(scope_key)
        if scope_id is not None and not isinstance(scope_id, str):
            raise errors.InvalidInput(
                reason=f"Invalid input for field/attribute {scope_key}. Value: '{scope_id}'. "
                'Text is expected.'
            )
        frame = frames.setdefault(scope_id, DataFrame(*period))
        point = DataPoint(UNIT, item.volume, ZERO, groupby, metadata)
        bounds.check_attributes(point.series)
        frame.add_point(point, item.service)
    return frames


def total_price(modules: ModuleSet, frames: Mapping[str | None, DataFrame]) -> Decimal:
    """Return the exact sum of the prices of *frames* by the enabled modules.

    :param frames: see build_frames().
    :raises ModuleLoadError, ModuleFailed: see ModuleSet.quote().
    """
    rated = price(modules, frames).values()
    with decimal.localcontext(SUM_CONTEXT):
        return sum((point.price for frame in rated for _, point in frame), ZERO)


def price(
    modules: ModuleSet, frames: Mapping[str | None, DataFrame]
) -> dict[str | None, DataFrame]:
    """Return *frames* with the prices of the enabled modules.

    :raises ModuleLoadError, ModuleFailed: see ModuleSet.quote().
    """
    return {scope_id: modules.quote(frame, scope_id) for scope_id, frame in frames.items()}
