"""Metric definitions as the Gnocchi collector reads them, and what it asks for them. Pure.

Source: contract collection, sections 2.5 and 5.1.
"""

import dataclasses
from collections.abc import Mapping

from cloudkitty import errors, metrics
from cloudkitty.collector.granules import COMBINABLE
from cloudkitty.dataframe import FrozenDict
from cloudkitty.metrics import Metric

RATE = 'rate:'
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
}
EXTRA_ARGS_DEFAULTS = {
    'resource_key': 'id', 'aggregation_method': 'max', 're_aggregation_method': 'max',
    'force_granularity': 3600, 'use_all_resource_revisions': True, 'custom_query': ''}


def check_extra_args(extra_args: Mapping) -> FrozenDict:
    """Return *extra_args* with defaults.

    :raises InvalidInput: a key is unknown or missing, or a value not allowed.
    """
    checked = metrics.only_keys(extra_args, EXTRA_ARGS)
    if 'resource_type' not in checked:
        raise errors.InvalidInput(reason='lacks the key resource_type')
    return FrozenDict({**EXTRA_ARGS_DEFAULTS, **checked})


def with_resource_key(metric: Metric) -> Metric:
    """Return *metric* grouped by what tells resources apart, too.

    :raises InvalidInput: that is in metadata.
    """
    key = metric.extra_args['resource_key']
    if key in metric.metadata:
        raise errors.InvalidInput(
            reason=f'metric {metric.name!r}: {key} is the resource_key, so it is in groupby and '
                   'must not be in metadata.')
    return dataclasses.replace(metric, groupby=tuple(dict.fromkeys((*metric.groupby, key))))


def check_granularity(metric: Metric, period_s: int) -> None:
    """Refuse granules that say nothing exact of a period.

    :raises InvalidInput: the period is not made of them, or they cannot be combined.
    """
    length_s = metric.extra_args['force_granularity']
    reason = None
    if length_s and period_s % length_s:
        reason = (f'a period of {period_s} s cannot be made of whole granules of {length_s} s; '
                  'force_granularity must divide it')
    elif length_s not in (0, period_s) and method(metric) not in COMBINABLE:
        reason = (f'{method(metric)} of a period cannot be told from granules of {length_s} s; '
                  f'force_granularity must be {period_s}')
    if reason:
        raise errors.InvalidInput(reason=f'metric {metric.name!r}: extra_args: {reason}.')


def makes_differences(metric: Metric) -> bool:
    """Return whether each granule becomes its difference to the one before."""
    return metric.extra_args['re_aggregation_method'].startswith(RATE)


def method(metric: Metric) -> str:
    """Return how the granules of a period are combined."""
    # Differences add up to that over the period.
    if makes_differences(metric):
        return 'sum'
    return metric.extra_args['aggregation_method'].removeprefix(RATE)


def operations(metric: Metric) -> str | list:
    """Return what Gnocchi is to compute of each resource."""
    args = metric.extra_args
    if not args['custom_query']:
        return ['aggregate', args['re_aggregation_method'],
                ['metric', metric.name, args['aggregation_method']]]
    return (args['custom_query']
            .replace('RE_AGGREGATION_METHOD', args['re_aggregation_method'])
            .replace('AGGREGATION_METHOD', args['aggregation_method'])
            .replace('METRIC_NAME', metric.name))
