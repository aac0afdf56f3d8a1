"""Client of the Gnocchi API for the collector and the fetcher, based on gnocchiclient.

Source: https://gnocchi.osci.io/rest.html, Gnocchi 4.7
"""

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib import parse

import orjson
import requests
import urllib3
from gnocchiclient import auth as gnocchi_auth
from gnocchiclient import client as gnocchi_client
from gnocchiclient import exceptions as gnocchi_exceptions
from keystoneauth1 import exceptions, loading
from oslo_config import cfg
from requests import adapters

from cloudkitty import errors
from cloudkitty.clients import answers, keystone, urls
from cloudkitty.clients.head_timeout import limit_heads
from cloudkitty.clients.source_clock import SourceClock

LOG = logging.getLogger(__name__)

OPTS = [
    cfg.StrOpt(
        'gnocchi_auth_type',
        default='keystone',
        choices=['keystone', 'basic'],
        help='How to log in to Gnocchi: keystone, with the options of keystoneauth in this '
        'section, or basic, with gnocchi_user and gnocchi_endpoint.',
    ),
    cfg.StrOpt(
        'gnocchi_user', default='', help='User for gnocchi_auth_type = basic; there is no password.'
    ),
    cfg.StrOpt(
        'gnocchi_endpoint',
        default='',
        help='URL of Gnocchi, without /v1, for gnocchi_auth_type = basic; with keystone it '
        'comes from the catalog.',
    ),
    cfg.StrOpt(
        'interface',
        default='internalURL',
        help='Which endpoint of the catalog to use: internalURL, publicURL or adminURL.',
    ),
    cfg.StrOpt('region_name', default='RegionOne', help='Region of the endpoint in the catalog.'),
    cfg.IntOpt(
        'http_pool_maxsize', default=10, min=1, help='Connections to Gnocchi that are kept open.'
    ),
    *keystone.OPTS,
]

PAGE_SIZE = 1000  # Gnocchi's default limit; it may be configured lower
PAGES_MAX = 100_000
ANSWER_SIZE_MAX_BYTES = 256 * 2**20
CONNECT_RETRIES_MAX = 3
READ_RETRIES_MAX = 1
BACKOFF_S = 0.2
# Statuses that are about Gnocchi or the credentials, not about the query.
TROUBLES = (401, 403, 407, 429, 502, 503, 504)
RETRIED = (429, 502, 503, 504)
HEADERS = {'Accept': 'application/json', 'Content-Type': 'application/json'}
NO_METRICS = 'Metrics not found'


