"""A client of the Prometheus HTTP API, for collectors and fetchers.

Source: https://prometheus.io/docs/prometheus/2.42/querying/api/
"""

import logging
import re
from datetime import datetime, timedelta

import orjson

from cloudkitty import errors, timeframe
from cloudkitty.clients import answers
from cloudkitty.clients.prometheus_access import AccessFailed, Direct, Proxied

LOG = logging.getLogger(__name__)

# More than this goes into the body of a POST: some proxies refuse URLs of 8 KiB.
URL_QUERY_LENGTH_MAX = 4000
# The common servers of Python applications take 4 KiB of URL and headers.
URL_LIST_LENGTH_MAX = 2500
ANSWER_SIZE_MAX_BYTES = 512 * 2**20
WARNINGS_MAX = 100
# Neighbours, or a fast network: packing costs more time than it saves.
HEADERS = {'Accept': 'application/json', 'Accept-Encoding': 'identity'}
# Statuses that say that something is wrong with the question, not with the server.
REFUSALS = (400, 413, 414, 422)
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

    :param access: the way to it, see prometheus_access.
    :param owner: name of the collector, for errors.
    """

    def __init__(self, access: Direct | Proxied, *, owner: str = 'prometheus',
                 answer_size_max: int = ANSWER_SIZE_MAX_BYTES):
        self._access = access
        self._owner = owner
        self.safe_url = access.name
        self.answer_size_max = answer_size_max
        self._warnings_seen: set[str] = set()

    @property
    def list_length_max(self) -> int | None:
        """How long what a query lists may be, encoded for a URL; None: any."""
        return None if self._access.takes_bodies else URL_LIST_LENGTH_MAX

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

    def query_range(self, promql: str, begin: datetime, end: datetime, step_s: int, *,
                    size_max: int | None = None) -> list[dict]:
        """Return the series of a range query, `{'metric': labels, 'values': [[time, text]]}`.

        :param begin, end: first and last instant to evaluate *promql* at, aware.
        :param size_max: a larger answer is refused, bytes; None: the client's limit.
        :raises SourceUnreachable, CollectError: see query().
        """
        if not self._access.takes_ranges:
            return self._query_steps(promql, begin, end, step_s)
        return self._ask('query_range', {
            'query': promql, 'start': timeframe.render(begin), 'end': timeframe.render(end),
            'step': str(step_s)}, 'matrix', size_max)

    def _query_steps(self, promql, begin, end, step_s):
        """Answer as query_range() does with instant queries, with one where that is possible."""
        if int(end.timestamp()) % step_s == 0:
            # A subquery is evaluated at the multiples of its step. Its range includes the begin up
            # to Prometheus 2 only: with a second more, the first instant is in it always.
            range_s = int((end - begin).total_seconds()) + 1
            return self._ask('query', {'query': f'({promql})[{range_s}s:{step_s}s]',
                                       'time': timeframe.render(end)}, 'matrix')
        found, step = [], timedelta(seconds=step_s)
        for number in range((end - begin) // step + 1):
            found += [{'metric': series['metric'], 'values': [series['value']]}
                      for series in self.query(promql, begin + number * step)]
        return found

    def _ask(self, path, parameters, result_type, size_max=None):
        status, body = self._exchange(path, parameters, size_max or self.answer_size_max)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            reason = 'the answer is no JSON' if status < 300 else self._status_text(status)
            raise self._unreachable(reason) from exc
        if not isinstance(answer, dict):
            answer = {}
        if answer.get('status') == 'error':
            raise self._refused(status, answer)
        if status in REFUSALS:
            # A proxy's own words.
            fault = answer.get('error_message')
            text = fault.get('faultstring') if isinstance(fault, dict) else answer.get('message')
            raise self._error(errors.CollectError,
                              f'query refused, HTTP status {status}: {str(text)[:300]}')
        if status >= 300:
            raise self._unreachable(self._status_text(status))
        if answer.get('isPartial'):
            raise self._unreachable('the answer is partial: some of its stores are away')
        data = answer.get('data')
        if (answer.get('status') != 'success' or not isinstance(data, dict)
                or data.get('resultType') != result_type
                or not isinstance(data.get('result'), list)):
            raise self._unreachable(f'the answer is not a {result_type} of a Prometheus')
        self._warn(answer.get('warnings'))
        return data['result']

    def _exchange(self, path, parameters, size_max):
        """Return status and body."""
        shown, parameters = parameters, {**parameters, **self._access.extra_parameters}
        if self._access.takes_bodies and len(parameters['query']) > URL_QUERY_LENGTH_MAX:
            method, arguments = 'POST', {'data': parameters}
        else:
            method, arguments = 'GET', {'params': parameters}
        LOG.debug('%s %s/%s %s', method, self.safe_url, path, shown)
        try:
            with self._access.open(method, path, headers=dict(HEADERS), **arguments) as response:
                return response.status_code, self._read(response, size_max)
        except AccessFailed as exc:
            raise self._unreachable(str(exc)) from exc

    def _read(self, response, size_max):
        try:
            return answers.read(response.raw, size_max=size_max,
                                timeout_s=self._access.timeout_s)
        except answers.AnswerTooLarge as exc:
            raise self._error(errors.AnswerTooLarge, str(exc)) from exc
        except answers.AnswerTooSlow as exc:
            raise self._unreachable(str(exc)) from exc

    def _refused(self, status, answer):
        kind = str(answer.get('errorType'))
        reason = f'{kind}: {str(answer.get("error"))[:500]}'
        if kind in SERVER_TROUBLES:
            return self._unreachable(f'{self._status_text(status)}, {reason}')
        return self._error(errors.CollectError, f'query refused, {reason}')

    def _status_text(self, status):
        hint = f' ({self._access.login_hint})' if status in (401, 403) else ''
        return f'HTTP status {status}{hint}'

    def _unreachable(self, reason):
        return self._error(errors.SourceUnreachable, reason)

    def _error(self, kind, reason):
        return kind(collector=self._owner, reason=f'{self.safe_url}: {reason}')

    def _warn(self, warnings):
        for warning in warnings if isinstance(warnings, list) else ():
            text = str(warning)[:500]
            # Some servers put changing details into a warning: remember a bounded number.
            if text not in self._warnings_seen and len(self._warnings_seen) < WARNINGS_MAX:
                self._warnings_seen.add(text)
                LOG.warning('%s warns, shown once: %s', self.safe_url, text)
