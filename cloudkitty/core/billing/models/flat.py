"""A fixed amount, whatever the quantity is."""

from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing.models import Part


class Flat(NamedTuple):
    """A fee of *price* a month."""

    price: Fraction
    kind: str = 'flat'
    takes_negative: bool = True

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        return [Part(self.kind, Fraction(1), self.price, self.price)]
