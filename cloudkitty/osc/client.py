"""Client of the REST API of the rating service."""

import re
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import adapter, exceptions, session
from osc_lib import exceptions as osc_exceptions

from cloudkitty.core import bounds

# Page size; the service allows no more by default.
PAGE = 100
_VERSION = re.compile(r'/v[12]/?$')


class Client:
    """The parts of the API that the commands need.

    :param endpoint: that of the catalogue, with or without a version.
    """

    def __init__(self, opened: session.Session, endpoint: str) -> None:
        root = _VERSION.sub('', endpoint).rstrip('/')
        self._adapter = adapter.Adapter(opened, endpoint_override=root, service_type='rating')

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of an answer; numbers with a point are text, so they keep all digits."""
        return self._ask('GET', path, params=_given(query)).json(parse_float=str)

    def download(self, path: str, **query: Any) -> bytes:
        """Return a file."""
        content: bytes = self._ask('GET', path, params=_given(query)).content
        return content

    def list(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return the rows of all pages."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(path, **query, offset=len(found), limit=PAGE)
            found += page['results']
            if not page['results'] or len(found) >= page['total']:
                return found

    def post(self, path: str, **body: Any) -> Any:
        """Return the JSON of an answer to a body."""
        return self._ask('POST', path, json=_given(body)).json()

    def put(self, path: str, query: Mapping[str, Any], **body: Any) -> Any:
        """Return the JSON of an answer to a body."""
        return self._ask('PUT', path, params=_given(query), json=_given(body)).json()

    def delete(self, path: str) -> None:
        self._ask('DELETE', path)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        """Return an answer.

        :raises CommandError: the service refuses; with what it says.
        """
        try:
            return self._adapter.request(path, method, **options)
        except exceptions.HttpError as exc:
            raise osc_exceptions.CommandError(_reason(exc)) from exc


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _reason(error: exceptions.HttpError) -> str:
    told: Any = error.message
    if error.response is not None:
        try:
            told = error.response.json()['message']
        except (ValueError, KeyError, TypeError):
            told = error.message
    # The OpenStack client prints it as it is.
    return f'{bounds.quote_unseen(str(told))} (HTTP {error.http_status})'
