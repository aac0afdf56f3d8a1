"""One measured figure and what it should be."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A figure.

    :ivar at_least, at_most: the target; None: the figure is for orientation.
    """

    name: str
    value: float
    unit: str = ''
    at_least: float | None = None
    at_most: float | None = None

    @property
    def text(self) -> str:
        return f'{_number(self.value)} {self.unit}'.strip()

    @property
    def target_text(self) -> str:
        if self.at_least is not None:
            return f'at least {_number(self.at_least)} {self.unit}'.strip()
        if self.at_most is not None:
            return f'at most {_number(self.at_most)} {self.unit}'.strip()
        return ''

    @property
    def is_reached(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


def _number(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'
