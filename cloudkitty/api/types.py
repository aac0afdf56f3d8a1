"""WSME types that accept exactly the values that version 1 allows.

A type's validate() takes the value of a caller or of a controller and returns the internal one:
normalised uuid, bool, Decimal, aware UTC datetime. Wrong input raises ValueError, which WSME turns
into 400. `accepts` and `shows` are the JSON Schemas of the value in requests and in responses.

Source: doc/source/contributor/compatibility/rest-v1.rst, "Types of values".
"""

import re
import uuid as uuids
from datetime import datetime, timedelta
from decimal import Decimal

from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.core import bounds, decimals, timeframe

TRUE = ('true', 't', 'yes', 'y', 'on', '1')
FALSE = ('false', 'f', 'no', 'n', 'off', '0')

_NUMBER = re.compile(r'[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?', re.ASCII)
_INTEGER = re.compile(r'[+-]?\d{1,18}', re.ASCII)
_DATE_ONLY = re.compile(r'\d{4}-?\d{2}-?\d{2}', re.ASCII)


class Uuid(wtypes.UserType):
    """A uuid in any spelling; internally and in responses lower case with dashes."""

    basetype = str
    name = 'uuid'
    accepts = shows = {'type': 'string', 'format': 'uuid'}

    def validate(self, value):
        try:
            return str(uuids.UUID(value))
        except (TypeError, ValueError, AttributeError) as exc:
            raise ValueError(f"Invalid UUID, got '{value}'") from exc


class Key(wtypes.UserType):
    """An id in a path or query: a uuid is normalised, any other text matches nothing."""

    basetype = str
    name = 'key'

    def validate(self, value):
        if not isinstance(value, str):
            raise ValueError(_wrong_type(str, value))
        try:
            return str(uuids.UUID(value))
        except ValueError:
            return value


class Text(wtypes.UserType):
    """A JSON string of a limited length, counted in characters."""

    basetype = str
    name = 'text'
    shows = {'type': 'string'}

    def __init__(self, max_length: int, min_length: int = 0):
        self.max_length = max_length
        self.min_length = min_length
        self.accepts = {'type': 'string', 'minLength': min_length, 'maxLength': max_length}

    def validate(self, value):
        if not isinstance(value, str):
            raise ValueError(_wrong_type(str, value))
        if not self.min_length <= len(value) <= self.max_length:
            raise ValueError(
                f'The length must be between {self.min_length} and {self.max_length} characters.'
            )
        return value


class Boolean(wtypes.UserType):
    """A boolean, or one of the usual words or 0/1, in JSON and in queries; empty is false."""

    basetype = str
    name = 'bool'
    accepts = {'anyOf': [{'type': 'boolean'}, {'enum': [*TRUE, *FALSE, '']}]}
    shows = {'type': 'boolean'}

    def validate(self, value):
        if isinstance(value, bool):
            return value
        word = str(value).lower() if isinstance(value, (str, int)) else None
        if word in TRUE:
            return True
        if word in FALSE or word == '':
            return False
        raise ValueError(f'Value not an unambiguous boolean: {value}')


class Integer(wtypes.UserType):
    """A JSON integer or its text, between bounds (those of a database integer by default)."""

    basetype = str
    name = 'integer'

    def __init__(self, minimum: int = -(2**31), maximum: int = 2**31 - 1):
        self.minimum = minimum
        self.maximum = maximum
        self.shows = {'type': 'integer', 'minimum': minimum, 'maximum': maximum}
        self.accepts = {'anyOf': [self.shows, {'type': 'string', 'pattern': r'^[+-]?[0-9]{1,18}$'}]}

    def validate(self, value):
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(_wrong_type(int, value))
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f'Value should be between {self.minimum} and {self.maximum}')
        return value


