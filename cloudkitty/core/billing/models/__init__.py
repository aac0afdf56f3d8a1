"""Price models: from a quantity to an amount. One model a file. Contract of the family."""

from fractions import Fraction
from typing import NamedTuple, Protocol


class Part(NamedTuple):
    """A part of a quantity that has one price.

    :ivar name: which part it is, such as `tier-2`.
    :ivar quantity: units of this part.
    :ivar price: of a unit; None: the amount does not depend on the quantity alone.
    """

    name: str
    quantity: Fraction
    price: Fraction | None
    amount: Fraction


class Model(Protocol):
    """A price model.

    :cvar kind: its name in plans.
    :cvar takes_negative: whether a negative quantity has a meaning.
    """

    @property
    def kind(self) -> str: ...

    @property
    def takes_negative(self) -> bool: ...

    def parts(self, quantity: Fraction, list_price: Fraction) -> list[Part]:
        """Return what *quantity* costs; the price is the sum of the parts.

        :param list_price: what the rating modules charged for it.
        """


class Tier(NamedTuple):
    """A step of graduated and volume prices.

    :ivar up_to: the last quantity that belongs to it; None: there is no end.
    :ivar unit: price of a unit.
    :ivar flat: charged once.
    """

    up_to: Fraction | None
    unit: Fraction = Fraction(0)
    flat: Fraction = Fraction(0)
