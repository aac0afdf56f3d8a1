"""Days of trouble are billed to a scrape interval; the former definitions show the faults."""

import subprocess
import sys
from decimal import Decimal

import pytest
import yaml

from cloudkitty.core.timeframe import Period
from cloudkitty.tests import services
from cloudkitty.tests.messy import days, run
from cloudkitty.tests.messy.rating import Rating

SEEDS = range(12)
# One of each kind of observer is among them.
WHOLE_DAY = Period(days.PERIODS[0].begin, days.PERIODS[-1].end)


@pytest.fixture(scope='module')
def troubled():
    return [days.Day(seed) for seed in SEEDS]


@pytest.fixture(scope='module')
def source(tmp_path_factory, troubled):
    """A real Prometheus that has scraped all these days."""
    with services.Prometheus(
        tmp_path_factory.mktemp('trouble'), history=days.families(troubled)
    ) as server:
        yield server


def test_a_seed_always_gives_the_same_day():
    assert days.Day(3).truth() == days.Day(3).truth()
    assert list(days.Day(3).series())[5][1:] == list(days.Day(3).series())[5][1:]
    assert days.Day(3).truth() != days.Day(4).truth()


def test_the_days_have_every_kind_of_trouble(troubled):
    labels = {tuple(observer.labels) for day in troubled for observer in day.observers}
    statuses = {
        span.labels.get('status')
        for day in troubled
        for resource in day.resources
        for span in resource.spans
    }

    assert labels == {('job',), ('replica',), ('instance',)}
    assert any(
        {'10.0.0.5:8080', '10.0.0.9:8080'}
        == {observer.labels.get('instance') for observer in day.observers}
        for day in troubled
    )
    assert set(days.FREE) < statuses


def test_shipped_definitions_are_right_to_a_scrape_interval(source, troubled):
    measured = run.collect(run.build(source.url, run.shipped()), troubled)

    assert sum(map(len, measured.values())) > 500
    assert [
        fault for day in troubled for fault in run.faults(day, measured[day.scope_id])
    ] == []  # fmt: skip


def test_each_hole_is_noted_and_nothing_else(source, troubled):
    """Of shipped and of former definitions, which have no scrape interval."""
    for definitions in (run.shipped(), run.FORMER):
        driver = run.build(source.url, definitions)

        assert [fault for day in troubled for fault in run.hole_faults(driver, day)] == []
    assert sum(day.is_used_around_the_hole('instance') for day in troubled) > 5


def test_the_plain_way_gives_what_the_other_one_gives(source, troubled, monkeypatch):
    """To the last digits, but for counters; and it does not depend on the batch."""
    hours = days.PERIODS[::4]
    plain = [run.collect(run.build(source.url, run.shipped()), troubled, [hour]) for hour in hours]
    together = run.collect(run.build(source.url, run.shipped()), troubled)
    monkeypatch.setattr(
        'cloudkitty.collector.prometheus_measures.can_be_plain', lambda metric: False
    )

    for hour, found in zip(hours, plain, strict=True):
        combined = run.collect(run.build(source.url, run.shipped()), troubled, [hour])
        for scope_id, quantities in combined.items():
            states = {key for key in quantities if key[0] != 'traffic'}
            assert {key: found[scope_id][key] for key in states} == pytest.approx(
                {key: quantities[key] for key in states}, rel=1e-12
            )
            assert found[scope_id] == {
                key: quantity
                for key, quantity in together[scope_id].items()
                if key[1] == hour.begin.hour
            }


def test_former_definitions_show_the_faults(source, troubled):
    """Of each metric: so the comparison can fail."""
    measured = run.collect(run.build(source.url, run.FORMER), troubled)

    assert {
        fault.place[0] for day in troubled for fault in run.faults(day, measured[day.scope_id])
    } == {'instance', 'volume.size', 'memory', 'traffic'}


def test_the_bill_of_a_day_is_that_of_its_truth(tmp_path, source, troubled):
    """Through processor, storage and `GET /v2/summary`."""
    day = troubled[0]
    path = tmp_path / 'metrics.yml'
    path.write_text(yaml.safe_dump({'metrics': run.shipped()}))
    rating = Rating(
        tmp_path,
        {
            'collect': {
                'collector': 'prometheus',
                'scope_key': 'tenant_id',
                'metrics_conf': path,
                # Nothing is told of the hours after the day.
                'lag_max': 0,
            },
            'collector_prometheus': {'prometheus_url': source.url},
        },
        [day.scope_id],
    )
    rating.run(WHOLE_DAY)

    found = rating.summary(WHOLE_DAY, 'type')

    truth = {}
    for (name, *_), quantity in day.truth().items():
        truth[name] = truth.get(name, 0) + quantity
    assert {name for (name,) in found} == truth.keys()
    for (name,), quantity in found.items():
        # Some changes, each to a scrape interval.
        assert abs(quantity / Decimal(truth[name]) - 1) < Decimal('0.01')


def test_the_command_says_how_many_days_are_wrong():
    ended = subprocess.run(
        [sys.executable, '-m', 'cloudkitty.tests.messy', '--seeds', '0', '--definitions', 'former'],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "day-0 ('instance', " in ended.stdout
    assert 'wrong quantities of 1 days' in ended.stdout
    assert (ended.returncode, ended.stderr) == (1, '')
