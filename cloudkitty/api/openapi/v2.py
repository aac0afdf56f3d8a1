"""Operations of v2, from its table of endpoints."""

import inspect
from collections.abc import Iterator, Mapping

from cloudkitty.api import parameters, schemas
from cloudkitty.api.openapi.operation import Operation, in_header, in_path, in_query
from cloudkitty.api.v2.endpoint import Endpoint


def operations(routes: Mapping[tuple[str, ...], Mapping[str, Endpoint]]) -> Iterator[Operation]:
    """Yield each method of each path."""
    for pattern, endpoints in routes.items():
        for method, endpoint in endpoints.items():
            names = _segment_names(endpoint, pattern.count('*'))
            yield Operation(
                _path(pattern, names),
                method,
                endpoint.rule,
                parameters=(
                    *(in_path(name, schemas.TEXT) for name in names),
                    *(
                        in_query(name, dict(parameter.schema), is_required=parameter.is_required)
                        for name, parameter in endpoint.parameters.items()
                    ),
                    *(in_header(name, schema) for name, schema in endpoint.headers.items()),
                ),
                body=None if endpoint.body is None else _body(endpoint.body),
                is_body_required=True,
                status=endpoint.status,
                answer=endpoint.answer,
                has_csv=endpoint.tabulate is not None,
                files=endpoint.files,
                media=endpoint.media,
            )


def _segment_names(endpoint, count):
    """Return the names of the variable segments in the signature of the endpoint's function."""
    return list(inspect.signature(endpoint.handle).parameters)[1 : count + 1]


def _path(pattern, names):
    remaining = iter(names)
    return '/'.join(
        ['/v2', *(f'{{{next(remaining)}}}' if segment == '*' else segment for segment in pattern)]
    )


def _body(members: Mapping[str, parameters.Parameter]):
    return {
        'type': 'object',
        'additionalProperties': False,
        'required': [name for name, member in members.items() if member.is_required],
        'properties': {name: _member(member) for name, member in members.items()},
    }


def _member(parameter):
    """Return the schema of a member; a list may also be a single value or joined by commas."""
    if parameter.schema.get('type') == 'array' and not parameter.is_whole:
        return {'anyOf': [dict(parameter.schema), schemas.TEXT]}
    return dict(parameter.schema)
