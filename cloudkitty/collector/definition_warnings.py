"""Warnings of `cloudkitty-metrics check` about valid but suspicious definitions. Pure."""

import re
from collections.abc import Iterator

from cloudkitty.collector import prometheus_query
from cloudkitty.core import timeframe
from cloudkitty.core.metrics import Metric

# Names that reports do not group by as attributes.
REPORT_NAMES = ('type', 'time', 'time-d', 'time-w', 'time-m', 'time-y')
COLUMN_NAMES = ('begin', 'end', 'qty', 'rate')
# A matcher that names states; all others are left out.
_STATES = re.compile(r'(?:status|state)\s*=~?\s*"(?!")')
DefinitionWarning = tuple[tuple, str]


def of_attributes(metric: Metric) -> Iterator[DefinitionWarning]:
    """Yield (path in the definition, text) of attributes that reports cannot group by."""
    for key in ('groupby', 'metadata'):
        for name in metric[key]:
            if name in timeframe.CALENDAR_KEYS:
                yield (key,), f'the {name} of the period takes the place of the attribute {name!r}'
            elif name in REPORT_NAMES and key == 'groupby':
                yield (key,), f'reports cannot group by {name!r}: there it means something else'
            elif name in COLUMN_NAMES and key == 'groupby':
                yield (key,), f'reports cannot group by {name!r}: they have a column of this name'


def of_prometheus(metric: Metric) -> Iterator[DefinitionWarning]:
    """Yield (path, text) of Prometheus queries that miscount lost scrapes or changed series."""
    args = metric.extra_args
    if _STATES.search(args.get('matchers', '')):
        yield (
            ('extra_args', 'matchers'),
            'it lists what is charged, so every other state is free; list what is free (!~)',
        )
    for name in prometheus_query.named_metrics(metric):
        yield (
            ('extra_args',),
            f'query_prefix or query_suffix names {name}, whose missing samples are not noticed; '
            'with measure: plus, minus, times or divided_by',
        )
    if 'measure' in args:
        return
    function, method = args.get('range_function'), args['aggregation_method']
    if metric.mutate == 'MAP' and function is None:
        yield (
            ('mutate',),
            f'the {method} of the period decides alone; measure: share, with matchers, counts time',
        )
    if function in ('delta', 'idelta'):
        yield (
            ('extra_args', 'range_function'),
            f'{function} of a counter that begins again is below 0 and left out; measure: increase',
        )
    if function is None and metric.name.endswith('_total'):
        yield (), 'it is a counter, and what it stands at is no usage; measure: increase'
    if function is None and method in ('sum', 'count') and metric.mutate != 'NUMBOOL':
        yield (
            ('extra_args', 'aggregation_method'),
            f'{method} counts a series that is there twice, or that got another label, twice; '
            'measure: time_weighted',
        )
