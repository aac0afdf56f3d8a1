"""Client of the Prometheus HTTP API for collectors and fetchers.

Source: https://prometheus.io/docs/prometheus/2.42/querying/api/
"""

import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson

from cloudkitty import errors
from cloudkitty.clients import answers
from cloudkitty.clients.prometheus_access import AccessFailed, Direct, Proxied
from cloudkitty.clients.source_clock import SourceClock
from cloudkitty.core import timeframe

LOG = logging.getLogger(__name__)

# Longer queries are sent in the body of a POST: some proxies refuse URLs of 8 KiB.
URL_QUERY_LENGTH_MAX = 4000
# Common Python web servers accept 4 KiB of URL and headers.
URL_LIST_LENGTH_MAX = 2500
ANSWER_SIZE_MAX_BYTES = 512 * 2**20
WARNINGS_MAX = 100
# On a fast network, compression costs more time than it saves.
HEADERS = {'Accept': 'application/json', 'Accept-Encoding': 'identity'}
# Statuses that mean that the query is wrong, not the server.
REFUSALS = (400, 413, 414, 422)
# Error types in a response that have nothing to do with the query.
SERVER_TROUBLES = ('internal', 'unavailable')

_LABEL = re.compile(r'[a-zA-Z_][a-zA-Z0-9_]*')
_METRIC = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*')
_REGEX_SPECIAL = re.compile(r'([\\.+*?()|\[\]{}^$])')


def is_label(name: str) -> bool:
    """Return whether *name* is a valid label name in PromQL."""
    return _LABEL.fullmatch(name) is not None


def is_metric(name: str) -> bool:
    """Return whether *name* is a valid metric name in PromQL."""
    return _METRIC.fullmatch(name) is not None


def label(name: str) -> str:
    """Return the label *name* as PromQL, quoted if needed; only Prometheus 3 allows dots."""
    return name if is_label(name) else quote(name)


def selector(name: str, matchers: str) -> str:
    """Return the PromQL selector for the series of metric *name* that match *matchers*."""
    if is_metric(name):
        return f'{name}{{{matchers}}}' if matchers else name
    return f'{{{", ".join(filter(None, (quote(name), matchers)))}}}'


def quote(text: str) -> str:
    """Return *text* as a PromQL string."""
    escaped = text.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
    return f'"{escaped}"'


def quote_regex(text: str) -> str:
    """Return a regular expression (RE2) that matches only *text*, not yet as a PromQL string."""
    return _REGEX_SPECIAL.sub(r'\\\1', text)


def one_of(name: str, values: Sequence[str]) -> str:
    """Return the PromQL matcher of the label *name* for a list of values."""
    return f'{label(name)}=~{quote("|".join(map(quote_regex, values)))}'


