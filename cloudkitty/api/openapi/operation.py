"""One method of one path, in a form common to v1 and v2."""

import types
from collections.abc import Mapping
from typing import NamedTuple


class Operation(NamedTuple):
    """Description of one method of one path.

    :ivar rule: policy rule that guards it.
    :ivar parameters: OpenAPI parameter objects, of path and query.
    :ivar body: JSON Schema of the body, None if it takes none.
    :ivar status: HTTP status of success.
    :ivar answer: JSON Schema of the answer, None if it has no body.
    :ivar has_csv: the answer is also available as CSV.
    :ivar files: media types of the file that is returned.
    :ivar media: JSON Schema of the body by media type, for bodies of other types than JSON.
    :ivar is_deprecated: it exists for old clients only.
    """

    path: str
    method: str
    rule: str | None
    parameters: tuple[Mapping, ...] = ()
    body: Mapping | None = None
    is_body_required: bool = False
    status: int = 200
    answer: Mapping | None = None
    is_deprecated: bool = False
    has_csv: bool = False
    files: tuple[str, ...] = ()
    media: Mapping[str, Mapping] = types.MappingProxyType({})


def in_path(name: str, schema: Mapping) -> dict:
    """Return the description of a variable path segment."""
    # An empty segment is no segment.
    return {
        'name': name,
        'in': 'path',
        'required': True,
        'schema': {'minLength': 1, **schema} if schema.get('type') == 'string' else schema,
    }


def in_header(name: str, schema: Mapping) -> dict:
    """Return the description of a request header."""
    return {'name': name, 'in': 'header', 'required': False, 'schema': schema}


def in_query(name: str, schema: Mapping, *, is_required: bool = False) -> dict:
    """Return the description of a query parameter."""
    return {'name': name, 'in': 'query', 'required': is_required, 'schema': schema}
