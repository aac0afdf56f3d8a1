"""Reads a document that people write; each error names the path of the fault. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from cloudkitty import errors
from cloudkitty.core import bounds

# Characters of a name.
NAME_LENGTH_MAX = 255
# Numbers in a plan have at most so many digits before and after the point.
INTEGER_DIGITS_MAX = 20
SCALE_MAX = 20
MEMBERS_MAX = 100_000
_NUMBER = re.compile(r'[+-]?\d+(\.\d+)?', re.ASCII)
# Of ISO 4217, or a currency of the cloud.
CURRENCY_PATTERN = '[A-Z]{3,8}'
_CURRENCY = re.compile(CURRENCY_PATTERN)
_DAY = re.compile(r'\d{4}-\d{2}-\d{2}', re.ASCII)
_DURATION = re.compile(r'(\d{1,5}) ?(h|d)', re.ASCII)
_UNITS = {'h': timedelta(hours=1), 'd': timedelta(days=1)}
# A value of the document that is not there.
_MISSING = object()

_Value = TypeVar('_Value')


class Node:
    """A value of a document, and where it is.

    Numbers are text, decimals or whole numbers: a float has lost digits, and is refused.

    :param path: such as `plans.standard.items[0]`.
    """

    def __init__(self, value: Any, path: str = '') -> None:
        self.value = value
        self.path = path

    def fault(self, reason: str) -> errors.InvalidInput:
        """Return the error that says what is wrong here."""
        return errors.InvalidInput(reason=f'{self.path or "document"}: {reason}')

    @property
    def is_missing(self) -> bool:
        return self.value is _MISSING

    def members(self, *known: str) -> dict[str, 'Node']:
        """Return the members of a mapping that has no other members than *known*.

        Those that are not there are missing.
        """
        found = self.mapping()
        for name in found:
            if name not in known:
                raise found[name].fault(f'unknown; allowed: {", ".join(known)}')
        return {name: found.get(name, Node(_MISSING, self._below(name))) for name in known}

    def mapping(self) -> dict[str, 'Node']:
        """Return the members of a mapping by name; none if it is missing."""
        if self.is_missing:
            return {}
        if not isinstance(self.value, Mapping):
            raise self.fault('must be a mapping')
        if len(self.value) > MEMBERS_MAX:
            raise self.fault(f'has more than {MEMBERS_MAX} members')
        return {
            Node(name, self.path).text(): Node(value, self._below(str(name)))
            for name, value in self.value.items()
        }

    def _below(self, name: str) -> str:
        return f'{self.path}.{name}' if self.path else name

    def list(self) -> list['Node']:
        """Return the members of a list; none if it is missing."""
        return list(self._elements())

    def _elements(self) -> Iterator['Node']:
        if self.is_missing:
            return
        if not isinstance(self.value, list):
            raise self.fault('must be a list')
        if len(self.value) > MEMBERS_MAX:
            raise self.fault(f'has more than {MEMBERS_MAX} members')
        for place, value in enumerate(self.value):
            yield Node(value, f'{self.path}[{place}]')

    def text(self, length_max: int = NAME_LENGTH_MAX) -> str:
        """Return a text that is not empty and has no control characters."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.fault('must be a text that is not empty')
        if len(self.value) > length_max:
            raise self.fault(f'has more than {length_max} characters')
        if bounds.CONTROLS.search(self.value):
            raise self.fault('has control characters')
        return self.value

    def choice(self, *allowed: str) -> str:
        """Return one of *allowed*."""
        if self.value not in allowed:
            raise self.fault(f'must be one of {", ".join(allowed)}')
        return str(self.value)

    def number(self, *, least: int | None = 0, above: int | None = None) -> Fraction:
        """Return a number in fixed-point notation.

        :param least, above: its bounds; None: there is none.
        """
        value = self.value
        if isinstance(value, Decimal | int) and not isinstance(value, bool):
            value = format(Decimal(value), 'f')
        if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
            raise self.fault('must be a number such as 0.05')
        before, _, after = value.strip().lstrip('+-').partition('.')
        if len(before.lstrip('0')) > INTEGER_DIGITS_MAX or len(after.rstrip('0')) > SCALE_MAX:
            raise self.fault(
                f'has more than {INTEGER_DIGITS_MAX} digits before or {SCALE_MAX} after the point'
            )
        number = Fraction(value.strip())
        if above is not None and number <= above:
            raise self.fault(f'must be more than {above}')
        if least is not None and number < least:
            raise self.fault(f'must be {least} or more')
        return number

    def percent(self, most: int = 100) -> Fraction:
        """Return a percentage such as `10 %` as a part of one."""
        if not isinstance(self.value, str) or not self.value.rstrip().endswith('%'):
            raise self.fault('must be a percentage such as 10 %')
        part = Node(self.value.rstrip()[:-1].rstrip(), self.path).number()
        if part > most:
            raise self.fault(f'must be {most} % at most')
        return part / 100

    def currency(self) -> str:
        """Return the code of a currency such as EUR."""
        if not isinstance(self.value, str) or not _CURRENCY.fullmatch(self.value):
            raise self.fault('must be a currency of 3 to 8 capital letters, such as EUR')
        return self.value

    def day(self) -> date:
        """Return a day such as 2026-10-01."""
        if isinstance(self.value, str) and _DAY.fullmatch(self.value):
            try:
                return date.fromisoformat(self.value)
            except ValueError:
                pass
        raise self.fault('must be a day such as 2026-10-01')

    def duration(self) -> timedelta:
        """Return a duration in hours or days, such as 3 d."""
        found = _DURATION.fullmatch(self.value) if isinstance(self.value, str) else None
        if not found:
            raise self.fault('must be a duration such as 72 h or 3 d')
        return int(found[1]) * _UNITS[found[2]]

    def by(self, parse: Callable[[str], _Value]) -> _Value:
        """Return what *parse* makes of the text, with the path in its error."""
        try:
            return parse(self.text())
        except errors.InvalidInput as exc:
            raise exc if str(exc).startswith(f'{self.path}: ') else self.fault(str(exc)) from exc
