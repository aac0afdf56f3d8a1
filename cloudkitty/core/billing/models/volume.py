"""All units have the price of the tier that the whole quantity reaches."""

from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing.models import Part, Tier


class Volume(NamedTuple):
    """The quantity chooses one tier, which prices all of it."""

    tiers: tuple[Tier, ...]
    kind: str = 'volume'
    takes_negative: bool = False

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        number, tier = next(
            (number, tier)
            for number, tier in enumerate(self.tiers, 1)
            if tier.up_to is None or quantity <= tier.up_to
        )
        amount = quantity * tier.unit + tier.flat
        return [Part(f'tier-{number}', quantity, None if tier.flat else tier.unit, amount)]
