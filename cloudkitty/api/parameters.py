"""Parameters of v2 requests, in a query or a JSON body.

An endpoint declares {name: Parameter}. A value that was not given is the parameter's default.

Source: doc/source/contributor/compatibility/rest-v2.rst, "Parameters" and "Dates".
"""

import re
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import timeframe

# Most characters of a value in the text of an error.
ECHO_MAX = 200
REASON_MAX = 500
# Most values of a parameter: databases limit the number of bind values.
VALUES_MAX = 10000
# Most attributes in one query: databases limit the number of joined tables.
NAMES_MAX = 32
# Most characters of the name of a metric, a unit, or an attribute.
NAME_LENGTH_MAX = 255
_WORDS = {
    'true': True,
    'yes': True,
    'on': True,
    '1': True,
    'enable': True,
    'false': False,
    'no': False,
    'off': False,
    '0': False,
    'disable': False,
}
_INTEGER = re.compile(r'[+-]?\d{1,18}', re.ASCII)
_ANYTHING: Mapping = types.MappingProxyType({})
_TEXT = {'type': 'string'}
INSTANT = {'type': 'string', 'format': 'date-time'}
_PAIRS = {'type': 'array', 'items': {'type': 'string', 'pattern': '^[^:,]+:[^,]*$'}}


class Parameter(NamedTuple):
    """Conversion of the raw values of one parameter to its value.

    :ivar read: takes the list of raw values, returns the value; ValueError or InvalidInput if it
        cannot.
    :ivar default: the value if none is given.
    :ivar is_required: a missing value is refused.
    :ivar is_whole: a list in a body is one value, not many.
    :ivar schema: JSON Schema of the value, of a list of values in an array.
    """

    read: Callable[[list], Any]
    default: Any = None
    is_required: bool = False
    is_whole: bool = False
    schema: Mapping = _ANYTHING


def accepts(schema: Mapping) -> Callable:
    """Return a decorator that stores the JSON Schema of its input on a converter."""

    def note(convert):
        convert.schema = schema
        return convert

    return note


def one(convert: Callable[[Any], Any], default: Any = None) -> Parameter:
    """Return a parameter that is given at most once."""

    def read(values):
        if len(values) != 1:
            raise ValueError(f'exactly one value is expected, not {len(values)}')
        return convert(values[0])

    return Parameter(read, default, schema=getattr(convert, 'schema', _ANYTHING))


def many(
    convert: Callable[[str], Any] = str, default: Any = None, *, maximum: int = VALUES_MAX
) -> Parameter:
    """Return a parameter that may be repeated or joined with commas: a list."""

    def read(values):
        pieces = [piece for value in values for piece in text(value).split(',')]
        if len(pieces) > maximum:
            raise ValueError(f'{len(pieces)} values are given, more than {maximum}')
        return [convert(piece) for piece in pieces]

    return Parameter(
        read,
        default,
        schema={'type': 'array', 'items': getattr(convert, 'schema', _TEXT), 'maxItems': maximum},
    )


def whole(schema: Mapping) -> Parameter:
    """Return a member of a body that is passed unchanged."""
    return Parameter(lambda values: values[0], is_whole=True, schema=schema)


def required(parameter: Parameter) -> Parameter:
    """Return a mandatory copy of *parameter*."""
    return parameter._replace(is_required=True)


def map_one() -> Parameter:
    """Return a parameter of `key:value` tokens with distinct keys: {key: value}."""

    def read(values):
        pairs = _pairs(values)
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError('a key is given several times')
        return dict(pairs)

    return Parameter(read, schema=_PAIRS)


def map_many() -> Parameter:
    """Return a parameter of `key:value` tokens: {key: [values]}."""

    def read(values):
        grouped: dict[str, list[str]] = {}
        for key, value in _pairs(values):
            grouped.setdefault(key, []).append(value)
        return grouped

    return Parameter(read, schema=_PAIRS)


def _pairs(values):
    pairs = []
    for value in values:
        for token in text(value).split(','):
            key, colon, rest = token.partition(':')
            if not colon or not key:
                raise ValueError(f'{token!r} is not key:value')
            pairs.append((attribute(key), rest))
    names = {key for key, _ in pairs}
    if len(names) > NAMES_MAX:
        raise ValueError(f'{len(names)} keys are given, more than {NAMES_MAX}')
    if len(pairs) > VALUES_MAX:
        raise ValueError(f'{len(pairs)} values are given, more than {VALUES_MAX}')
    return pairs


@accepts(_TEXT)
def text(value: Any) -> str:
    """Return *value*, which must be text."""
    if not isinstance(value, str):
        raise ValueError(f'text is expected, not {value!r}')
    return value


