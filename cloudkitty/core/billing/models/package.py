"""Whole packages of units."""

import math
from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing.models import Part


class Package(NamedTuple):
    """Each started package of *size* units costs *price*."""

    price: Fraction
    size: Fraction
    kind: str = 'package'
    takes_negative: bool = False

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        count = math.ceil(quantity / self.size)
        return [Part(self.kind, Fraction(count), self.price, count * self.price)]
