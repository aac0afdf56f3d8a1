"""Reads the prices of a plan. Pure."""

from collections.abc import Callable
from fractions import Fraction

from cloudkitty.core.billing.models import Model, Tier
from cloudkitty.core.billing.models.flat import Flat
from cloudkitty.core.billing.models.graduated import Graduated
from cloudkitty.core.billing.models.package import Package
from cloudkitty.core.billing.models.rated import Rated
from cloudkitty.core.billing.models.unit import Unit
from cloudkitty.core.billing.models.volume import Volume
from cloudkitty.core.billing.reading import Node

RATED = 'rated'
QUANTITY, LIST = 'quantity', 'list'
TIERS_MAX = 100


def parse(node: Node) -> tuple[Model, bool]:
    """Return the price model that *node* describes, and whether it runs over the list price.

    :raises InvalidInput: with the path of the fault.
    """
    if node.value == RATED:
        return Rated(), False
    found = node.members(*KINDS, 'size', 'measure')
    named = [kind for kind in KINDS if not found[kind].is_missing]
    if len(named) != 1:
        raise node.fault(f'must have exactly one of {", ".join(KINDS)}')
    kind = named[0]
    for name, owners in (('size', ('package',)), ('measure', ('graduated', 'volume'))):
        if not found[name].is_missing and kind not in owners:
            raise found[name].fault(f'belongs to {" and ".join(owners)} only')
    measure = found['measure']
    over_list = not measure.is_missing and measure.choice(QUANTITY, LIST) == LIST
    return KINDS[kind](found), over_list


def _tiers(node: Node) -> tuple[Tier, ...]:
    nodes = node.list()
    if not nodes or len(nodes) > TIERS_MAX:
        raise node.fault(f'must have 1 to {TIERS_MAX} tiers')
    tiers: list[Tier] = []
    for place, one in enumerate(nodes):
        tier = _tier(one)
        is_last = place == len(nodes) - 1
        if is_last and tier.up_to is not None:
            raise one.fault('the last tier must be open: it has no up_to')
        if not is_last and tier.up_to is None:
            raise one.fault('only the last tier is open: up_to is missing')
        if tiers and tier.up_to is not None and tier.up_to <= (tiers[-1].up_to or 0):
            raise one.fault('up_to must be more than that of the tier before')
        tiers.append(tier)
    return tuple(tiers)


def _tier(node: Node) -> Tier:
    found = node.members('up_to', 'unit', 'flat')
    if found['unit'].is_missing and found['flat'].is_missing:
        raise node.fault('must have a price: unit, flat or both')
    return Tier(
        None if found['up_to'].is_missing else found['up_to'].number(above=0),
        _amount(found['unit']),
        _amount(found['flat']),
    )


def _amount(node: Node) -> Fraction:
    return Fraction(0) if node.is_missing else node.number()


def _package(found: dict[str, Node]) -> Model:
    if found['size'].is_missing:
        raise found['size'].fault('is missing: units in a package')
    return Package(found['package'].number(), found['size'].number(above=0))


KINDS: dict[str, Callable[[dict[str, Node]], Model]] = {
    'rated': lambda found: Rated(found['rated'].number()),
    'unit': lambda found: Unit(found['unit'].number()),
    'graduated': lambda found: Graduated(_tiers(found['graduated'])),
    'volume': lambda found: Volume(_tiers(found['volume'])),
    'package': _package,
    'flat': lambda found: Flat(found['flat'].number()),
}