class Client:
    """Client of one Gnocchi server. Thread-safe.

    :param group: section of the configuration that holds OPTS.
    :param pool_size: connections that are needed at the same time.
    :raises ConfigurationError: an option is missing or invalid.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        group: str,
        *,
        pool_size: int = 1,
        answer_size_max: int = ANSWER_SIZE_MAX_BYTES,
    ):
        options = conf[group]
        self.answer_size_max = answer_size_max
        self.timeout_s = options.timeout
        self.clock = SourceClock()
        self.name = f'Gnocchi in region {options.region_name}'
        if options.gnocchi_auth_type == 'basic':
            _check_endpoint(group, options.gnocchi_endpoint)
            self.name = f'Gnocchi at {urls.hide_login(options.gnocchi_endpoint)}'
        session = _open_session(conf, group, max(pool_size, options.http_pool_maxsize))
        self.api = gnocchi_client.SessionClient(
            session,
            service_type='metric',
            interface=options.interface,
            region_name=options.region_name,
            connect_retries=0,
        )

    def search(
        self,
        resource_type: str,
        query: Mapping,
        *,
        attributes: Sequence[str] = (),
        history: bool = False,
        details: bool = False,
    ) -> Iterator[dict]:
        """Yield the resources that match *query*, by id; with history, each of their revisions.

        :param attributes: attributes to return; empty: all.
        :param details: include attributes of types derived from *resource_type*; Gnocchi then does
            not keep the order, so that pages overlap, and queries its database for each type.
        :raises SourceUnreachable: Gnocchi did not answer, or not as a Gnocchi does.
        :raises CollectError: it refused this query.
        """
        parameters = [
            ('details', str(details).lower()),
            ('history', str(history).lower()),
            ('sort', 'id:asc'),
            ('limit', PAGE_SIZE),
            *(('attrs', name) for name in attributes),
        ]
        path = f'v1/search/resource/{parse.quote(resource_type, safe="")}'
        marker: list[tuple[str, str]] = []
        seen: set[str] = set()
        for _ in range(PAGES_MAX):
            rows, links = self._post(path, [*parameters, *marker], query)
            found = self._list(rows)
            yield from found
            following = parse.parse_qs(
                parse.urlsplit(links.get('next', {}).get('url', '')).query
            ).get('marker', [''])[0]
            if not following and len(found) >= PAGE_SIZE:
                raise self._unreachable(
                    'a full page names no next one; does a proxy remove the header Link?'
                )
            if not following:
                return
            if following in seen:
                break
            seen.add(following)
            marker = [('marker', following)]
        raise self._unreachable('the pages of an answer do not end')

    def aggregates(
        self,
        operations: str | Sequence,
        resource_type: str,
        resource_ids: Sequence[str],
        *,
        begin: datetime,
        end: datetime,
        granularity_s: int = 0,
    ) -> Iterator[tuple[str, list]]:
        """Yield (resource id, [[begin of the granule as text, its length in seconds, value]]).

        :param operations: operations to compute for each resource.
        :param granularity_s: length of a granule; 0: all available lengths.
        :raises SourceUnreachable, CollectError: see search(); not if no resource has the metric.
        """
        found = self.measures(
            operations,
            resource_type,
            {'in': {'id': list(resource_ids)}},
            groupby=['id'],
            begin=begin,
            end=end,
            granularity_s=granularity_s,
        )
        for group, rows in found:
            yield str(group['id']), rows

    def measures(
        self,
        operations: str | Sequence,
        resource_type: str,
        query: Mapping,
        *,
        groupby: Sequence[str],
        begin: datetime,
        end: datetime,
        granularity_s: int = 0,
        needed_overlap: int | None = None,
    ) -> Iterator[tuple[dict, list]]:
        """Yield (attributes of the group, granules) as aggregates() does, for resources together.

        :param query: selects resources, as in search().
        :param groupby: attributes.
        :param needed_overlap: percentage of the series of a group that must have a value; None:
            that of Gnocchi, all.
        """
        parameters: list[tuple[str, str | int]] = [
            ('details', 'false'),
            *(('groupby', name) for name in groupby),
            ('start', begin.isoformat()),
            ('stop', end.isoformat()),
        ]
        if granularity_s:
            parameters.append(('granularity', granularity_s))
        if needed_overlap is not None:
            parameters.append(('needed_overlap', needed_overlap))
        body = {'operations': operations, 'resource_type': resource_type, 'search': query}
        try:
            rows, _ = self._post('v1/aggregates', parameters, body)
        except _NoMetrics:
            return
        for row in self._list(rows):
            try:
                group = {name: row['group'][name] for name in groupby}
                yield group, row['measures']['measures']['aggregated']
            except (KeyError, TypeError) as exc:
                raise self._refused(
                    'an answer without aggregated measures; does custom_query aggregate?'
                ) from exc

    def _post(self, path, parameters, body):
        """Return the JSON of the response, and its links."""
        response = self._exchange(
            'POST', f'{path}?{parse.urlencode(parameters)}', orjson.dumps(body)
        )
        if response.status_code >= 300:
            raise self._error_of(response)
        try:
            return _loads(response.content), response.links
        except (ValueError, RecursionError) as exc:
            raise self._unreachable('the answer is no JSON') from exc

    def _exchange(self, method, path, body=None):
        """Return the complete response, whatever its status."""
        LOG.debug('%s %s: /%s %.2000s', method, self.name, path, (body or b'').decode())
        try:
            # gnocchiclient's own methods have no limit of size or time. Logging is off, because
            # keystoneauth's would read the body, too.
            with self.api.request(
                path,
                method,
                data=body,
                stream=True,
                raise_exc=False,
                log=False,
                headers=dict(HEADERS),
            ) as response:
                self.clock.read(response.headers)
                content = self._read(response)
        except (
            exceptions.ClientException,
            gnocchi_exceptions.ClientException,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
        ) as exc:
            raise self._unreachable(_cause(exc)) from exc
        whole = requests.Response()
        whole.status_code, whole.headers = response.status_code, response.headers
        whole.raw = io.BytesIO(content)
        return whole

    def _read(self, response):
        try:
            return answers.read(
                response.raw, size_max=self.answer_size_max, timeout_s=self.timeout_s
            )
        except answers.AnswerTooLarge as exc:
            raise self._refused(str(exc)) from exc
        except answers.AnswerTooSlow as exc:
            raise self._unreachable(str(exc)) from exc

    def _error_of(self, response):
        status, description = response.status_code, _description(response)
        if description is None or status in TROUBLES:
            # Not an error of Gnocchi's API: a proxy, the login, or a crash, maybe by this query.
            reason = f'HTTP status {status}'
            if status == 500 and self._works():
                return self._refused(f'{reason}; other requests are answered')
            return self._unreachable(reason)
        cause = description.get('cause', '') if isinstance(description, dict) else description
        if (status == 404 and gnocchi_exceptions.MetricNotFound.match.match(str(cause))) or (
            status == 400 and NO_METRICS in str(cause)
        ):
            return _NoMetrics()
        return self._refused(f'HTTP status {status}, {_one_line(description)}')

    def _works(self):
        """Return whether a simple request succeeds that needs the login and the database."""
        try:
            return self._exchange('GET', 'v1/resource_type/generic').status_code == 200
        except errors.CollectError:
            return False

    def _list(self, rows):
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._unreachable('the answer is not that of a Gnocchi')
        return rows

    def _refused(self, reason):
        return errors.CollectError(collector='gnocchi', reason=f'{self.name}: {reason}')

    def _unreachable(self, reason):
        return errors.SourceUnreachable(collector='gnocchi', reason=f'{self.name}: {reason}')


class _NoMetrics(Exception):
    """None of the resources has the metric."""


def _loads(content: bytes) -> Any:
    """Return the parsed JSON *content*, in which Gnocchi writes NaN and Infinity as well.

    Any tenant can add such a measure to a resource, which must not stop the others.

    :raises ValueError, RecursionError: it is no JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # Slower, and takes them for floats.
        return json.loads(content)


