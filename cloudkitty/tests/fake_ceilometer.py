"""A small Ceilometer API, version 2, that answers as its documentation says, from families.

The API was removed from Ceilometer in 2018, and no version of it runs on a Python of today.

Source: https://docs.openstack.org/ceilometer/ocata/webapi/v2.html
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib import parse

from cloudkitty.tests import faults, history

LIMIT = 100
# Names in queries, and of the labels that hold them.
LABELS = {
    'project_id': 'project_id',
    'project': 'project_id',
    'resource_id': 'resource',
    'user_id': 'user_id',
}


class Ceilometer:
    """The answer of a FaultyServer.

    :param families: every series are the samples of one resource, which the label `resource`
        names; its other labels are metadata.
    """

    def __init__(self, families: Sequence = history.FAMILIES):
        self.families = families

    def __call__(self, handler, request):
        asked = defaultdict(list)
        for name, value in parse.parse_qsl(request.query, keep_blank_values=True):
            asked[name].append(value)
        conditions = list(zip(asked['q.field'], asked['q.op'], asked['q.value'], strict=True))
        parts = request.path.split('/')
        if parts[:3] == ['', 'v2', 'meters'] and parts[4:] == ['statistics']:
            answer = self._statistics(parse.unquote(parts[3]), conditions, asked)
        elif parts == ['', 'v2', 'resources']:
            answer = self._resources(conditions)[
                : int(asked['limit'][0] if asked['limit'] else LIMIT)
            ]
        else:
            faults.as_json({'error_message': {'faultstring': 'no such path'}}, status=404)(
                handler, request
            )
            return
        faults.as_json(answer)(handler, request)

    def _samples(self, conditions, meter=None):
        """Yield (labels, unix time, value)."""
        limits = {op: _seconds(value) for field, op, value in conditions if field == 'timestamp'}
        begin, end = limits['ge'], limits['lt'] if 'lt' in limits else limits['le'] + 1
        owners = [(LABELS[field], value) for field, _, value in conditions if field != 'timestamp']
        for family in self.families:
            if meter in (None, family.name):
                for labels, samples in family.series:
                    if all(labels.get(name) == value for name, value in owners):
                        yield from (
                            (labels, instant, float(value))
                            for instant, value in samples
                            if begin <= instant < end
                        )

    def _statistics(self, meter, conditions, asked):
        # Without a period all is one.
        period_s = int(asked['period'][0]) if asked['period'] else 10**10
        first = min(_seconds(value) for field, _, value in conditions if field == 'timestamp')
        groups, newest = defaultdict(list), {}
        for labels, instant, value in self._samples(conditions, meter):
            key = tuple(labels.get(LABELS[name]) for name in asked['groupby'])
            begin = first + (instant - first) // period_s * period_s
            groups[begin, key].append(value)
            newest[begin, key] = max(instant, newest.get((begin, key), instant))
        return [
            {
                'avg': sum(values) / len(values),
                'count': len(values),
                'max': max(values),
                'min': min(values),
                'sum': sum(values),
                'unit': 'x',
                'period': period_s,
                'duration': 3540.0,
                'duration_start': _text(begin),
                'duration_end': _text(newest[begin, key]),
                'period_start': _text(begin),
                'period_end': _text(min(begin + period_s, 2**31)),
                'groupby': dict(zip(asked['groupby'], key, strict=True)),
            }
            for (begin, key), values in groups.items()
        ]

    def _resources(self, conditions):
        found = defaultdict(dict)
        # Every sample describes the whole resource; here a family has only a part of that.
        for labels, instant, _ in sorted(self._samples(conditions), key=lambda sample: sample[1]):
            found[labels['resource']].update(labels, last=instant)
        return [
            {
                'resource_id': resource_id,
                'project_id': labels['project_id'],
                'user_id': labels.get('user_id'),
                'source': 'openstack',
                'links': [],
                'last_sample_timestamp': _text(labels['last']),
                'metadata': {
                    name: value
                    for name, value in labels.items()
                    if name not in ('project_id', 'resource', 'user_id', 'last')
                },
            }
            for resource_id, labels in found.items()
        ]


def _seconds(text):
    return int((datetime.fromisoformat(text) - datetime(1970, 1, 1)) / timedelta(seconds=1))


def _text(seconds):
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
