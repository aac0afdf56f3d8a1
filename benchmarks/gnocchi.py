"""Hour by hour usage of 5,000 resources from Gnocchi: requests, time, and every quantity checked"""

import os
import random
import time
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from oslo_config import cfg

from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import databases, faults, gnocchi

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SCOPES = 1000
RESOURCES = 5000
HOURS = 6
STEP_S = 300
PARTS = 10


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    url = os.environ.get('CLOUDKITTY_TEST_POSTGRESQL', databases.PostgreSQL.standard_url)
    with gnocchi.Gnocchi(folder, url) as server:
        server.define({'machine': {}})
        values = _fill(server)
        with faults.FaultyServer(faults.forward(server.url)) as proxy:
            return _figures(proxy, values)


def _fill(server):
    """Make the resources; return {resource number: [value of each five minutes]}."""
    dice = random.Random(1)
    values = {
        number: [dice.randrange(1000) / 4 for _ in range(HOURS * 3600 // STEP_S)]
        for number in range(RESOURCES)
    }
    start = BEGIN.timestamp()
    resources = [
        gnocchi.Resource(
            gnocchi.resource_id(str(number)),
            'machine',
            [gnocchi.Revision(BEGIN, {'project_id': f'p{number % SCOPES}'})],
            {'level': [(start + place * STEP_S, value) for place, value in enumerate(found)]},
            BEGIN,
        )
        for number, found in values.items()
    ]
    size = RESOURCES // PARTS
    with futures.ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                server.load,
                [resources[place : place + size] for place in range(0, RESOURCES, size)],
            )
        )
    return values


def _figures(proxy, values):
    figures = []
    periods = [Period(BEGIN + hour * HOUR, BEGIN + (hour + 1) * HOUR) for hour in range(HOURS)]
    for granularity_s in (3600, STEP_S):
        driver = _build(f'http://{proxy.address}', granularity_s)
        for scope_count in (1, 10, 100, SCOPES):
            before, begin = len(proxy.requests), time.monotonic()
            wrong = _wrong(driver, periods, scope_count, values)
            resources = scope_count * RESOURCES // SCOPES
            what = f'{scope_count} scopes, {resources} resources, granules of {granularity_s} s'
            # One for each 1,000 resources, and one for their measures.
            figures += [
                Figure(
                    f'requests: {what}',
                    len(proxy.requests) - before,
                    at_most=2 * max(1, resources // 1000) + 1,
                ),
                Figure(f'wrong quantities: {what}', wrong, at_most=0),
                Figure(f'time: {what}', time.monotonic() - begin, 's'),
            ]
    return figures


def _build(url, granularity_s):
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    gnocchi.basic_auth(conf, GnocchiCollector, url)
    return GnocchiCollector(
        period=3600,
        service_conf=conf,
        conf={
            'metrics': {
                'level': {
                    'unit': 'x',
                    'extra_args': {
                        'resource_type': 'machine',
                        'aggregation_method': 'sum',
                        'force_granularity': granularity_s,
                    },
                }
            }
        },
    )


def _wrong(driver, periods, scope_count, values):
    """Collect; return how many quantities are not those of the measures."""
    scope_ids = [f'p{number}' for number in range(scope_count)]
    found = {
        (scope_id, point.groupby['id'], period.begin): point.qty
        for scope_id, period, points in driver.collect('level', periods, scope_ids)
        for point in points
    }
    steps = 3600 // STEP_S
    wanted = {
        (f'p{number % SCOPES}', gnocchi.resource_id(str(number)), period.begin): Decimal(
            sum(levels[hour * steps : (hour + 1) * steps])
        )
        for number, levels in values.items()
        if number % SCOPES < scope_count
        for hour, period in enumerate(periods)
    }
    return sum(found.get(place) != wanted.get(place) for place in found.keys() | wanted.keys())
