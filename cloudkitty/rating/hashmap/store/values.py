"""Validation of values for the columns of rules, with the same errors on every database."""

import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import dataframe, decimals
from cloudkitty.core.pricing import rules

MODULE = 'hashmap'
NAME_LENGTH_MAX = 255


def new_id() -> str:
    """Return a new identifier."""
    return str(uuid.uuid4())


def uuid_of(text: str | None) -> str | None:
    """Return *text* in the form of stored identifiers, None if it cannot be one."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, TypeError, AttributeError):
        return None


def has_id(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """Return the condition that *column* has the id *text*; a malformed id matches nothing."""
    identifier = uuid_of(text)
    return sa.false() if identifier is None else column == identifier


def equals(column: sa.ColumnElement[Any], value: object) -> sa.ColumnElement[bool]:
    """Return the condition that *column* is *value*, None included."""
    return column.is_(None) if value is None else column == value


def invalid(field: str, value: object, why: str) -> errors.InvalidInput:
    """Return the error for a wrong value of a field."""
    return errors.InvalidInput(
        reason=f"Invalid input for field/attribute {field}. Value: '{value}'. {why}"
    )


def check_text(field: str, value: str | None, length_max: int = NAME_LENGTH_MAX) -> None:
    """Raise InvalidInput unless every database can store the text."""
    if value is None:
        return
    if len(value) > length_max:
        raise invalid(field, value, f'Value should have a maximum length of {length_max}')
    if not dataframe.is_text(value):
        shown = value.encode('ascii', 'backslashreplace').decode().replace('\0', '\\x00')
        raise invalid(field, shown, 'Value holds characters that are not text')


def check_name(value: str | None, field: str = 'name') -> None:
    """Raise InvalidInput unless *value* can name a service, a field or a group."""
    if value is None:
        raise invalid(field, value, 'Mandatory field missing.')
    if not value:
        raise invalid(field, value, 'Value should have a minimum length of 1')
    check_text(field, value)


def check_type(value: str | None) -> None:
    """Raise InvalidInput unless *value* is a type of rule."""
    if value not in rules.TYPES:
        raise invalid('type', value, f'Value should be one of: {", ".join(rules.TYPES)}')


def check_decimal(field: str, value: Decimal | None, scale: int) -> None:
    """Raise InvalidInput unless *value* has at most 12 digits before the point, *scale* after."""
    if value is None:
        raise invalid(field, value, 'Mandatory field missing.')
    shortest = value.normalize(decimals.WIDE_CONTEXT)
    before_point = shortest.adjusted() + 1
    after_point = len(shortest.as_tuple().digits) - before_point
    if value and (before_point > 12 or after_point > scale):
        raise invalid(
            field,
            value,
            f'Value should have at most 12 digits before the point and {scale} after it',
        )


def check_cost(value: Decimal | None) -> None:
    check_decimal('cost', value, scale=28)


def check_level(value: Decimal | None) -> None:
    check_decimal('level', value, scale=8)
