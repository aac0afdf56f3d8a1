"""A client of the Prometheus HTTP API, for collectors and fetchers.

Source: https://prometheus.io/docs/prometheus/2.42/querying/api/
"""

import logging
import os
import re
import time
from datetime import datetime
from urllib import parse

import orjson
import requests
import urllib3
from oslo_config import cfg
from requests import adapters

from cloudkitty import errors, timeframe

LOG = logging.getLogger(__name__)

OPTS = [
    cfg.StrOpt('prometheus_url', default='',
               help='Base URL of the Prometheus API, up to and with /api/v1.'),
    cfg.StrOpt('prometheus_user',
               help='User for basic authentication; used only together with the password.'),
    cfg.StrOpt('prometheus_password', secret=True, help='Password for basic authentication.'),
    cfg.StrOpt('cafile', help='File of CA certificates to check the certificate of the server '
                              'with, instead of those of the system.'),
    cfg.BoolOpt('insecure', default=False,
                help='Whether to accept any certificate of the server; cafile wins.'),
    cfg.FloatOpt('timeout', default=60, min=0,
                 help='Seconds to wait for a connection, for the begin of an answer, and for the '
                      'rest of it; 0 waits for ever.'),
]

# More than this goes into the body of a POST: some proxies refuse URLs of 8 KiB.
QUERY_LENGTH_MAX = 4000
ANSWER_SIZE_MAX_BYTES = 512 * 2**20
CHUNK_SIZE_BYTES = 256 * 2**10
RETRIES_MAX = 2
BACKOFF_S = 0.2
WARNINGS_MAX = 100
# Errors of an answering server that have nothing to do with the question.
SERVER_TROUBLES = ('internal', 'unavailable')

_LABEL = re.compile(r'[a-zA-Z_][a-zA-Z0-9_]*')
_METRIC = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*')
_REGEX_SPECIAL = re.compile(r'([\\.+*?()|\[\]{}^$])')


def is_label(name: str) -> bool:
    """Return whether PromQL takes *name* as the name of a label."""
    return _LABEL.fullmatch(name) is not None


def is_metric(name: str) -> bool:
    """Return whether PromQL takes *name* as the name of a metric."""
    return _METRIC.fullmatch(name) is not None


def quote(text: str) -> str:
    """Return *text* as a PromQL string."""
    escaped = text.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
    return f'"{escaped}"'


def quote_regex(text: str) -> str:
    """Return a regular expression (RE2) that only *text* matches; not yet a PromQL string."""
    return _REGEX_SPECIAL.sub(r'\\\1', text)


