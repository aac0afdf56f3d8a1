"""Helpers for the JSON Schema of responses.

Objects are closed: members that are not described are invalid, so descriptions cannot get stale.
"""

from collections.abc import Mapping
from typing import Any

TEXT = {'type': 'string'}
OPTIONAL_TEXT = {'type': ['string', 'null']}
NUMBER = {'type': 'number'}
INTEGER = {'type': 'integer'}
BOOLEAN = {'type': 'boolean'}
# UTC, see timeframe.render().
MOMENT = {
    'type': 'string',
    'format': 'date-time',
    'pattern': r'^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00$',
}
OPTIONAL_MOMENT = {'anyOf': [MOMENT, {'type': 'null'}]}


def form(**members: Mapping) -> dict:
    """Return the schema of an object with exactly these members."""
    return {
        'type': 'object',
        'properties': members,
        'required': list(members),
        'additionalProperties': False,
    }


def with_optional(schema: Mapping, **members: Mapping) -> dict:
    """Return the schema of a form that may have *members*, too."""
    return {**schema, 'properties': {**schema['properties'], **members}}


def listing(item: Mapping) -> dict:
    """Return the schema of a list."""
    return {'type': 'array', 'items': item}


def mapping(value: Mapping) -> dict:
    """Return the schema of an object with any member names."""
    return {'type': 'object', 'additionalProperties': value}


def constant(value: Any) -> dict:
    """Return the schema of one value."""
    return {'const': value}
