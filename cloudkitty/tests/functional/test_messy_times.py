"""Times that are not as simple as they look are billed rightly, by a real Prometheus."""

import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib import parse

import pytest
import requests

from cloudkitty.core.timeframe import Period
from cloudkitty.tests import faults, services
from cloudkitty.tests.messy import cases
from cloudkitty.tests.messy.rating import of_prometheus
from cloudkitty.tests.services import Family

HOUR = timedelta(hours=1)
DAY_S = 86400
WAIT_S = 60
LEVEL = {'unit': 'GiB', 'groupby': ['id'], 'extra_args': {'measure': 'time_weighted'}}
TRAFFIC = {'unit': 'MB', 'groupby': ['id'], 'extra_args': {'measure': 'increase'}}


def family(name, samples, kind='gauge'):
    return Family(name, kind, [({'tenant_id': 'p1', 'id': 'x'}, samples)])


def test_days_around_the_end_of_summer_time_count_each_hour_once(tmp_path):
    """Days that begin at midnight of Berlin have 24 hours; from the change on they begin at 23:00.

    A volume grows in the hour that the clocks have twice.
    """
    begin = datetime(2026, 10, 23, 22, tzinfo=UTC)
    grows = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    span = Period(begin, begin + 4 * timedelta(days=1))
    first = int(begin.timestamp()) - 600
    instants = range(first + 30, int(span.end.timestamp()) + 600, 60)
    history = [
        family('size_gb', [(at, 10 if at < grows.timestamp() else 20) for at in instants]),
        family('sent_total', [(at, (at - first) // 60) for at in instants], 'counter'),
    ]
    with services.Prometheus(tmp_path / 'source', history=history) as source:
        metrics = {'size_gb': LEVEL, 'sent_total': TRAFFIC}
        rating = of_prometheus(tmp_path, source.url, metrics, ['p1'], period=DAY_S, wait_periods=1)

        rating.run(span)

    found = rating.summary(span, 'type', 'time')
    days = [f'2026-10-{day}T22:00:00+00:00' for day in (23, 24, 25, 26)]
    # On the second day 2.5 of 24 hours are before it.
    grown = 20 - 10 * Decimal('2.5') / 24
    for day, size in zip(days, (10, grown, 20, 20), strict=True):
        assert float(found['size_gb', day]) == pytest.approx(float(size), abs=20 / 1440)
        assert found['sent_total', day] == 1440
    assert len(found) == 8
    assert rating.completeness(span)['gaps'] == []


def test_clocks_of_exporters_that_differ_by_minutes_move_usage_by_as_much(tmp_path):
    """And lose none of it, also where the metrics of two exporters are combined."""

    def skewed(name, skew_s, end, value):
        samples = cases.samples('00:00:30', end, 60, value)
        return family(name, [(at + skew_s, value) for at, value in samples])

    rows = [
        skewed('size_gb', 240, '02:30:00', 6),
        skewed('free_gb', -180, '02:30:00', 1),
        skewed('other_gb', -180, cases.END, 1),
        family('up', cases.samples('00:00:30', cases.END, 60, 1)),
    ]
    used = {
        **LEVEL,
        'alt_name': 'used',
        'extra_args': {'measure': 'time_weighted', 'minus': 'free_gb'},
    }
    metrics = {
        'size_gb': [{**LEVEL, 'alt_name': 'size'}, used],
        'free_gb': LEVEL,
        'other_gb': LEVEL,
    }
    span = Period(cases.DAY, cases.DAY + 3 * HOUR)
    with services.Prometheus(tmp_path / 'source', history=rows) as source:
        rating = of_prometheus(tmp_path, source.url, metrics, ['p1'], lag_max=0)

        rating.run(span)

    found = rating.summary(span, 'type', 'time')
    for hour, whole in (('01', 1), ('02', 0.5)):
        begin = f'2026-11-28T{hour}:00:00+00:00'
        for name, size, late_s in (('size', 6, 240), ('free_gb', 1, -180), ('used', 5, -180)):
            right = size * (whole + (late_s / 3600 if whole < 1 else 0))
            assert float(found[name, begin]) == pytest.approx(right, abs=size * 60 / 3600)
        assert found['other_gb', begin] == 1


def test_samples_that_come_out_of_order_count_like_others(tmp_path):
    """A Prometheus that accepts them has them in order; nothing of the hour is lost."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    span = Period(end - HOUR, end)
    instants = list(range(int(span.begin.timestamp()) - 270, int(time.time()), 60))
    lines = [
        f'{name}{{tenant_id="p1",id="{name}"}} {value} {at * 1000}'
        for at in instants
        for name, value in (('size_gb', 6), ('sent_total', (at - instants[0]) // 60))
    ]
    random.Random(1).shuffle(lines)
    # The newest comes first.
    parts = [lines[-1:], *(lines[n::3] for n in range(3))]
    answers = [faults.text('\n'.join(part) + '\n', content_type='text/plain') for part in parts]
    with (
        faults.FaultyServer(faults.in_turn(*answers)) as exporter,
        services.Prometheus(
            tmp_path / 'source',
            targets=[services.Target(exporter.address, {})],
            out_of_order='6h',
        ) as source,
    ):
        # At the end of an hour the first is more than two hours ago.
        wait_for(source, 'count_over_time(sent_total[3h])', len(instants))
        wait_for(source, 'count_over_time(size_gb[3h])', len(instants))
        rating = of_prometheus(
            tmp_path, source.url, {'size_gb': LEVEL, 'sent_total': TRAFFIC}, ['p1'], wait_periods=0
        )

        rating.run(span, now=datetime.now(UTC))

    found = rating.summary(span, 'type')
    assert found == {('size_gb',): 6, ('sent_total',): 60}


def wait_for(source, query, value):
    """Wait until a query has this value."""
    until = time.monotonic() + WAIT_S
    found = None
    while time.monotonic() < until:
        answer = requests.get(f'{source.url}/query?{parse.urlencode({"query": query})}', timeout=10)
        found = [series['value'][1] for series in answer.json()['data']['result']]
        if found == [str(value)]:
            return
        time.sleep(0.2)
    raise AssertionError(f'{query}: {found}, not {value}')
