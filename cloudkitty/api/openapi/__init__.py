"""OpenAPI 3.1 description of the API, generated from the code that serves it.

v1 is read from the signatures and types of its controllers, v2 from its table of endpoints.
"""

from collections.abc import Iterable, Mapping

from cloudkitty import policies, version
from cloudkitty.api import schemas, tables
from cloudkitty.api.openapi import v1, v2
from cloudkitty.api.openapi.operation import Operation
from cloudkitty.api.openapi.wsme import Models

PATH = 'openapi.json'
HEALTH = '/healthcheck'
FIGURES = '/metrics'
TOKEN = 'token'
JSON = 'application/json'
ABOUT = """\
What the service charges for. A path works with and without a slash at its end.
HEAD works where GET does, and OPTIONS everywhere: it returns the methods.
Every answer carries `x-openstack-request-id`; errors are JSON.
"""
FAULT = schemas.form(
    faultcode={'enum': ['Client', 'Server']}, faultstring=schemas.TEXT, debuginfo={'type': 'null'}
)
MESSAGE = schemas.form(message=schemas.TEXT)
NO_TOKEN = schemas.form(
    error=schemas.form(code=schemas.constant(401), title=schemas.TEXT, message=schemas.TEXT)
)

_PLAIN = {'text/plain': {'schema': schemas.TEXT}}
_CSV = {tables.CSV_TYPE: {'schema': schemas.TEXT}}
_OPEN_METRICS = {'application/openmetrics-text': {'schema': schemas.TEXT}}


def build(controller, routes: Mapping, discovery: Mapping[str, Mapping]) -> dict:
    """Return the description.

    :param controller: the controller of `/v1`.
    :param routes: the table of `/v2`, see api/v2/root.
    :param discovery: JSON Schema of the answer of each path that needs no token.
    """
    models = Models()
    purposes = {rule.name: rule.description for rule in policies.list_rules()}
    paths: dict[str, dict] = {}
    for path, schema in discovery.items():
        paths[path] = {
            'get': _public(path, {'200': _answer('As asked for.', schema), **_errors_of(path)})
        }
    paths |= {path: {'get': _public(path, answers)} for path, answers in _plain_paths().items()}
    for operation in [*v1.operations(controller, models), *v2.operations(routes)]:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _secured(
            operation, purposes
        )
    return {
        'openapi': '3.1.0',
        'info': {
            'title': 'CloudKitty rating API',
            'version': version.version_string(),
            'description': ABOUT,
        },
        'tags': [{'name': tag} for tag in _tags(paths)],
        'paths': paths,
        'components': {
            'schemas': {
                **dict(sorted(models.components.items())),
                'Fault': FAULT,
                'Message': MESSAGE,
                'NoToken': NO_TOKEN,
            },
            'securitySchemes': {TOKEN: {'type': 'apiKey', 'in': 'header', 'name': 'X-Auth-Token'}},
        },
    }


def paths_of_v2(routes: Mapping) -> dict[str, list[str]]:
    """Return the methods of each path of the table."""
    paths: dict[str, list[str]] = {}
    for operation in v2.operations(routes):
        paths.setdefault(operation.path, []).append(operation.method)
    return paths


def _tags(paths: Mapping) -> Iterable[str]:
    return dict.fromkeys(
        tag
        for methods in paths.values()
        for operation in methods.values()
        for tag in operation['tags']
    )


def _plain_paths():
    """Return the answers of the paths for load balancers and Prometheus."""
    return {
        HEALTH: {
            '200': {'description': 'It works.', 'content': _PLAIN},
            '503': {'description': 'It was switched off.', 'content': _PLAIN},
        },
        FIGURES: {
            '200': {
                'description': 'Metrics for Prometheus, if [api]metrics_folder is set.',
                'content': _PLAIN | _OPEN_METRICS,
            },
            '401': _NO_TOKEN,
            **_errors_of(FIGURES),
        },
    }


def _public(path, responses):
    return {
        'tags': ['discovery'],
        'operationId': _identifier('get', path),
        'security': [],
        'responses': responses,
    }


def _secured(operation: Operation, purposes):
    described = {
        'tags': [_tag(operation.path)],
        'operationId': _identifier(operation.method, operation.path),
        'security': [{TOKEN: []}],
        'parameters': list(operation.parameters),
        'responses': {
            str(operation.status): _success(operation),
            '401': _NO_TOKEN,
            **_errors_of(operation.path),
        },
    }
    if operation.rule:
        described['summary'] = purposes.get(operation.rule, '')
        described['x-policy'] = operation.rule
    media = operation.media or ({} if operation.body is None else {JSON: operation.body})
    if media:
        described['requestBody'] = {
            'required': operation.is_body_required,
            'content': {name: {'schema': schema} for name, schema in media.items()},
        }
    if operation.is_deprecated:
        described['deprecated'] = True
    return described


def _success(operation):
    answer = (
        {'description': 'Done.'} if operation.answer is None else _answer('Done.', operation.answer)
    )
    if operation.files:
        answer['content'] = {
            name: {'schema': {} if name == JSON else schemas.TEXT} for name in operation.files
        }
    if operation.has_csv:
        answer['content'] |= _CSV
    if operation.status in (201, 302):
        answer['headers'] = {'Location': {'schema': {'type': 'string'}, 'required': True}}
    return answer


def _errors_of(path):
    name = 'Fault' if path == '/v1' or path.startswith('/v1/') else 'Message'
    told = {'$ref': f'#/components/schemas/{name}'}
    return {
        '4XX': _answer('The request was refused.', told),
        '5XX': _answer('The service failed.', told),
    }


def _answer(description, schema):
    return {'description': description, 'content': {JSON: {'schema': schema}}}


_NO_TOKEN = _answer('No valid token.', {'$ref': '#/components/schemas/NoToken'})


def _identifier(method, path):
    words = ''.join(character if character.isalnum() else '_' for character in path).split('_')
    return '_'.join([method.lower(), *filter(None, words)]) if any(words) else f'{method}_root'


def _tag(path):
    parts = [part for part in path.split('/') if part and not part.startswith('{')]
    if parts[:3] == ['v1', 'rating', 'module_config'] and len(parts) > 3:
        return f'v1 {parts[3]}'
    return ' '.join(parts[:2])