@accepts({'type': 'string', 'maxLength': NAME_LENGTH_MAX})
def attribute(value: Any) -> str:
    """Return *value* if it is not longer than a name may be."""
    if len(text(value)) > NAME_LENGTH_MAX:
        raise ValueError(f'a name of more than {NAME_LENGTH_MAX} characters is given')
    return value


def nonempty(length_max: int) -> Callable[[Any], str]:
    """Return a converter for text of 1 to *length_max* characters."""

    @accepts({'type': 'string', 'minLength': 1, 'maxLength': length_max})
    def convert(value):
        if not 0 < len(text(value)) <= length_max:
            raise ValueError(f'1 to {length_max} characters are expected')
        return value

    return convert


@accepts({'anyOf': [{'type': 'boolean'}, {'enum': [0, 1]}]})
def boolean(value: Any) -> bool:
    """Return the boolean for a value in JSON: true, false, 0 or 1, but no words."""
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError(f'true or false is expected, not {value!r}')
    return bool(value)


@accepts({'type': 'integer', 'minimum': 0, 'maximum': 1})
def zero_or_one(value: Any) -> bool:
    """Return the boolean for 0 or 1 in a query."""
    # A bool, because PostgreSQL does not compare boolean columns with numbers.
    return bool(integer(0, 1)(value))


@accepts({'anyOf': [{'type': 'boolean'}, {'enum': list(_WORDS)}]})
def boolean_like(value: Any) -> bool:
    """Return the boolean for true, false, or one of the usual words and numbers for them."""
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, (str, int)) else None
    if word not in _WORDS:
        raise ValueError(f'{value!r} is not a boolean')
    return _WORDS[word]


def or_null(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that maps null to None and passes other values to *convert*."""

    @accepts({'anyOf': [getattr(convert, 'schema', _ANYTHING), {'type': 'null'}]})
    def convert_or_not(value):
        return None if value is None else convert(value)

    return convert_or_not


@accepts(INSTANT)
def instant(value: Any) -> datetime:
    """Return the time that *value* names, which must be possible as the begin of a period."""
    parsed = timeframe.parse(value)
    if not timeframe.EPOCH <= parsed < timeframe.LATEST:
        raise ValueError(
            f'{value!r} is not between {timeframe.EPOCH.year} and {timeframe.LATEST.year}'
        )
    return parsed


def integer(minimum: int, maximum: int = 2**31 - 1) -> Callable[[Any], int]:
    """Return a converter for whole numbers between bounds."""

    @accepts({'type': 'integer', 'minimum': minimum, 'maximum': maximum})
    def convert(value):
        number = value
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f'{value!r} is not an integer')
        if not minimum <= number <= maximum:
            raise ValueError(f'{value!r} is not between {minimum} and {maximum}')
        return number

    return convert


def choice(*allowed: str) -> Callable[[Any], str]:
    """Return a converter for one of the *allowed* words."""

    @accepts({'enum': list(allowed)})
    def convert(value):
        if value not in allowed:
            raise ValueError(f'{value!r} is not one of {", ".join(allowed)}')
        return value

    return convert


@accepts(INSTANT)
def moment(value: Any) -> datetime:
    """Return the instant that *value* names, aware UTC."""
    return timeframe.parse(value)


TIME = one(moment)
PAGE = {'offset': one(integer(0), default=0), 'limit': one(integer(1), default=100)}


def read_query(given, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return a value for each of *parameters*.

    :param given: webob MultiDict of the query string.
    :raises InvalidInput: a name is unknown or a value invalid.
    """
    values: dict[str, list] = {}
    # getall() would scan all items for each name.
    for name, value in given.items():
        values.setdefault(name, []).append(value)
    return _read(values, parameters)


def read_body(form: Any, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return a value for each of *parameters* from a JSON body.

    :raises InvalidInput: it is no object, a member is unknown or a value invalid.
    """
    if not isinstance(form, dict):
        raise errors.InvalidInput(reason='The body must be a JSON object')
    return _read(
        {name: _values(value, parameters.get(name)) for name, value in form.items()}, parameters
    )


def _values(value, parameter):
    if isinstance(value, list) and not (parameter and parameter.is_whole):
        return value
    return [value]


def _read(given, parameters):
    unknown = [name for name in given if name not in parameters]
    if unknown:
        raise errors.InvalidInput(reason=f'Unknown parameter: {", ".join(unknown):.{ECHO_MAX}}')
    values = {}
    for name, parameter in parameters.items():
        if name not in given:
            if parameter.is_required:
                raise errors.InvalidInput(reason=f'{name} is missing')
            values[name] = parameter.default
            continue
        try:
            values[name] = parameter.read(given[name])
        except (ValueError, errors.InvalidInput) as exc:
            received = repr(given[name])
            raise errors.InvalidInput(
                reason=f'Invalid value for {name}: {str(exc):.{REASON_MAX}} '
                f'(received {received:.{ECHO_MAX}})'
            ) from exc
    return values
