"""A small Elasticsearch or OpenSearch: one index, as the documentation of its REST API says.

Sources: https://www.elastic.co/guide/en/elasticsearch/reference/7.17/search-search.html,
https://docs.opensearch.org/latest/api-reference/search-apis/scroll/
"""

import json
from datetime import datetime
from decimal import Decimal

from cloudkitty.tests import faults

INDEX = 'cloudkitty'


class Search:
    """The answer of a FaultyServer.

    :param documents: those of the index.
    :param text_field: suffix of the fields that text is grouped by.
    :param is_six: whether totals are plain numbers, as before release 7.
    :param page_size: documents in a page at most.
    :ivar scrolls: documents that are left, by the id of an open scroll.
    :ivar spoil: called with each answer of a search, to change it.
    """

    def __init__(self, documents, *, text_field='', is_six=False, page_size=5000):
        self.documents = documents
        self.text_field = text_field
        self.is_six = is_six
        self.page_size = page_size
        self.scrolls = {}
        self.spoil = lambda answer: answer

    def __call__(self, handler, request):
        body = json.loads(request.body or '{}')
        if request.path == '/_search/scroll':
            status, answer = self._scroll(request.method, body)
        elif request.path != f'/{INDEX}/_search':
            reason = {'type': 'index_not_found_exception', 'reason': 'no such index'}
            status, answer = 404, {'error': reason, 'status': 404}
        else:
            status, answer = 200, self._search(body, 'scroll=' in request.query)
        text = json.dumps(answer, default=float)
        faults.text(text, status=status, content_type='application/json')(handler, request)

    def _scroll(self, method, body):
        if method == 'DELETE':
            for scroll_id in body['scroll_id']:
                self.scrolls.pop(scroll_id, None)
            return 200, {'succeeded': True}
        if body['scroll_id'] not in self.scrolls:
            reason = {'type': 'search_context_missing_exception', 'reason': 'No search context'}
            return 404, {'error': reason, 'status': 404}
        return 200, self._page(body['scroll_id'])

    def _page(self, scroll_id):
        left = self.scrolls[scroll_id]
        self.scrolls[scroll_id] = left[self.page_size :]
        return {'_scroll_id': scroll_id, **self._answer(left[: self.page_size], len(left))}

    def _answer(self, documents, total):
        hits = [
            {'_index': INDEX, '_id': str(number), '_source': document}
            for number, document in enumerate(documents)
        ]
        found = total if self.is_six else {'value': total, 'relation': 'eq'}
        return self.spoil(
            {
                'took': 1,
                'timed_out': False,
                '_shards': {'total': 1, 'successful': 1, 'failed': 0},
                'hits': {'total': found, 'hits': hits},
            }
        )

    def _search(self, body, is_scroll):
        documents = self._matching(body.get('query'))
        if is_scroll:
            scroll_id = f'scroll-{len(self.scrolls)}'
            self.scrolls[scroll_id] = documents
            return self._page(scroll_id)
        answer = self._answer([], len(documents))
        if 'aggs' in body:
            answer['aggregations'] = self._aggregations(body['aggs'], documents)
        return answer

    def _matching(self, query):
        if query is None:
            return self.documents
        ((filtered,),) = (query['bool']['filter'],)
        bounds = filtered['range']['start']
        begin, end = (datetime.fromisoformat(bounds[name]) for name in ('gte', 'lt'))
        return [
            document
            for document in self.documents
            if 'start' in document and begin <= datetime.fromisoformat(document['start']) < end
        ]

    def _aggregations(self, asked, documents):
        if 'groups' in asked:
            return {'groups': self._groups(asked['groups'], documents)}
        times = [
            datetime.fromisoformat(document['start']).timestamp() * 1000
            for document in documents
            if 'start' in document
        ]
        return {
            name: {'value': {'min': min, 'max': max}[next(iter(one))](times, default=None)}
            for name, one in asked.items()
        }

    def _groups(self, asked, documents):
        composite = asked['composite']
        names = [
            (name, source['terms']['field'])
            for one in composite['sources']
            for name, source in one.items()
        ]
        sums = {}
        for document in documents:
            key = tuple(self._value(document, field) for _, field in names)
            own = sums.setdefault(key, {name: Decimal(0) for name in asked['aggs']})
            for name in own:
                own[name] += Decimal(str(document[name]))
        keys = sorted(sums, key=lambda key: tuple(part or '' for part in key))
        if 'after' in composite:
            keys = keys[keys.index(tuple(composite['after'].values())) + 1 :]
        keys = keys[: composite['size']]
        found = {
            'buckets': [
                {
                    'key': dict(zip((name for name, _ in names), key, strict=True)),
                    **{name: {'value': total} for name, total in sums[key].items()},
                }
                for key in keys
            ]
        }
        return found | ({'after_key': found['buckets'][-1]['key']} if keys else {})

    def _value(self, document, field):
        assert field.endswith(self.text_field), field
        value = document
        for part in field.removesuffix(self.text_field).split('.'):
            value = (value or {}).get(part)
        return value
