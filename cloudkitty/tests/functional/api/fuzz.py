"""Requests that schemathesis makes up from the description, sent to the real application."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
import webob
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

# What is true of every answer; that a valid request succeeds is not, ids may be unknown.
CHECKS = (
    'not_a_server_error',
    'status_code_conformance',
    'content_type_conformance',
    'response_headers_conformance',
    'response_schema_conformance',
)
# Of one answer, whatever is asked.
TIME_MAX_S = 5
SIZE_MAX_BYTES = 64 * 2**20
HASHMAP = '/v1/rating/module_config/hashmap'
SCRIPTS = '/v1/rating/module_config/pyscripts/scripts'
# Its account has a scope that nobody rates, so nothing keeps its months open.
DOCUMENT = {
    'plans': {'p': {'currency': 'EUR', 'items': [{'name': 'fee', 'price': {'flat': '5'}}]}},
    'accounts': {'acme': {'scopes': ['x'], 'plan': 'p'}},
}
BILLING = ('/v2/billing', '/v2/statements', '/v2/budgets')
BUDGET = {'account_id': 'acme', 'amount': '5'}
CREDIT = {'amount': '5', 'currency': 'EUR'}
FIXED = {
    'module_id': ['hashmap', 'noop', 'pyscripts'],
    'tenant_id': ['p1', 'p2'],
    'scope_id': ['p1', 'p2', 'p3'],
    'filters': ['type:instance', 'project_id:p2', 'id:u1'],
    'groupby': ['type', 'project_id', 'id', 'time', 'time-d', 'time-y'],
    'metric_name': ['instance'],
    'custom_fields': ['sum(price) AS total', 'MAX(qty)', '*'],
    'begin': ['2018-12-31', '2019-01-01T00:00:00Z'],
    'end': ['2019-01-01T01:00:00', '2020-01'],
    'scope_ids': ['ALL', 'p1', ['p1', 'p2'], 'p3'],
    'reason': ['wrong price'],
    'start_reprocess_time': ['2018-12-31T22:00:00Z', '2018-12-31T23:00:00+00:00'],
    'end_reprocess_time': ['2019-01-01', '2018-12-31T23:00:00Z'],
    'last_processed_timestamp': ['2019-01-01T05:00:00Z'],
    'month': ['2019-01', '2019-02'],
    'from_month': ['2018-01', '2019-02'],
    'account_id': ['acme', 'p1'],
    'document': [DOCUMENT],
    'format': ['json', 'html'],
    'position': [1],
    'resource': ['u1'],
    'period': ['2019-01-01'],
}


class Pool:
    """Values that exist, by the name of their parameter; kept full over the API."""

    def __init__(self, application, headers: Mapping[str, str]):
        self._application = application
        self._headers = headers
        self.values: dict[str, list] = {}

    def refill(self, path: str) -> None:
        """Look at what is there; make what is missing for requests to *path*."""
        self.values = dict(FIXED)
        service_id = self._some('services', 'service_id', {'name': 'instance'})
        field_id = self._some(
            'fields',
            'field_id',
            {'name': 'flavor', 'service_id': service_id},
            f'?service_id={service_id}',
        )
        group_id = self._some('groups', 'group_id', {'name': 'g'})
        self._some(
            'mappings',
            'mapping_id',
            {'field_id': field_id, 'value': 'm1', 'cost': 1, 'group_id': group_id},
        )
        self._some(
            'thresholds',
            'threshold_id',
            {'service_id': service_id, 'level': 1, 'cost': 1, 'group_id': group_id},
            f'?service_id={service_id}',
        )
        self._some('scripts', 'script_id', {'name': 's', 'data': 'pass'}, base=SCRIPTS)
        if path.startswith(BILLING):
            self._refill_billing()

    def _refill_billing(self):
        if 'acme' not in json.dumps(self._send('GET', '/v2/billing/accounts')):
            form = {'document': DOCUMENT, 'from_month': '2018-01'}
            self._send('PUT', '/v2/billing/document', form)
        for name, path, new in (
            ('number', '/v2/statements', {'account_id': 'acme', 'month': '2019-01'}),
            ('budget_id', '/v2/budgets?account_id=acme', BUDGET),
            ('credit_id', '/v2/billing/accounts/acme/credits', CREDIT),
        ):
            found = self._send('GET', path)['results']
            if not found:
                found = [self._send('POST', path.partition('?')[0], new)]
            self.values[name] = [form['number' if name == 'number' else 'id'] for form in found]

    def _some(self, collection, name, new, question='', base=None):
        """Return one id of a collection; note all of them."""
        path = base or f'{HASHMAP}/{collection}'
        found = self._send('GET', path + question)[collection]
        if not found:
            found = [self._send('POST', path, new)]
        self.values[name] = [form[name] for form in found]
        return found[0][name]

    def _send(self, method, path, form=None):
        request = webob.Request.blank(path, method=method, headers=dict(self._headers))
        if form is not None:
            request.content_type = 'application/json'
            request.body = json.dumps(form).encode()
        answer = request.get_response(self._application)
        assert answer.status_int < 300, f'{method} {path}: {answer.text}'
        return answer.json

    def fill_in(self, given: Any, choose) -> Any:
        """Return *given*, some of its members replaced by values that exist."""
        if not isinstance(given, dict):
            return given
        return {
            name: choose.choice(self.values[name])
            if name in self.values and choose.random() < 0.7
            else value
            for name, value in given.items()
        }


class _Timed:
    """A WSGI application that notes how long it took: making up a request may take longer.

    :ivar taken_s: what the last request took, with all of its answer, without the time in which
        a busy machine gave this thread no processor.
    """

    def __init__(self, application):
        self._application = application
        self.taken_s = 0.0

    def __call__(self, environ, start_response):
        begin = _time_with_processor()
        answer = self._application(environ, start_response)
        try:
            return list(answer)
        finally:
            if hasattr(answer, 'close'):
                answer.close()
            self.taken_s = _time_with_processor() - begin


def _time_with_processor():
    """Return a time that stands still while this thread waits for a processor, seconds."""
    waited_ns = int(Path('/proc/thread-self/schedstat').read_text().split()[1])
    return time.monotonic() - waited_ns / 1e9


class Fuzz:
    """A run.

    :param hidden: text in the data of another project, which no answer may contain; '': none.
    :ivar sent: number of requests.
    :ivar problems: what was wrong, the text of the first one for each operation and kind.
    :ivar statuses: number of answers by status.
    :ivar slowest_s, largest_bytes: what the worst of the answers took.
    """

    def __init__(self, application, headers: Mapping[str, str], pool: Pool, *, hidden: str = ''):
        self._application = _Timed(application)
        self._schema = schemathesis.openapi.from_wsgi('/openapi.json', self._application)
        self._checks = [checks.CHECKS.get_one(name) for name in CHECKS]
        self._headers = headers
        self._pool = pool
        self._hidden = hidden.encode()
        self.sent = 0
        self.problems: dict[tuple, str] = {}
        self.statuses: dict[int, int] = {}
        self.slowest_s = 0.0
        self.largest_bytes = 0

    def _hides(self, case) -> bool:
        """Return whether nothing that is hidden may be in the answer, whatever is asked.

        A quote is a product with what is asked: a volume of 1e30 has as many zeros.
        """
        return bool(self._hidden) and not case.operation.path.endswith('/quote')

    def operations(self) -> Iterator:
        """Yield what the description names, but for the old names of other operations."""
        for result in self._schema.get_all_operations():
            operation = result.ok()
            if not operation.definition.raw.get('deprecated'):
                yield operation

    def run(self, requests: int, seed: int) -> None:
        """Send at least so many requests, spread over operations, valid and invalid ones."""
        operations = list(self.operations())
        while self.sent < requests:
            share = -(-(requests - self.sent) // (2 * len(operations)))
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    self._pool.refill(operation.path)
                    seed += 1
                    self._run(operation, mode, share, seed)

    def _run(self, operation, mode, count, seed):
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(
            case=operation.as_strategy(generation_mode=mode),
            choose=st.randoms(use_true_random=False),
        )
        def send(case, choose):
            self._send(case, choose)

        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            # Nothing about this operation can be wrong.
            assert mode is GenerationMode.NEGATIVE

    def _send(self, case, choose):
        case.path_parameters = self._pool.fill_in(case.path_parameters, choose)
        case.query = self._pool.fill_in(case.query, choose)
        case.body = self._pool.fill_in(case.body, choose)
        # Tokens are made up too.
        case.headers = {**(case.headers or {}), **self._headers}
        self.sent += 1
        try:
            response = case.call()
            taken_s, size_bytes = self._application.taken_s, len(response.content)
            self.slowest_s = max(self.slowest_s, taken_s)
            self.largest_bytes = max(self.largest_bytes, size_bytes)
            assert taken_s <= TIME_MAX_S, f'{case.as_curl_command()}: {taken_s:.1f} s'
            assert size_bytes <= SIZE_MAX_BYTES, f'{case.as_curl_command()}: {size_bytes} bytes'
            if self._hides(case) and self._hidden in response.content:
                # What was asked may be repeated in an error.
                asked = case.as_curl_command()
                assert self._hidden in asked.encode(), f'{asked}: data of another project'
            self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
            case.validate_response(response, checks=self._checks)
        except (AssertionError, BaseExceptionGroup) as exc:
            self.problems.setdefault((case.operation.label, type(exc).__name__), str(exc))
