"""APIs of OpenStack services, asked through a Keystone session."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib import parse

from keystoneauth1 import exceptions, session

from cloudkitty import errors

LOG = logging.getLogger(__name__)

# Of a connection that was refused or broke off; a service that is down is tried again later.
CONNECT_RETRIES = 1
STATUS_RETRIES = 2
STATUS_RETRIED = [429, 502, 503, 504]
RETRY_DELAY_S = 0.2
PAGES_MAX = 10_000
# Refusals of whoever asks, not of what is asked.
CREDENTIALS_REFUSED = (401, 403)

Parameters = Mapping[str, Any] | Sequence[tuple[str, Any]]


class Client:
    """One service. Threads may share it.

    Its errors have the fact `status`, the HTTP status, when there was one.

    :param name: of the driver, for messages.
    :param version: the path of the API begins with it, whether or not the catalog says so.
    :param endpoint_filter: what finds the service in the catalog, as keystoneauth has it:
        service_type, service_name, interface, region_name.
    """

    def __init__(self, name: str, through: session.Session, *, version: str, **endpoint_filter):
        self._name = name
        self._session = through
        self._version = version
        self._endpoint_filter = endpoint_filter

    def get(self, path: str, parameters: Parameters = ()) -> Any:
        """Return the parsed answer, see ask()."""
        return self.ask('GET', path, params=parameters)

    def pages(self, path: str, parameters: Parameters, key: str) -> Iterator[dict]:
        """Yield what is in the list *key* of every page.

        :raises SourceUnreachable, CollectError: see ask(); also for pages without end, and for a
            list that was cut off.
        """
        seen = set()
        for _ in range(PAGES_MAX):
            answer = self.get(path, parameters)
            try:
                items, following = answer[key], _next_of(answer)
                if not isinstance(items, list):
                    raise TypeError
            except (LookupError, TypeError, AttributeError, ValueError) as exc:
                raise self.unreachable(f'{path}: unexpected answer') from exc
            yield from items
            if not following and answer.get('truncated'):
                raise self.unreachable(f'{path}: the list is cut off at {len(items)}; raise '
                                       '[DEFAULT]list_limit of Keystone')
            if not following:
                return
            # Only what the link asks for: it may name a host that is none of ours.
            parameters = parse.parse_qsl(parse.urlsplit(following).query, keep_blank_values=True)
            if following in seen:
                break
            seen.add(following)
        raise self.unreachable(f'{path}: pages without end')

    def ask(self, method: str, path: str, **arguments) -> Any:
        """Return the parsed answer; a number with a point is an exact Decimal.

        :param path: behind the version.
        :param arguments: those of keystoneauth's Session.request().
        :raises SourceUnreachable: nothing was said by the service itself, or the credentials are
            refused.
        :raises CollectError: the service refused what was asked.
        """
        url = self._url(path)
        # Not the body, which may hold a token.
        LOG.debug('%s %s %.2000s', method, _shown(url), arguments.get('params', ''))
        try:
            response = self._session.request(
                url, method, raise_exc=False, redirect=False, log=False, user_agent='cloudkitty',
                headers={'Accept': 'application/json'}, connect_retries=CONNECT_RETRIES,
                connect_retry_delay=RETRY_DELAY_S, status_code_retries=STATUS_RETRIES,
                retriable_status_codes=STATUS_RETRIED, status_code_retry_delay=RETRY_DELAY_S,
                **arguments)
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        status = response.status_code
        if status >= 300:
            raise self._refused(url, status, response.text)
        try:
            return json.loads(response.content, parse_float=Decimal, parse_constant=Decimal)
        except (ValueError, RecursionError) as exc:
            raise self.unreachable(f'{_shown(url)}: the answer is no JSON') from exc

    def user_id(self) -> str:
        """Return the id of the user who asks.

        :raises SourceUnreachable: Keystone does not say.
        """
        try:
            found = self._session.get_user_id()
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        return found or self._missing('the chosen auth_type has no user')

    def token(self) -> str:
        """Return the token in use; it is taken when there is none.

        :raises SourceUnreachable: Keystone gives none.
        """
        try:
            found = self._session.get_token()
        except exceptions.ClientException as exc:
            raise self._translated(exc) from exc
        return found or self._missing('the chosen auth_type has no token')

    def forget_token(self) -> None:
        """Take a new token for the next request."""
        self._session.invalidate()

    def unreachable(self, reason: str, **facts) -> errors.SourceUnreachable:
        """Return the error of a service that did not answer as it should."""
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
        if not base.endswith(f'/{self._version}'):
            base = f'{base}/{self._version}'
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
        return errors.CollectError(collector=self._name, status=status,
                                   reason=f'{reason}, {_shown(body)}')


def _next_of(answer):
    """Return the link to the next page, or None: links by name, or a list of links."""
    links = answer.get('links') if isinstance(answer, dict) else None
    if isinstance(links, list):
        links = {link['rel']: link['href'] for link in links}
    return (links or {}).get('next')


def _first_url(exc):
    found = re.search(r'https?://[^\s?]+', _shown(str(exc)))
    return f'{found[0]}: ' if found else ''


def _shown(text):
    """Return *text* as one short line without what stands before the @ of a URL."""
    return re.sub(r'//[^/\s]*@', '//', ' '.join(text.split()))[:300]