class Client:
    """Client of one server. Thread-safe.

    :param access: the access to it, see prometheus_access.
    :param owner: name of the collector, for errors.
    """

    def __init__(
        self,
        access: Direct | Proxied,
        *,
        owner: str = 'prometheus',
        answer_size_max: int = ANSWER_SIZE_MAX_BYTES,
    ):
        self._access = access
        self._owner = owner
        self.safe_url = access.name
        self.answer_size_max = answer_size_max
        self.clock = SourceClock()
        self._warnings_seen: set[str] = set()

    @property
    def list_length_max(self) -> int | None:
        """Most characters, encoded for a URL, of the list in a query; None: no limit."""
        return None if self._access.takes_bodies else URL_LIST_LENGTH_MAX

    def query(self, promql: str, at: datetime | None = None) -> list[dict]:
        """Return the series of an instant query, `{'metric': labels, 'value': [time, text]}`.

        :param at: aware datetime; None: now.
        :raises SourceUnreachable: the server did not respond, or not like a Prometheus.
        :raises CollectError: it refused this query, or the response is too large.
        """
        parameters = {'query': promql}
        if at is not None:
            parameters['time'] = timeframe.render(at)
        return self._ask('query', parameters, 'vector')

    def query_samples(self, selector: str, range_s: int, at: datetime) -> list[dict]:
        """Return the raw samples of series, `{'metric': labels, 'values': [[time, text]]}`.

        :param range_s: length of the range before *at*; both ends may be included.
        :raises SourceUnreachable, CollectError: see query().
        """
        parameters = {'query': f'{selector}[{range_s}s]', 'time': timeframe.render(at)}
        return self._ask('query', parameters, 'matrix')

    def metric_names(self) -> list[str]:
        """Return the names of all metrics that the server has stored.

        :raises SourceUnreachable, CollectError: see query().
        """
        data = self._answer('label/__name__/values', {})
        return [name for name in data if isinstance(name, str)] if isinstance(data, list) else []

    def metric_type(self, name: str) -> str | None:
        """Return the type of the metric in the metadata, such as `counter`; None: it is unknown.

        :raises SourceUnreachable, CollectError: see query().
        """
        data = self._answer('metadata', {'metric': name})
        told = data.get(name) if isinstance(data, dict) else None
        if not isinstance(told, list) or not told or not isinstance(told[0], dict):
            return None
        return told[0].get('type')

    def query_range(
        self,
        promql: str,
        begin: datetime,
        end: datetime,
        step_s: int,
        *,
        size_max: int | None = None,
    ) -> list[dict]:
        """Return the series of a range query, `{'metric': labels, 'values': [[time, text]]}`.

        :param begin, end: first and last instant to evaluate *promql* at, aware.
        :param size_max: most bytes of a response; None: the client's limit.
        :raises SourceUnreachable, CollectError: see query().
        """
        if not self._access.takes_ranges:
            return self._query_steps(promql, begin, end, step_s)
        return self._ask(
            'query_range',
            {
                'query': promql,
                'start': timeframe.render(begin),
                'end': timeframe.render(end),
                'step': str(step_s),
            },
            'matrix',
            size_max,
        )

    def _query_steps(self, promql, begin, end, step_s):
        """Emulate query_range() with instant queries, with a single one if possible."""
        if int(end.timestamp()) % step_s == 0:
            # A subquery is evaluated at multiples of its step. Its range only includes the begin up
            # to Prometheus 2: with a second more, the first instant is always included.
            range_s = int((end - begin).total_seconds()) + 1
            return self._ask(
                'query',
                {'query': f'({promql})[{range_s}s:{step_s}s]', 'time': timeframe.render(end)},
                'matrix',
            )
        found, step = [], timedelta(seconds=step_s)
        for number in range((end - begin) // step + 1):
            found += [
                {'metric': series['metric'], 'values': [series['value']]}
                for series in self.query(promql, begin + number * step)
            ]
        return found

    def _ask(self, path, parameters, result_type, size_max=None):
        data = self._answer(path, parameters, size_max)
        if (
            not isinstance(data, dict)
            or data.get('resultType') != result_type
            or not isinstance(data.get('result'), list)
        ):
            raise self._unreachable(f'the answer is not a {result_type} of a Prometheus')
        return data['result']

    def _answer(self, path, parameters, size_max=None):
        """Return the data of a response."""
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
            # A response of a proxy.
            fault = answer.get('error_message')
            text = fault.get('faultstring') if isinstance(fault, dict) else answer.get('message')
            raise self._error(
                errors.CollectError, f'query refused, HTTP status {status}: {str(text)[:300]}'
            )
        if status >= 300:
            raise self._unreachable(self._status_text(status))
        if answer.get('isPartial'):
            raise self._unreachable('the answer is partial: some of its stores are away')
        if answer.get('status') != 'success':
            raise self._unreachable('the answer is not that of a Prometheus')
        self._warn(answer.get('warnings'))
        return answer.get('data')

    def _exchange(self, path, parameters, size_max):
        """Send a request; return status and body."""
        shown, parameters = parameters, {**parameters, **self._access.extra_parameters}
        if self._access.takes_bodies and len(parameters.get('query', '')) > URL_QUERY_LENGTH_MAX:
            method, arguments = 'POST', {'data': parameters}
        else:
            method, arguments = 'GET', {'params': parameters}
        LOG.debug('%s %s/%s %s', method, self.safe_url, path, shown)
        try:
            with self._access.open(method, path, headers=dict(HEADERS), **arguments) as response:
                self.clock.read(response.headers)
                return response.status_code, self._read(response, size_max)
        except AccessFailed as exc:
            raise self._unreachable(str(exc)) from exc

    def _read(self, response, size_max):
        try:
            return answers.read(response.raw, size_max=size_max, timeout_s=self._access.timeout_s)
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
            # Some servers put changing details into warnings: only a bounded number is kept.
            if text not in self._warnings_seen and len(self._warnings_seen) < WARNINGS_MAX:
                self._warnings_seen.add(text)
                LOG.warning('%s warns, shown once: %s', self.safe_url, text)
