"""A small Loki: the query endpoints, as the documentation of its HTTP API says.

Source: https://grafana.com/docs/loki/latest/reference/loki-http-api/
"""

import json
import re
from urllib import parse

from cloudkitty.tests import faults

PREFIX = '/loki/api/v1/'
_MATCHER = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')
_FILTER = re.compile(r'(\|~|!~) ("(?:[^"\\]|\\.)*")')
RANGE_MAX_NS = 721 * 3600 * 10**9


class Loki:
    """The answer of a FaultyServer.

    :param entries: (labels, nanoseconds, line); equal ones are kept once.
    :param limit_max: `max_entries_limit_per_query`.
    """

    def __init__(self, entries, limit_max=5000):
        self.entries = sorted(
            {(tuple(sorted(labels.items())), at, line) for labels, at, line in entries},
            key=lambda entry: entry[1],
        )
        self.limit_max = limit_max

    def __call__(self, handler, request):
        asked = dict(parse.parse_qsl(request.query))
        path = request.path.removeprefix(PREFIX)
        if path == 'query_range':
            status, answer = self._range(asked)
        elif re.fullmatch(r'label/\w+/values', path):
            status, answer = 200, self._values(path.split('/')[1], asked)
        else:
            status, answer = 404, '404 page not found'
        text = answer if isinstance(answer, str) else json.dumps(answer)
        kind = 'text/plain' if isinstance(answer, str) else 'application/json'
        faults.text(text, status=status, content_type=kind)(handler, request)

    def _within(self, asked):
        begin, end = int(asked['start']), int(asked['end'])
        return [entry for entry in self.entries if begin <= entry[1] < end]

    def _range(self, asked):
        limit = int(asked['limit'])
        if limit > self.limit_max:
            return 400, (
                'max entries limit per query exceeded, limit > max_entries_limit_per_query '
                f'({limit} > {self.limit_max})'
            )
        if int(asked['end']) - int(asked['start']) > RANGE_MAX_NS:
            return 400, 'the query time range exceeds the limit (query length: 800h, limit: 721h)'
        selector, _, filters = asked['query'].partition('}')
        matchers = [(name, json.loads(text)) for name, text in _MATCHER.findall(selector)]
        patterns = [(kind, re.compile(json.loads(text))) for kind, text in _FILTER.findall(filters)]
        found = [
            entry
            for entry in self._within(asked)
            if all(dict(entry[0]).get(name, '') == text for name, text in matchers)
            and all((kind == '|~') == bool(one.search(entry[2])) for kind, one in patterns)
        ]
        if asked.get('direction') == 'backward':
            found.reverse()
        found = found[:limit]
        streams = {}
        for labels, at, line in found:
            streams.setdefault(labels, []).append([str(at), line])
        result = [{'stream': dict(labels), 'values': values} for labels, values in streams.items()]
        stats = {'summary': {'totalEntriesReturned': len(found)}}
        data = {'resultType': 'streams', 'result': result, 'stats': stats}
        return 200, {'status': 'success', 'data': data}

    def _values(self, name, asked):
        found = {dict(labels).get(name) for labels, _, _ in self._within(asked)}
        return {'status': 'success', 'data': sorted(found - {None})}
