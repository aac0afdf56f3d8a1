"""Readers of Elasticsearch 6 to 8 and OpenSearch 1 and 2: a document is a rated point.

Nothing made documents unique, so two that are equal may be two points or one that was written
twice: both are read.
"""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import former, http
from cloudkitty.storage.former import Point, Sum, documents

PAGE_SIZE = 5000
SCROLL = '5m'
TIMEOUT_S = 120
BUCKETS_AT_ONCE = 1000
_MILLISECOND = timedelta(milliseconds=1)


class ElasticsearchReader(former.Reader):
    """Elasticsearch.

    :cvar text_field: suffix of the fields by which text is grouped.
    """

    GROUP = 'storage_elasticsearch'
    OPTS = [
        cfg.StrOpt(
            'host',
            default='http://localhost:9200',
            # It may contain a password.
            secret=True,
            help='Base URL; user and password stand before the host and an @.',
        ),
        cfg.StrOpt(
            'index_name', default='cloudkitty', help='Index or data stream that holds rated data.'
        ),
        *http.tls_options(),
        cfg.IntOpt(
            'scroll_duration',
            default=30,
            help='Accepted and not used: a scroll is kept for five minutes.',
        ),
        cfg.BoolOpt(
            'use_datastream',
            default=False,
            help='Accepted and not used: an index and a data stream are read alike.',
        ),
    ]
    text_field = ''

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        options = self.options
        self._server = http.PatientServer(
            self.GROUP,
            options.host,
            timeout_s=TIMEOUT_S,
            cafile=options.cafile,
            is_insecure=options.insecure,
        )
        self._maker = documents.PointMaker(self)

    def extent(self) -> Period | None:
        bounds = {
            name: {function: {'field': 'start'}}
            for name, function in (('first', 'min'), ('last', 'max'))
        }
        found = self._search({'size': 0, 'aggs': bounds})['aggregations']
        first, last = found['first'].get('value'), found['last'].get('value')
        if first is None or last is None:
            return None
        return Period(
            timeframe.EPOCH + int(first) * _MILLISECOND,
            timeframe.EPOCH + int(last) * _MILLISECOND + timedelta(seconds=1),
        )

    def read(self, window: Period) -> Iterator[Point]:
        self._maker.forget()
        for hit in self._hits(window):
            document = hit.get('_source')
            # OpenSearch was given the mapping of the index as a document.
            if isinstance(document, dict) and document.keys() == {'dynamic', 'properties'}:
                continue
            point = self._maker.point(document)
            if point is not None:
                yield point

    def sums(self, window: Period) -> Mapping[tuple[str, str], Sum] | None:
        found: dict[tuple[str, str], Sum] = {}
        after: Mapping[str, Any] | None = None
        while True:
            page = self._sums_page(window, after)
            for bucket in page['buckets']:
                key = bucket['key']
                sums = (former.number(bucket[name]['value'], str(key)) for name in ('qty', 'price'))
                found[str(key['scope'] or ''), str(key['metric'] or '')] = Sum(*sums)
            after = page.get('after_key')
            if not page['buckets'] or after is None:
                return found

    def _sums_page(self, window: Period, after: Mapping[str, Any] | None) -> Any:
        fields = {
            'scope': f'groupby.{self.scope_key}{self.text_field}',
            'metric': f'type{self.text_field}',
        }
        composite: dict[str, Any] = {
            'size': BUCKETS_AT_ONCE,
            'sources': [
                {name: {'terms': {'field': field, 'missing_bucket': True}}}
                for name, field in fields.items()
            ],
        }
        if after is not None:
            composite['after'] = after
        sums = {name: {'sum': {'field': name}} for name in ('qty', 'price')}
        query = {
            'size': 0,
            'query': _begins_in(window),
            'aggs': {'groups': {'composite': composite, 'aggs': sums}},
        }
        return self._search(query)['aggregations']['groups']

    def _hits(self, window: Period) -> Iterator[Mapping[str, Any]]:
        query = {
            'size': PAGE_SIZE,
            'sort': ['_doc'],
            'track_total_hits': True,
            'query': _begins_in(window),
        }
        answer = self._search(query, scroll=SCROLL)
        total = answer['hits']['total']
        total = total['value'] if isinstance(total, dict) else total
        count = 0
        try:
            while answer['hits']['hits']:
                count += len(answer['hits']['hits'])
                yield from answer['hits']['hits']
                answer = self._ask(
                    'POST',
                    '_search/scroll',
                    json={'scroll': SCROLL, 'scroll_id': answer['_scroll_id']},
                )
        finally:
            self._close(answer.get('_scroll_id'))
        if count != total:
            raise self._server.error(f'the scroll returned {count} documents instead of {total}')

    def _close(self, scroll_id: str | None) -> None:
        # A scroll that is left open expires.
        with contextlib.suppress(errors.SourceError):
            self._server.ask('DELETE', '_search/scroll', json={'scroll_id': [scroll_id]})

    def _search(self, query: Mapping[str, Any], **parameters: str) -> Any:
        path = f'{self.options.index_name}/_search'
        return self._ask('POST', path, json=query, params=parameters)

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        """Return a whole answer.

        :raises SourceError: there is none, or parts of the index did not answer.
        """
        answer = self._server.ask(method, path, **arguments)
        try:
            failed = answer['_shards']['failed']
            # Both are looked up here, so that callers can rely on them.
            is_late, _ = answer['timed_out'], answer['hits']['hits']
        except (LookupError, TypeError) as exc:
            raise self._server.error('the answer is not a search result') from exc
        if failed or is_late:
            raise self._server.error(
                f'the answer is incomplete: {failed} shards failed, timed out: {is_late}'
            )
        return answer


class OpenSearchReader(ElasticsearchReader):
    """OpenSearch. Its index had no mapping: text is grouped by its keyword subfield, numbers are
    summed as 32-bit floats.
    """

    GROUP = 'storage_opensearch'
    text_field = '.keyword'
    sums_tolerance = Decimal('1e-6')


def _begins_in(window: Period) -> dict[str, Any]:
    bounds = {'gte': window.begin.isoformat(), 'lt': window.end.isoformat()}
    return {'bool': {'filter': [{'range': {'start': bounds}}]}}
