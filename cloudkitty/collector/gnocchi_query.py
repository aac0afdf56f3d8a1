"""Metric definitions of the Gnocchi collector, and the queries made from them. Pure.

Source: doc/source/contributor/compatibility/collection.rst, "Collector: gnocchi".
"""

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

from cloudkitty import errors
from cloudkitty.collector.resampling import COMBINABLE, WEIGHTED
from cloudkitty.core import metrics, timeframe
from cloudkitty.core.dataframe import FrozenDict
from cloudkitty.core.metrics import Metric
from cloudkitty.core.timeframe import Period

RATE = 'rate:'
# How long after its first usage a resource may appear in Gnocchi.
LATE = timedelta(days=1)
_PLAIN = ('mean', 'sum', 'last', 'max', 'min', 'std', 'median', 'first', 'count')
_PERCENTILES = tuple(f'{number}pct' for number in range(1, 100))


def _with_rates(*methods):
    return (*methods, *(f'{RATE}{method}' for method in methods))


EXTRA_ARGS = {
    'resource_type': metrics.filled_text,
    'resource_key': metrics.filled_text,
    'aggregation_method': metrics.choice(*_with_rates(*_PLAIN, *_PERCENTILES)),
    're_aggregation_method': metrics.choice(*_with_rates(*_PLAIN)),
    'force_granularity': metrics.natural_number,
    'use_all_resource_revisions': metrics.boolean,
    'custom_query': metrics.text,
    'measure': metrics.choice('share', 'time_weighted', 'mean', 'max', 'increase'),
}
# Aggregation that is requested from Gnocchi for each measure.
GRANULES = {
    'share': {'aggregation_method': 'mean', 're_aggregation_method': 'mean'},
    'time_weighted': {'aggregation_method': 'mean', 're_aggregation_method': 'mean'},
    'mean': {'aggregation_method': 'mean', 're_aggregation_method': 'mean'},
    'max': {'aggregation_method': 'max', 're_aggregation_method': 'max'},
    # A counter reset does not count negatively.
    'increase': {
        'aggregation_method': 'mean',
        're_aggregation_method': 'rate:mean',
        'custom_query': '(clip_min (aggregate RE_AGGREGATION_METHOD '
        '(metric METRIC_NAME AGGREGATION_METHOD)) 0)',
    },
}
EXTRA_ARGS_DEFAULTS = {
    'resource_key': 'id',
    'aggregation_method': 'max',
    're_aggregation_method': 'max',
    'force_granularity': 3600,
    'use_all_resource_revisions': True,
    'custom_query': '',
}


# The other measures are combined with the method of their granules.
MEASURED = ('share', 'time_weighted', 'mean', 'max')


def check_extra_args(extra_args: Mapping) -> FrozenDict:
    """Return *extra_args* with defaults.

    :raises InvalidInput: a key is unknown or missing, or a value not allowed.
    """
    checked = metrics.only_keys(extra_args, EXTRA_ARGS)
    if 'resource_type' not in checked:
        raise errors.InvalidInput(reason='lacks the key resource_type')
    measure = checked.get('measure')
    asked = {} if measure is None else GRANULES.get(measure, {})
    if asked and ('re_aggregation_method' in checked or 'custom_query' in checked):
        raise errors.InvalidInput(
            reason='has measure, which goes with neither re_aggregation_method nor custom_query'
        )
    return FrozenDict({**EXTRA_ARGS_DEFAULTS, **asked, **checked})


def with_resource_key(metric: Metric) -> Metric:
    """Return *metric* with the attribute that identifies a resource added to its groupby.

    :raises InvalidInput: that attribute is in metadata.
    """
    key = metric.extra_args['resource_key']
    if key in metric.metadata:
        raise errors.InvalidInput(
            reason=f'metric {metric.name!r}: {key} is the resource_key, so it is in groupby and '
            'must not be in metadata.'
        )
    return dataclasses.replace(metric, groupby=tuple(dict.fromkeys((*metric.groupby, key))))


def check_granularity(metric: Metric, period_s: int) -> None:
    """Raise InvalidInput unless the usage of a period follows exactly from granules.

    :raises InvalidInput: the period is no multiple of them, or they cannot be combined.
    """
    length_s = metric.extra_args['force_granularity']
    reason = None
    if length_s and period_s % length_s:
        reason = (
            f'a period of {period_s} s cannot be made of whole granules of {length_s} s; '
            'force_granularity must divide it'
        )
    elif length_s not in (0, period_s) and method(metric) not in (*COMBINABLE, *WEIGHTED):
        reason = (
            f'{method(metric)} of a period cannot be told from granules of {length_s} s; '
            f'force_granularity must be {period_s}'
        )
    if reason:
        raise errors.InvalidInput(reason=f'metric {metric.name!r}: extra_args: {reason}.')


def makes_differences(metric: Metric) -> bool:
    """Return whether each granule is replaced by its difference to the one before."""
    return metric.extra_args['re_aggregation_method'].startswith(RATE)


def method(metric: Metric) -> str:
    """Return the method that combines the granules of a period."""
    measure = metric.extra_args.get('measure')
    if measure in MEASURED:
        return measure
    # The differences add up to the difference over the period.
    if makes_differences(metric):
        return 'sum'
    return metric.extra_args['aggregation_method'].removeprefix(RATE)


def operations(metric: Metric) -> str | list:
    """Return the operations that Gnocchi computes for each resource."""
    args = metric.extra_args
    if not args['custom_query']:
        return [
            'aggregate',
            args['re_aggregation_method'],
            ['metric', metric.name, args['aggregation_method']],
        ]
    return (
        args['custom_query']
        .replace('RE_AGGREGATION_METHOD', args['re_aggregation_method'])
        .replace('AGGREGATION_METHOD', args['aggregation_method'])
        .replace('METRIC_NAME', metric.name)
    )


def alive(span: Period, period_s: int) -> list[dict]:
    """Return conditions on the time of a revision and on the time of its resource."""
    late = timeframe.render(span.end + LATE)
    ended = timeframe.render(span.begin - timedelta(seconds=period_s))
    return [
        not_over(span),
        {'<=': {'revision_start': late}},
        {'<=': {'started_at': late}},
        {'or': [{'=': {'ended_at': None}}, {'>=': {'ended_at': ended}}]},
    ]


def not_over(span: Period) -> dict:
    """Return the condition on revisions that are valid at the begin of *span* or later."""
    return {
        'or': [
            {'=': {'revision_end': None}},
            {'>=': {'revision_end': timeframe.render(span.begin)}},
        ]
    }
