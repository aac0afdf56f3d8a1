"""One price for each unit."""

from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing.models import Part


class Unit(NamedTuple):
    """Each unit costs *price*."""

    price: Fraction
    kind: str = 'unit'
    takes_negative: bool = True

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        return [Part(self.kind, quantity, self.price, quantity * self.price)]
