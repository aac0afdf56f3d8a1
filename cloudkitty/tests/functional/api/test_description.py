"""The description of the API: whole, true, and made from the code."""

import re

import openapi_spec_validator
import pecan.rest
import pytest
import webob

from cloudkitty.api import openapi, root
from cloudkitty.api.v2 import root as v2

METHODS = {'get', 'post', 'put', 'patch', 'delete'}


def _call(application, path, method='GET', **kwargs):
    return webob.Request.blank(path, method=method, **kwargs).get_response(application)


def _exposed(controller, seen):
    """Yield every function that WSME signed on a controller or anywhere below."""
    if id(controller) in seen:
        return
    seen.add(id(controller))
    for name in dir(controller):
        part = getattr(controller, name)
        if hasattr(part, '_wsme_definition'):
            yield f'{part.__func__.__module__}:{part.__qualname__}', part
        elif isinstance(part, pecan.rest.RestController):
            yield from _exposed(part, seen)
    for held in vars(controller).values():
        for part in held.values() if isinstance(held, dict) else [held]:
            if hasattr(part, '_route'):
                yield from _exposed(part, seen)


def test_it_is_openapi(noauth):
    """It is valid OpenAPI 3.1, and each operation has an identifier of its own."""
    document = _call(noauth, '/openapi.json').json

    assert document['openapi'].startswith('3.1.')
    openapi_spec_validator.validate(document)
    assert document['servers'] == [{'url': 'http://localhost'}]
    identifiers = [
        operation['operationId']
        for methods in document['paths'].values()
        for operation in methods.values()
    ]
    assert len(identifiers) == len(set(identifiers))


def test_it_needs_no_token(authenticated):
    assert _call(authenticated, '/openapi.json').status_int == 200


def test_every_function_of_v1_is_described(monkeypatch):
    """Found in another way than the description finds them: by looking at every attribute."""
    controllers = root.RootController()
    described = set()
    form = openapi.v1._operation

    def note(method, function, *arguments):
        described.add(f'{function.__func__.__module__}:{function.__qualname__}')
        return form(method, function, *arguments)

    monkeypatch.setattr(openapi.v1, '_operation', note)
    assert controllers.description['paths']

    exposed = dict(_exposed(controllers, set()))
    assert len(exposed) > 40
    assert set(exposed) == described


def test_every_endpoint_of_v2_is_described(noauth):
    """With what it answers, unless that is nothing."""
    paths = _call(noauth, '/openapi.json').json['paths']

    for pattern, endpoints in v2.ROUTES.items():
        wanted = '/'.join(['/v2', *(r'\{[^/]+\}' if part == '*' else part for part in pattern)])
        (path,) = [path for path in paths if re.fullmatch(wanted, path)]
        assert set(paths[path]) == {method.lower() for method in endpoints}
        for method, endpoint in endpoints.items():
            assert endpoint.answer or endpoint.status in (202, 204), f'{method} {path}'
            for name, parameter in (*endpoint.parameters.items(), *(endpoint.body or {}).items()):
                assert parameter.schema, f'{method} {path}: nothing is said of {name}'


def test_what_is_described_is_served(noauth):
    """No path is unknown to the application, and OPTIONS names the methods of each."""
    for path, operations in _call(noauth, '/openapi.json').json['paths'].items():
        if path in (openapi.HEALTH, openapi.FIGURES):
            continue
        answer = _call(noauth, re.sub(r'\{[^}]*\}', 'x', path), 'OPTIONS')
        assert answer.status_int == 200, path
        assert {method.upper() for method in operations} <= set(answer.json['methods']), path


@pytest.mark.parametrize('prefix', ['', '/rating'])
def test_v2_says_what_is_there(noauth, prefix):
    """Each path of v2 with its methods, and where the description is."""
    answer = _call(noauth, '/v2/', environ={'SCRIPT_NAME': prefix, 'PATH_INFO': '/v2/'}).json

    resources = {entry['href']: entry['methods'] for entry in answer['resources']}
    base = f'http://localhost{prefix}'
    assert resources[f'{base}/v2/rating/modules/{{module_id}}'] == ['GET', 'HEAD', 'OPTIONS', 'PUT']
    assert len(resources) == len(v2.ROUTES)
    assert {'href': f'{base}/openapi.json', 'rel': 'describedby'} in answer['links']
