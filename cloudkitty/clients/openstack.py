"""Client of OpenStack services, based on a Keystone session."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib import parse

from keystoneauth1 import exceptions, session

from cloudkitty import errors
from cloudkitty.core.bounds import read_integer, read_sample

LOG = logging.getLogger(__name__)

# Retries of a refused or broken connection; a service that is down is tried again later.
CONNECT_RETRIES = 1
STATUS_RETRIES = 2
STATUS_RETRIED = [429, 502, 503, 504]
RETRY_DELAY_S = 0.2
PAGES_MAX = 10_000
# Statuses that refuse the caller, not the request.
CREDENTIALS_REFUSED = (401, 403)

Parameters = Mapping[str, Any] | Sequence[tuple[str, Any]]


class Client:
    """Client of one service. Thread-safe.

    Its errors have the fact `status`, the HTTP status, if there was a response.

    :param name: name of the driver, for messages.
    :param version: first segment of the API's path, whether or not the catalog has it.
    :param is_cut: paths follow the version, whatever the catalog has behind it.
    :param endpoint_filter: filter for the catalog, see keystoneauth: service_type, service_name,
        interface, region_name.
    """

    def __init__(
        self,
        name: str,
        through: session.Session,
        *,
        version: str,
        is_cut: bool = False,
        **endpoint_filter,
    ):
        self._name = name
        self._is_cut = is_cut
        self._session = through
        self._version = version
        self._endpoint_filter = endpoint_filter

    def get(self, path: str, parameters: Parameters = ()) -> Any:
        """Send a GET request; return the parsed response, see ask()."""
        return self.ask('GET', path, params=parameters)

    def pages(
        self, path: str, parameters: Parameters, key: str, **arguments: Any
    ) -> Iterator[dict]:
        """Yield the items of the list *key* of every page.

        :param arguments: see ask().
        :raises SourceUnreachable, CollectError: see ask(); also for endless pagination, and for a
            truncated list.
        """
        seen = set()
        for _ in range(PAGES_MAX):
            answer = self.ask('GET', path, params=parameters, **arguments)
            try:
                items, following = answer[key], _next_of(answer, key)
                if not isinstance(items, list):
                    raise TypeError
            except (LookupError, TypeError, AttributeError, ValueError) as exc:
                raise self.unreachable(f'{path}: unexpected answer') from exc
            yield from items
            if not following and answer.get('truncated'):
                raise self.unreachable(
                    f'{path}: the list is cut off at {len(items)}; raise '
                    '[DEFAULT]list_limit of Keystone'
                )
            if not following:
                return
            # Only the query of the link is used: its host may be a foreign one.
            parameters = parse.parse_qsl(parse.urlsplit(following).query, keep_blank_values=True)
            if following in seen:
                break
            seen.add(following)
        raise self.unreachable(f'{path}: pages without end')

    def ask(self, method: str, path: str, **arguments) -> Any:
        """Send a request; return the parsed response, with numbers that have a point as Decimal.

        :param path: path after the version.
        :param arguments: those of keystoneauth's Session.request().
        :raises SourceUnreachable: there was no response of the service itself, or it refused the
            credentials.
        :raises CollectError: the service refused the request.
        """
        url = self._url(path)
        response = self._send(method, url, **arguments)
        try:
            return json.loads(
                response.content,
                parse_float=read_sample,
                parse_int=read_integer,
                parse_constant=Decimal,
            )
        except errors.InvalidInput as exc:
            raise self.unreachable(f'{_shown(url)}: {exc}') from exc
        except (ValueError, RecursionError) as exc:
            raise self.unreachable(f'{_shown(url)}: the answer is no JSON') from exc

    def _send(self, method, url, **arguments):
        # Without the body, which may contain a token.
        LOG.debug('%s %s %.2000s', method, _shown(url), arguments.get('params', ''))
        try:
            response = self._session.request(
                url,
                method,
                raise_exc=False,
                redirect=False,
                log=False,
                user_agent='cloudkitty',
                headers={'Accept': 'application/json'},
                connect_retries=CONNECT_RETRIES,
                connect_retry_delay=RETRY_DELAY_S,
                status_code_retries=STATUS_RETRIES,
                retriable_status_codes=STATUS_RETRIED,
                status_code_retry_delay=RETRY_DELAY_S,
                **arguments,
            )
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        status = response.status_code
        if status >= 300:
            raise self._refused(url, status, response.text)
        return response

    def user_id(self) -> str:
        """Return the id of the authenticated user.

        :raises SourceUnreachable: Keystone cannot be used.
        """
        try:
            found = self._session.get_user_id()
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        return found or self._missing('the chosen auth_type has no user')

    def has_endpoint(self) -> bool:
        """Return whether the catalog of Keystone has the service.

        :raises SourceUnreachable: Keystone cannot be used.
        """
        try:
            return bool(self._session.get_endpoint(**self._endpoint_filter))
        except exceptions.EndpointNotFound:
            return False
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc

    def own_rights(self) -> tuple[str | None, frozenset[str]]:
        """Return the project of the token, and the names of its roles; none without Keystone.

        :raises SourceUnreachable: Keystone cannot be used.
        """
        plugin: Any = self._session.auth
        if not hasattr(plugin, 'get_access'):
            return None, frozenset()
        try:
            access = plugin.get_access(self._session)
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        return access.project_id, frozenset(access.role_names)

    def headers(self, path: str) -> Mapping[str, str]:
        """Send a HEAD request; return the headers of the response.

        :raises SourceUnreachable, CollectError: see ask().
        """
        url = self._url(path)
        return self._send('HEAD', url).headers

    def token(self) -> str:
        """Return the current token; request one if there is none.

        :raises SourceUnreachable: Keystone issues none.
        """
        try:
            found = self._session.get_token()
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        return found or self._missing('the chosen auth_type has no token')

    def forget_token(self) -> None:
        """Discard the token; the next request gets a new one."""
        self._session.invalidate()

    def unreachable(self, reason: str, **facts) -> errors.SourceUnreachable:
        """Return the error for a service that did not respond as it should."""
        return errors.SourceUnreachable(collector=self._name, reason=reason, **facts)

    def _url(self, path):
        try:
            endpoint = self._session.get_endpoint(**self._endpoint_filter)
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        if not endpoint:
            wanted = ', '.join(f'{key} {value}' for key, value in self._endpoint_filter.items())
            self._missing(f'the catalog of Keystone has no endpoint with {wanted}')
        base = endpoint.rstrip('/')
        # Some have the project behind the version.
        head, found, tail = f'{base}/'.partition(f'/{self._version}/')
        if self._is_cut or not found:
            return f'{head.rstrip("/")}/{self._version}/{path}'
        return f'{base}/{path}'

    def _missing(self, reason):
        raise self.unreachable(reason)

    def _translated(self, exc):
        if isinstance(exc, exceptions.ConnectTimeout):
            reason = f'{_first_url(exc)}no answer in time'
        else:
            reason = _shown(f'{type(exc).__name__}: {exc}')
        return self.unreachable(reason, status=getattr(exc, 'http_status', None))

    def _refused(self, url, status, body):
        reason = f'{_shown(url)}: HTTP status {status}'
        if status in CREDENTIALS_REFUSED or not 400 <= status < 500 or status in STATUS_RETRIED:
            return self.unreachable(reason, status=status)
        return errors.CollectError(
            collector=self._name, status=status, reason=f'{reason}, {_shown(body)}'
        )


def _next_of(answer, key):
    """Return the link to the next page, or None.

    Keystone has a mapping by name, Glance one link, and others a list named after the items.
    """
    if not isinstance(answer, dict):
        return None
    if isinstance(answer.get('next'), str):
        return answer['next']
    links = answer.get('links') or answer.get(f'{key}_links')
    if isinstance(links, list):
        links = {link['rel']: link['href'] for link in links}
    return (links or {}).get('next')


def _first_url(exc):
    found = re.search(r'https?://[^\s?]+', _shown(str(exc)))
    return f'{found[0]}: ' if found else ''


def _shown(text):
    """Return *text* as one short line without the credentials before the @ of a URL."""
    return re.sub(r'//[^/\s]*@', '//', ' '.join(text.split()))[:300]
