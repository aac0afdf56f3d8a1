"""Each tier has its own price, for the units that fall into it."""

from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing.models import Part, Tier


class Graduated(NamedTuple):
    """Units up to the end of a tier cost what that tier says.

    The first tier's flat price is charged at a quantity of zero too, that of a later tier once the
    quantity enters it.
    """

    tiers: tuple[Tier, ...]
    kind: str = 'graduated'
    takes_negative: bool = False

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        found: list[Part] = []
        lower = Fraction(0)
        for number, tier in enumerate(self.tiers, 1):
            if number > 1 and quantity <= lower:
                break
            inside = quantity if tier.up_to is None else min(quantity, tier.up_to)
            inside -= lower
            amount = inside * tier.unit + tier.flat
            found.append(Part(f'tier-{number}', inside, None if tier.flat else tier.unit, amount))
            if tier.up_to is None:
                break
            lower = tier.up_to
        return found