class Number(wtypes.UserType):
    """An exact decimal, a JSON number or its text; in answers text in fixed point.

    :param precision: digits in all, None: any number up to 64 before and behind the point.
    :param scale: digits behind the point, all of them shown; None: as many as needed.
    :param is_rounded: more digits behind the point are rounded, half to even, not refused.
    """

    basetype = str
    name = 'decimal'
    accepts = {
        'anyOf': [
            {'type': 'number'},
            {
                'type': 'string',
                'pattern': r'^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$',
            },
        ]
    }
    shows = {'type': 'string', 'pattern': r'^-?[0-9]+(\.[0-9]+)?$'}

    def __init__(
        self, precision: int | None = None, scale: int | None = None, *, is_rounded: bool = False
    ):
        self.scale = scale
        self._is_rounded = is_rounded
        self._scale_max = 64 if scale is None else scale
        self._limit = Decimal(10) ** (64 if precision is None else precision - self._scale_max)

    def validate(self, value):
        if (
            isinstance(value, str)
            and len(value) <= bounds.NUMBER_LENGTH_MAX
            and _NUMBER.fullmatch(value.strip())
        ):
            value = Decimal(value.strip())
        elif isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal) or not _is_below_bound(value):
            raise ValueError(f"Value is not a decimal number, got '{value!s:.{bounds.ECHO_MAX}}'")
        self._check_limit(value)
        return self._on_grid(value)

    def _check_limit(self, value):
        if value.copy_abs() >= self._limit:
            raise ValueError(f'Value should be below {self._limit}')

    def _on_grid(self, value):
        # Each database shows a negative zero in another way.
        if not value:
            return decimals.ZERO
        if value.as_tuple().exponent >= -self._scale_max:
            return value
        shortened = decimals.round_to(value, self._scale_max)
        if shortened != value and not self._is_rounded:
            raise ValueError(f'Value has more than {self._scale_max} digits behind the point')
        self._check_limit(shortened)
        return shortened or decimals.ZERO

    def tobasetype(self, value):
        if value is None:
            return None
        return fixed_point(value) if self.scale is None else format(value, f'.{self.scale}f')


class JsonObject(wtypes.UserType):
    """A JSON object that is passed on unchanged."""

    basetype = dict
    name = 'object'
    accepts = shows = {'type': 'object'}

    def validate(self, value):
        if not isinstance(value, dict):
            raise ValueError(_wrong_type(dict, value))
        return value


class Moment(wtypes.UserType):
    """An ISO 8601 date; without offset it is UTC, without time midnight. Answers are naive UTC."""

    basetype = str
    name = 'datetime'
    accepts = {'type': 'string', 'format': 'date-time'}
    shows = {
        'type': 'string',
        'pattern': r'^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?$',
    }
    date_only_at = timedelta(0)

    def validate(self, value):
        if isinstance(value, datetime):
            return timeframe.from_naive(value) if value.tzinfo is None else timeframe.to_utc(value)
        try:
            instant = timeframe.parse_exact(value)
        except errors.InvalidInput as exc:
            raise ValueError(str(exc)) from exc
        if _DATE_ONLY.fullmatch(value.strip()):
            instant += self.date_only_at
        return instant

    def tobasetype(self, value):
        return None if value is None else timeframe.to_naive(value).isoformat()


class RuleEnd(Moment):
    """The end of a rule: a date without a time means its last second."""

    name = 'end datetime'
    date_only_at = timedelta(hours=23, minutes=59, seconds=59)


uuid = Uuid()
key = Key()
boolean = Boolean()
moment = Moment()
rule_end = RuleEnd()
# Clients compute costs and levels with binary floats: 0.95 * 3 arrives as 2.8499999999999996.
cost = Number(40, 28, is_rounded=True)
level = Number(20, 8, is_rounded=True)
number = Number()
json_object = JsonObject()


def _is_below_bound(value):
    # Very small numbers are rounded to zero, or have too many digits.
    return value.is_finite() and value.adjusted() <= bounds.EXPONENT_MAX


def fixed_point(number: Decimal) -> str:
    """Return *number* with all its digits, without exponent and without trailing zeros."""
    text = format(number, 'f')
    if '.' in text:
        text = text.rstrip('0').rstrip('.')
    return '0' if text == '-0' else text


def _wrong_type(expected, value):
    return f"Wrong type. Expected '{expected}', got '{type(value)}'"
