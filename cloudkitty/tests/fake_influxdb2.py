"""A small InfluxDB 2: the query endpoint, as the documentation of annotated CSV says.

It knows the queries of the reader only.

Sources: https://docs.influxdata.com/influxdb/v2/api/, https://docs.influxdata.com/influxdb/v2/
reference/syntax/annotated-csv/
"""

import csv
import io
import json
import re
from datetime import UTC, datetime
from decimal import Decimal

from cloudkitty.tests import faults

_RANGE = re.compile(r'range\(start: (\S+), stop: (\S+)\)')
_TYPES = {str: 'string', bool: 'boolean', int: 'long', float: 'double', Decimal: 'double'}


class InfluxDB2:
    """The answer of a FaultyServer.

    :param points: (time, tags, fields); a field is text, boolean, whole number or decimal.
    :ivar token: what must be sent.
    :ivar ending: text that is added to each answer.
    """

    def __init__(self, points, *, bucket='cloudkitty', org='openstack', token='secret'):
        self.points = points
        self.bucket = bucket
        self.org = org
        self.token = token
        self.ending = ''

    def __call__(self, handler, request):
        status, answer = self._answer(request)
        kind = 'text/csv' if status < 300 else 'application/json'
        faults.text(answer, status=status, content_type=kind)(handler, request)

    def _answer(self, request):
        if request.headers.get('Authorization') != f'Token {self.token}':
            return 401, json.dumps({'code': 'unauthorized', 'message': 'unauthorized access'})
        query = json.loads(request.body)['query']
        if f'from(bucket: "{self.bucket}")' not in query or f'org={self.org}' != request.query:
            return 404, json.dumps({'code': 'not found', 'message': 'bucket not found'})
        begin, end = map(datetime.fromisoformat, _RANGE.search(query).groups())
        chosen = [point for point in self.points if begin <= point[0] < end]
        if '|> sum()' in query:
            tables = self._sums(chosen)
        elif '|> limit(n: 1)' in query:
            chosen.sort(key=lambda point: point[0], reverse='desc: true' in query)
            tables = [({'_field': 'qty'}, [(at, fields['qty'])]) for at, _, fields in chosen[:1]]
        else:
            tables = self._series(chosen)
        return 200, _csv(tables) + self.ending

    def _series(self, points):
        """Return a table of each field of each series, in no order of the points."""
        found = {}
        for at, tags, fields in points:
            for name, value in fields.items():
                key = (tuple(sorted(tags.items())), name, _TYPES[type(value)])
                found.setdefault(key, []).append((at, value))
        return [
            ({**dict(tags), '_field': name, '_measurement': 'dataframes'}, rows)
            for (tags, name, _), rows in sorted(found.items(), key=str)
        ]

    def _sums(self, points):
        found = {}
        for _, tags, fields in points:
            for name in ('qty', 'price'):
                key = tuple((one, tags.get(one, '')) for one in ('project_id', 'type'))
                key += (('_field', name),)
                found[key] = found.get(key, Decimal(0)) + fields[name]
        return [(dict(key), [(None, total)]) for key, total in found.items()]


def _csv(tables):
    out = io.StringIO()
    writer = csv.writer(out)
    for number, (key, rows) in enumerate(tables):
        value_type = _TYPES[type(rows[0][1])]
        columns = [
            ('', '#datatype', '#group', '#default'),
            ('result', 'string', 'false', '_result'),
            ('table', 'long', 'false', ''),
            ('_time', 'dateTime:RFC3339', 'false', ''),
            ('_value', value_type, 'false', ''),
            *((name, 'string', 'true', '') for name in key),
        ]
        for place in (1, 2, 3, 0):
            writer.writerow(column[place] for column in columns)
        for at, value in rows:
            time = at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ') if at else ''
            text = str(value).lower() if isinstance(value, bool) else value
            writer.writerow(['', '', number, time, text, *key.values()])
        out.write('\r\n')
    return out.getvalue()
