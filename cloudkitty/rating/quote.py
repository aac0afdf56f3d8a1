"""What things would cost now: the same for the REST API and for those who ask over RPC."""

import decimal
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from cloudkitty import errors
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, DataFrame, DataPoint
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.timeframe import Period

UNIT = 'undef'
METADATA = 'metadata'
GROUPBY = 'groupby'


class Item(NamedTuple):
    """What the price is asked of.

    :ivar desc: its attributes, see attributes_of().
    """

    service: str
    desc: Mapping
    volume: Decimal


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


def build_frames(items: Iterable[Item], *, scope_key: str,
                 period: Period) -> dict[str | None, DataFrame]:
    """Return the points to be priced, by the scope they name; None: by general rules only.

    :raises InvalidInput: a description is none.
    """
    frames: dict[str | None, DataFrame] = {}
    for item in items:
        groupby, metadata = attributes_of(item.desc)
        scope_id = groupby.get(scope_key)
        if scope_id is not None and not isinstance(scope_id, str):
            raise errors.InvalidInput(
                reason=f"Invalid input for field/attribute {scope_key}. Value: '{scope_id}'. "
                       'Text is expected.')
        frame = frames.setdefault(scope_id, DataFrame(*period))
        frame.add_point(DataPoint(UNIT, item.volume, ZERO, groupby, metadata), item.service)
    return frames


def total_price(modules: ModuleSet, frames: Mapping[str | None, DataFrame]) -> Decimal:
    """Return the exact sum of what the enabled modules ask for *frames*.

    :param frames: see build_frames().
    :raises ModuleLoadError, ModuleFailed: see ModuleSet.quote().
    """
    rated = [modules.quote(frame, scope_id) for scope_id, frame in frames.items()]
    with decimal.localcontext(SUM_CONTEXT):
        return sum((point.price for frame in rated for _, point in frame), ZERO)
