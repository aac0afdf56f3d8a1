"""A small Monasca: answers as its API specification, version 2.0, says, from families of samples.

There is no Monasca to be had that could be started here. Unlike the real one it takes every
character in a dimension, and NaN and infinite values.

Source: https://github.com/openstack/monasca-api/blob/master/docs/monasca-api-spec.md
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib import parse

from cloudkitty.tests import faults, history

FUNCTIONS = {
    'avg': lambda values: sum(values) / len(values),
    'min': min,
    'max': max,
    'sum': sum,
    'count': len,
}


class Monasca:
    """The answer of a FaultyServer.

    :param families: every series is one metric, its labels the dimensions.
    :param page_rows: rows in a page; an element goes on in the next page.
    :ivar tenants: families by tenant, for requests that name one.
    """

    def __init__(self, families: Sequence = history.FAMILIES, page_rows: int = 100):
        self.families = families
        self.page_rows = page_rows
        self.tenants: dict[str, Sequence] = {}

    def __call__(self, handler, request):
        asked = dict(parse.parse_qsl(request.query))
        families = self.families
        if 'tenant_id' in asked:
            families = self.tenants.get(asked['tenant_id'], ())
        path = request.path.removeprefix('/v2.0/')
        if path == 'metrics/statistics':
            status, answer = self._statistics(asked, families, request)
        elif path == 'metrics/dimensions/names/values':
            status, answer = self._values(asked, families, request)
        else:
            status, answer = 404, {'not_found': {'code': 404, 'message': 'no such path'}}
        faults.as_json(answer, status=status)(handler, request)

    def _statistics(self, asked, families, request):
        names = asked['statistics'].split(',')
        if not set(names) <= set(FUNCTIONS):
            return 422, {'unprocessable_entity': {'code': 422, 'message': f'statistics {names}'}}
        wanted = _parse_dimensions(asked.get('dimensions', ''))
        group_by = asked.get('group_by', '').split(',')
        begin, end = (
            datetime.fromisoformat(asked[key]).timestamp() for key in ('start_time', 'end_time')
        )
        groups = defaultdict(lambda: defaultdict(list))
        for dimensions, samples in _series(families, asked['name']):
            if all(
                name in dimensions and (not values or dimensions[name] in values)
                for name, values in wanted.items()
            ):
                group = tuple((name, dimensions[name]) for name in group_by if name in dimensions)
                for instant, value in samples:
                    if begin <= instant <= end:
                        bucket = instant - instant % int(asked['period'])
                        groups[group][bucket].append(float(value))
        rows = [
            (group, bucket, [FUNCTIONS[name](values) for name in names])
            for group, buckets in groups.items()
            for bucket, values in buckets.items()
        ]
        page, links = self._page(rows, asked, request)
        elements = defaultdict(list)
        for group, bucket, values in page:
            at = datetime.fromtimestamp(bucket, UTC).strftime('%Y-%m-%dT%H:%M:%S.000Z')
            elements[group].append([at, *values])
        return 200, {
            'links': links,
            'elements': [
                {
                    'id': str(number),
                    'name': asked['name'],
                    'dimensions': dict(group),
                    'columns': ['timestamp', *names],
                    'statistics': found,
                }
                for number, (group, found) in enumerate(elements.items())
            ],
        }

    def _values(self, asked, families, request):
        name = asked['dimension_name']
        found = sorted(
            {labels[name] for family in families for labels, _ in family.series if name in labels}
        )
        page, links = self._page(found, asked, request)
        return 200, {'links': links, 'elements': [{'dimension_value': value} for value in page]}

    def _page(self, rows, asked, request):
        """Return the rows of the page that is asked for, and the links."""
        first = int(asked.get('offset', 0))
        links = [{'rel': 'self', 'href': f'http://elsewhere{request.path}?{request.query}'}]
        if first + self.page_rows < len(rows):
            query = parse.urlencode({**asked, 'offset': first + self.page_rows})
            links.append({'rel': 'next', 'href': f'http://elsewhere{request.path}?{query}'})
        return rows[first : first + self.page_rows], links


def _parse_dimensions(text):
    """Return the values by name; no value: any."""
    found = {}
    for part in filter(None, text.split(',')):
        name, _, values = part.partition(':')
        found[name] = values.split('|') if values else []
    return found


def _series(families, name):
    return [series for family in families if family.name == name for series in family.series]
