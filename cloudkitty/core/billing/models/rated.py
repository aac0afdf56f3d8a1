"""The list price, times a factor."""

from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing.models import Part


class Rated(NamedTuple):
    """What the rating modules charged, times *factor*: markup, or percentage of the list price."""

    factor: Fraction = Fraction(1)
    kind: str = 'rated'
    takes_negative: bool = True

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        return [Part(self.kind, quantity, None, list_price * self.factor)]
