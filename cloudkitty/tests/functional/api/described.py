"""The application with every answer held against its own description."""

import json
import re

import jsonschema_rs
import webob

DRAFT = 'https://json-schema.org/draft/2020-12/schema'


class Misfit(AssertionError):
    """An answer is not as the description says."""


class Described:
    """WSGI wrapper around an application; an answer that does not fit is a Misfit.

    :ivar document: what the application says under /openapi.json.
    """

    def __init__(self, application):
        self.application = application
        self._document = None
        self._validators = {}

    @property
    def document(self) -> dict:
        if self._document is None:
            answer = webob.Request.blank('/openapi.json').get_response(self.application)
            self._document = answer.json
            self._routes = sorted(
                ((path.count('{'), _pattern(path), path) for path in self._document['paths']),
                key=lambda route: route[0],
            )
        return self._document

    def __call__(self, environ, start_response):
        method, path = environ['REQUEST_METHOD'], environ.get('PATH_INFO', '')
        response = webob.Request(environ).get_response(self.application)
        self.check(method, path, response)
        return response(environ, start_response)

    def find(self, method: str, path: str) -> dict | None:
        """Return the operation of a request, None if it is not described."""
        paths = self.document['paths']
        path = path if path.strip('/') else '/'
        for _, pattern, known in self._routes:
            if pattern.fullmatch(path):
                operation = paths[known].get('get' if method == 'HEAD' else method.lower())
                if operation:
                    return operation
        return None

    def check(self, method: str, path: str, response: webob.Response) -> None:
        """Raise Misfit unless the answer is one that the description knows."""
        where = f'{method} {path}: {response.status}'
        operation = self.find(method, path)
        if operation is None:
            if response.status_int < 400 and method != 'OPTIONS':
                raise Misfit(f'{where}: not described')
            return
        status = str(response.status_int)
        answers = operation['responses']
        described = answers.get(status) or answers.get(f'{status[0]}XX')
        if described is None:
            raise Misfit(f'{where}: this status is not described')
        for name, header in described.get('headers', {}).items():
            if header['required'] and name not in response.headers:
                raise Misfit(f'{where}: {name} is missing')
        self._check_body(where, method, response, described.get('content', {}))

    def _check_body(self, where, method, response, content):
        if method == 'HEAD':
            return
        if not content:
            if response.body:
                raise Misfit(f'{where}: a body where none is described')
            return
        if response.content_type not in content:
            raise Misfit(f'{where}: {response.content_type} is not described')
        if response.content_type == 'application/json':
            validator = self._validator(content['application/json']['schema'])
            problem = next(validator.iter_errors(json.loads(response.body)), None)
            if problem is not None:
                raise Misfit(f'{where}: {problem}')

    def _validator(self, schema):
        key = id(schema)
        if key not in self._validators:
            self._validators[key] = jsonschema_rs.validator_for(
                {'$schema': DRAFT, **schema, 'components': self.document['components']}
            )
        return self._validators[key]


def _pattern(path):
    parts = re.split(r'\{[^}]*\}', path.rstrip('/'))
    return re.compile('[^/]+'.join(map(re.escape, parts)) + '/?')