class Client:
    """One server. Threads may share it.

    :param group: section of the configuration that holds OPTS, for messages.
    :param options: that section.
    :param pool_size: connections that are kept open.
    :raises ConfigurationError: an option is missing or makes no sense.
    """

    def __init__(self, group: str, options: cfg.ConfigOpts.GroupAttr, *, pool_size: int = 1,
                 answer_size_max: int = ANSWER_SIZE_MAX_BYTES):
        self.group = group
        self.url = _checked_url(group, options.prometheus_url)
        self.safe_url = _without_login(self.url)
        self.timeout_s = options.timeout or None
        self.answer_size_max = answer_size_max
        self._verify = _checked_verify(group, options)
        self._session = requests.Session()
        # Neighbours, or a fast network: packing costs more time than it saves.
        self._session.headers['Accept-Encoding'] = 'identity'
        if options.prometheus_user and options.prometheus_password:
            self._session.auth = (options.prometheus_user.encode(),
                                  options.prometheus_password.encode())
        retry = urllib3.Retry(
            total=RETRIES_MAX, read=1, redirect=False, allowed_methods=None,
            status_forcelist=(429, *range(500, 600)), raise_on_status=False,
            backoff_factor=BACKOFF_S, respect_retry_after_header=False)
        for scheme in ('http://', 'https://'):
            self._session.mount(scheme, adapters.HTTPAdapter(
                pool_connections=1, pool_maxsize=pool_size, max_retries=retry))
        self._warnings_seen: set[str] = set()

    def query(self, promql: str, at: datetime | None = None) -> list[dict]:
        """Return the series of an instant query, `{'metric': labels, 'value': [time, text]}`.

        :param at: aware datetime; None: now.
        :raises SourceUnreachable: the server did not answer, or not as a Prometheus does.
        :raises CollectError: it refused this query, or the answer is too large.
        """
        parameters = {'query': promql}
        if at is not None:
            parameters['time'] = timeframe.render(at)
        return self._ask('query', parameters, 'vector')

    def query_range(self, promql: str, begin: datetime, end: datetime,
                    step_s: int) -> list[dict]:
        """Return the series of a range query, `{'metric': labels, 'values': [[time, text]]}`.

        :param begin, end: first and last instant to evaluate *promql* at, aware.
        :raises SourceUnreachable, CollectError: see query().
        """
        return self._ask('query_range', {
            'query': promql, 'start': timeframe.render(begin), 'end': timeframe.render(end),
            'step': str(step_s)}, 'matrix')

    def _ask(self, path, parameters, result_type):
        status, body = self._exchange(path, parameters)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            reason = 'the answer is no JSON' if status < 300 else _status_text(status)
            raise self._unreachable(reason) from exc
        if not isinstance(answer, dict):
            answer = {}
        if answer.get('status') == 'error':
            raise self._refused(status, answer)
        if status >= 300:
            raise self._unreachable(_status_text(status))
        data = answer.get('data')
        if (answer.get('status') != 'success' or not isinstance(data, dict)
                or data.get('resultType') != result_type
                or not isinstance(data.get('result'), list)):
            raise self._unreachable(f'the answer is not a {result_type} of a Prometheus')
        self._warn(answer.get('warnings'))
        return data['result']

    def _exchange(self, path, parameters):
        """Return status and body."""
        if len(parameters['query']) > QUERY_LENGTH_MAX:
            method, arguments = 'POST', {'data': parameters}
        else:
            method, arguments = 'GET', {'params': parameters}
        LOG.debug('%s %s/%s %s', method, self.safe_url, path, parameters)
        try:
            # verify is given here: in the session, REQUESTS_CA_BUNDLE would win over it.
            with self._session.request(
                    method, f'{self.url}/{path}', stream=True, verify=self._verify,
                    timeout=self.timeout_s, **arguments) as response:
                return response.status_code, self._read(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
            raise self._unreachable(_cause(exc)) from exc

    def _read(self, response):
        body = bytearray()
        deadline = time.monotonic() + self.timeout_s if self.timeout_s else None
        # read1 returns what has come; read() would wait for a full chunk, however slow it comes.
        while chunk := response.raw.read1(CHUNK_SIZE_BYTES, decode_content=True):
            body += chunk
            if len(body) > self.answer_size_max:
                raise self._error(errors.CollectError,
                                  f'the answer has more than {self.answer_size_max} bytes')
            if deadline and time.monotonic() > deadline:
                raise self._unreachable(f'the answer took more than {self.timeout_s} s')
        return bytes(body)

    def _refused(self, status, answer):
        kind = str(answer.get('errorType'))
        reason = f'{kind}: {str(answer.get("error"))[:500]}'
        if kind in SERVER_TROUBLES:
            return self._unreachable(f'{_status_text(status)}, {reason}')
        return self._error(errors.CollectError, f'query refused, {reason}')

    def _unreachable(self, reason):
        return self._error(errors.SourceUnreachable, reason)

    def _error(self, kind, reason):
        return kind(collector='prometheus', reason=f'{self.safe_url}: {reason}')

    def _warn(self, warnings):
        for warning in warnings if isinstance(warnings, list) else ():
            text = str(warning)[:500]
            # Some servers put changing details into a warning: remember a bounded number.
            if text not in self._warnings_seen and len(self._warnings_seen) < WARNINGS_MAX:
                self._warnings_seen.add(text)
                LOG.warning('%s warns, shown once: %s', self.safe_url, text)


def _checked_url(group, url):
    try:
        parts = parse.urlsplit(url or '')
        usable = (parts.scheme in ('http', 'https') and parts.hostname and parts.port != 0
                  and parts.path.rstrip('/').endswith('/api/v1')
                  and not parts.query and not parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        shown = repr(_without_login(url)) if url else 'not set'
        raise errors.ConfigurationError(
            reason=f'[{group}]prometheus_url is {shown}; allowed: a URL up to and with /api/v1, '
                   'such as http://127.0.0.1:9090/api/v1')
    return url.rstrip('/')


def _checked_verify(group, options):
    if options.cafile and not os.path.exists(options.cafile):
        raise errors.ConfigurationError(
            reason=f'[{group}]cafile: there is no file {options.cafile}')
    if options.insecure and not options.cafile:
        # Said once, here, in place of once a request.
        LOG.warning('[%s]insecure: the certificate of the server is not checked.', group)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return options.cafile or not options.insecure


def _without_login(url):
    return re.sub(r'//[^/]*@', '//', url)


def _status_text(status):
    hint = ' (check prometheus_user and prometheus_password)' if status == 401 else ''
    return f'HTTP status {status}{hint}'


def _cause(exc):
    """Return one short line: the inner error has the reason, the outer ones repeat the URL."""
    if isinstance(exc, requests.Timeout):
        return 'no answer in time'
    inner = exc.args[0] if exc.args else exc
    inner = getattr(inner, 'reason', None) or inner
    return f'{type(exc).__name__}: {" ".join(str(inner).split())[:300]}'