def _description(response):
    """Return the description of an error by Gnocchi, None if the response is not from Gnocchi."""
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    return answer.get('description') if isinstance(answer, dict) else None


def _open_session(conf, group, pool_size):
    options = conf[group]
    for name in ('cafile', 'certfile', 'keyfile'):
        if options[name] and not os.path.exists(options[name]):
            raise errors.ConfigurationError(
                reason=f'[{group}]{name}: there is no file {options[name]}'
            )
    if options.gnocchi_auth_type == 'basic':
        auth = gnocchi_auth.GnocchiBasicPlugin(options.gnocchi_user, options.gnocchi_endpoint)
        session = loading.load_session_from_conf_options(conf, group, auth=auth)
    else:
        session = keystone.load_session(conf, group)
    if options.cafile:
        session.verify = options.cafile
    retry = urllib3.Retry(
        total=CONNECT_RETRIES_MAX,
        read=READ_RETRIES_MAX,
        redirect=False,
        allowed_methods=None,
        status_forcelist=RETRIED,
        raise_on_status=False,
        backoff_factor=BACKOFF_S,
        respect_retry_after_header=False,
    )
    for adapter in session.adapters.values():
        adapter.max_retries = retry
        adapter.init_poolmanager(adapters.DEFAULT_POOLSIZE, pool_size)
        limit_heads(adapter)
    return session


def _check_endpoint(group, url):
    """Raise ConfigurationError unless *url* is a URL."""
    if not urls.is_address(url):
        shown = repr(urls.hide_login(url)) if url else 'not set'
        raise errors.ConfigurationError(
            reason=f'[{group}]gnocchi_endpoint is {shown}; allowed: a URL without /v1, such as '
            'http://127.0.0.1:8041'
        )


def _cause(exc):
    """Return one short line without credentials from URLs."""
    if isinstance(exc, requests.Timeout) or 'timed out' in str(exc):
        return 'no answer in time'
    return f'{type(exc).__name__}: {_one_line(urls.hide_login(str(exc)))}'


def _one_line(value):
    return ' '.join(str(value).split())[:300]
