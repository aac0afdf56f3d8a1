"""Measure days of trouble with metric definitions, and compare with what was really used."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.collector.prometheus import PrometheusCollector
from cloudkitty.collector.prometheus_coverage import PrometheusCoverage
from cloudkitty.collector.prometheus_measures import INSTANTS
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import services
from cloudkitty.tests.messy.days import (
    DAY,
    INTERVAL_S,
    LATE_MAX_S,
    PERIODS,
    SKEW_MAX_S,
    Day,
    families,
)

LOOK_S = INTERVAL_S // INSTANTS
ETC = Path(__file__).parents[3] / 'etc' / 'cloudkitty'
SHIPPED = {
    'prom_metrics.yml': ('openstack_nova_server_status', 'openstack_cinder_volume_gb'),
    'kubernetes_metrics.yml': ('container_memory_working_set_bytes',),
}
TRAFFIC = 'libvirt_domain_interface_stats_transmit_bytes_total'
# The same, as it was before there were measures.
FORMER = {
    'openstack_nova_server_status': {
        'unit': 'instance',
        'alt_name': 'instance',
        'groupby': ['uuid', 'user_id', 'flavor_id'],
        'metadata': ['name'],
        'mutate': 'NUMBOOL',
        'extra_args': {
            'aggregation_method': 'count',
            'matchers': ['status=~"ACTIVE|SHUTOFF|SUSPENDED|PAUSED"'],
        },
    },
    'openstack_cinder_volume_gb': {
        'unit': 'GiB',
        'alt_name': 'volume.size',
        'groupby': ['id', 'user_id', 'volume_type'],
        'metadata': ['name'],
    },
    'container_memory_working_set_bytes': {
        'unit': 'GiB',
        'alt_name': 'memory',
        'factor': '1/1073741824',
        'groupby': ['pod'],
        'extra_args': {'aggregation_method': 'sum', 'query_suffix': '/ 60'},
    },
    TRAFFIC: {
        'unit': 'MB',
        'alt_name': 'traffic',
        'factor': '1/1000000',
        'groupby': ['domain'],
        'extra_args': {'aggregation_method': 'sum', 'range_function': 'delta'},
    },
}


class Result(NamedTuple):
    """What is wrong.

    :ivar faults: quantities.
    :ivar hole_faults: holes that are not noted, and what is noted and is none.
    """

    faults: list['Fault']
    hole_faults: list['HoleFault']


def run(folder: Path, seeds: Sequence[int], definitions: Mapping) -> Result:
    """Return what is measured wrongly on the days of *seeds*, in one Prometheus of their own."""
    days = [Day(seed) for seed in seeds]
    with services.Prometheus(folder, history=families(days)) as server:
        driver = build(server.url, definitions)
        measured = collect(driver, days)
        return Result(
            [fault for day in days for fault in faults(day, measured[day.scope_id])],
            [fault for day in days for fault in hole_faults(driver, day)],
        )


class Fault(NamedTuple):
    """A quantity that is off by more than a scrape interval.

    :ivar place: metric, hour, attributes.
    """

    scope_id: str
    place: tuple
    measured: float
    truth: float
    allowed: float


def shipped() -> dict:
    """Return the definitions that we ship, as far as a day has their metrics."""
    found = {}
    for name, metrics in SHIPPED.items():
        content = yaml.safe_load((ETC / name).read_text())['metrics']
        found |= {metric: content[metric] for metric in metrics}
    for definition in found.values():
        definition['extra_args']['scrape_interval'] = INTERVAL_S
    found[TRAFFIC] = {
        'unit': 'MB',
        'alt_name': 'traffic',
        'factor': '1/1000000',
        'groupby': ['domain'],
        'extra_args': {'measure': 'increase'},
    }
    return found


def build(url: str, definitions: Mapping) -> PrometheusCollector:
    """Return a collector of the Prometheus at *url*."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.register_opts(PrometheusCollector.OPTS, PrometheusCollector.GROUP)
    conf.set_override('prometheus_url', url, PrometheusCollector.GROUP)
    conf.set_override('scrape_interval', INTERVAL_S, PrometheusCollector.GROUP)
    conf.set_override('scope_key', 'tenant_id', 'collect')
    return PrometheusCollector(period=3600, service_conf=conf, conf={'metrics': definitions})


def collect(
    driver: PrometheusCollector, days: Sequence[Day], periods: Sequence[Period] = PERIODS
) -> dict[str, dict]:
    """Return {scope id: {(metric, hour, *key): quantity}}, as the collector has it."""
    keys = {resource.published: resource.key for resource in days[0].resources}
    found: dict[str, dict] = {day.scope_id: defaultdict(float) for day in days}
    for metric in driver.conf.values():
        name = metric.published_name
        for scope_id, period, points in driver.collect(metric.key, periods, list(found)):
            for point in points:
                key = (point.groupby[attribute] for attribute in keys[name])
                found[scope_id][name, period.begin.hour, *key] += float(point.qty)
    return found


def faults(day: Day, measured: Mapping[tuple, float]) -> Iterator[Fault]:
    """Yield what is off by more than the usage of a scrape interval.

    On top come the time between two looks, and what clocks differ.
    That is for each part of an hour in which it was used and seen: a hole makes two of one.
    """
    truth = day.truth()
    for place in truth.keys() | measured.keys():
        name, hour, *key = place
        # Several servers have the same name of a metric, and one of them the key.
        alike = [
            resource
            for resource in day.resources
            if resource.published == name and set(resource.labels.values()) & set(key)
        ]
        parts = sum(day.stretches(resource, hour, tuple(key)) for resource in alike)
        largest = max(resource.charged(span) for resource in alike for span in resource.spans)
        unit = largest / (1 if alike[0].is_counter else 3600)
        allowed = unit * (INTERVAL_S + LOOK_S + 2 * SKEW_MAX_S) * max(1, parts)
        pair = measured.get(place, 0), truth.get(place, 0)
        if abs(pair[0] - pair[1]) > allowed:
            yield Fault(day.scope_id, place, *pair, allowed)


class HoleFault(NamedTuple):
    """A time, seconds of the day, that is a hole of a metric and is not noted, or the reverse."""

    scope_id: str
    metric: str
    begin: float
    end: float
    what: str


def hole_faults(driver: PrometheusCollector, day: Day) -> Iterator[HoleFault]:
    """Yield the holes of a day that are not noted, and what is noted and is none.

    The day is examined as if it was the only one: nobody else has samples in its hole.
    """
    examined = PrometheusCoverage(
        driver.client,
        list(driver.conf.values()),
        scope_key='tenant_id',
        scope_matcher=f'tenant_id="{day.scope_id}"',
    ).examine(PERIODS, known={}, now=PERIODS[-1].end)
    for metric in driver.conf.values():
        noted = [
            ((gap.begin - DAY).total_seconds(), (gap.end - DAY).total_seconds())
            for gap in examined[metric.key].holes
        ]
        name = metric.published_name
        if day.is_used_around_the_hole(name):
            begin, end = day.seen[0][1], day.seen[1][0]
            # A late scrape may be the last one, in what was to be the hole.
            slack = INTERVAL_S + LATE_MAX_S
            if not any(early <= begin + slack and late >= end - slack for early, late in noted):
                yield HoleFault(day.scope_id, name, begin, end, 'is not noted')
        for begin, end in noted:
            if not day.is_dark(begin, end):
                yield HoleFault(day.scope_id, name, begin, end, 'is noted and is no hole')
