"""What every collector does; run for each driver and for the fake.

A driver gets a history it can read, tests/history.py, and definitions that read it.
"""

import csv
import gzip
import json
import random
from datetime import timedelta

import pytest

from cloudkitty import collector, errors
from cloudkitty.collector import BaseCollector
from cloudkitty.collector.ceilometer import CeilometerCollector
from cloudkitty.collector.file import FileCollector
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.collector.meta import MetaCollector
from cloudkitty.collector.monasca import MonascaCollector
from cloudkitty.collector.prometheus import PrometheusCollector
from cloudkitty.core import columns
from cloudkitty.core.timeframe import Period
from cloudkitty.plugins import DRIVER_OPT
from cloudkitty.tests import aetos, faults, history
from cloudkitty.tests.fake_ceilometer import Ceilometer
from cloudkitty.tests.fake_monasca import Monasca
from cloudkitty.tests.fake_sources import FakeCollector
from cloudkitty.tests.gnocchi import basic_auth

METRICS = {
    'metrics': {
        'test_vcpus': {
            'unit': 'vcpu',
            'alt_name': 'vcpus',
            'description': 'Virtual processors',
            'groupby': ['resource'],
            'metadata': ['flavor'],
        },
        'test_volume_gib': {'unit': 'GiB', 'groupby': ['resource', 'volume_type'], 'factor': '1/3'},
        'test_strange_values': {'unit': 'x', 'groupby': ['resource']},
        'test_odd_scopes': {'unit': 'x'},
        'test_nothing': {'unit': 'x'},
    }
}
HOUR = timedelta(hours=1)
VCPUS = 'test_vcpus@#vcpus'
TELLING = ('prometheus', 'aetos', 'meta', 'monasca', 'ceilometer')
SCOPE_IDS = ('alpha', 'beta', 'nobody', *history.ODD_SCOPES)
# Scopes and periods that are asked for at random: its requests take a hundred times as long.
MANY_MAX = {'gnocchi': (2, 3)}


def build_prometheus(conf, request, definitions):
    return _prometheus(conf, request.getfixturevalue('prometheus'), definitions)


def build_victoria_metrics(conf, request, definitions):
    return _prometheus(conf, request.getfixturevalue('victoria_metrics'), definitions)


def _prometheus(conf, server, definitions):
    conf.register_opts(PrometheusCollector.OPTS, PrometheusCollector.GROUP)
    conf.set_override('prometheus_url', server.url, PrometheusCollector.GROUP)
    return PrometheusCollector(period=3600, conf=definitions, service_conf=conf)


def build_aetos(conf, request, definitions):
    request.getfixturevalue('aetos')
    return aetos.build(conf, request.getfixturevalue('keystone'), definitions)


def build_fake(conf, request, definitions):
    return FakeCollector(period=3600, conf=definitions, service_conf=conf)


def build_gnocchi(conf, request, definitions):
    basic_auth(conf, GnocchiCollector, request.getfixturevalue('gnocchi').url)
    extra_args = {'resource_type': 'test', 'resource_key': 'resource'}
    return GnocchiCollector(
        period=3600,
        service_conf=conf,
        conf={
            key: {
                name: {'extra_args': extra_args, **definition}
                for name, definition in metrics.items()
            }
            for key, metrics in definitions.items()
        },
    )


@pytest.fixture(scope='session')
def monasca():
    with faults.FaultyServer(Monasca()) as server:
        yield server


@pytest.fixture(scope='session')
def ceilometer():
    with faults.FaultyServer(Ceilometer()) as server:
        yield server


def build_openstack(driver_class):
    """Return what builds a driver without a token, whose resources are named by `resource`."""

    def build(conf, request, definitions):
        server = request.getfixturevalue(driver_class.collector_name)
        folder = request.getfixturevalue('tmp_path')
        (folder / 'cloudkitty.conf').write_text(
            f'[{driver_class.GROUP}]\nauth_type = none\nendpoint = http://{server.address}\n'
        )
        conf([], project='cloudkitty', default_config_files=[str(folder / 'cloudkitty.conf')])
        return driver_class(period=3600, conf=with_resource_key(definitions), service_conf=conf)

    return build


def with_resource_key(definitions):
    found = definitions.get('metrics', {})
    named = {
        name: {'extra_args': {'resource_key': 'resource'}, **definition}
        for name, definition in found.items()
    }
    return {**definitions, 'metrics': named} if found else definitions


def build_meta(conf, request, definitions):
    server = request.getfixturevalue('prometheus')
    conf.register_opts(MetaCollector.OPTS, MetaCollector.GROUP)
    conf.set_override('collectors', ['one', 'prometheus'], MetaCollector.GROUP)
    conf.register_opts([DRIVER_OPT, *PrometheusCollector.OPTS], 'collector_one')
    conf.set_override('driver', 'prometheus', 'collector_one')
    for group in 'collector_one', PrometheusCollector.GROUP:
        conf.register_opts(PrometheusCollector.OPTS, group)
        conf.set_override('prometheus_url', server.url, group)
    return MetaCollector(period=3600, conf=definitions, service_conf=conf)


@pytest.fixture(scope='module')
def usage_folder(tmp_path_factory):
    """The history as files: CSV, and what is beside it as packed JSON lines."""
    folder = tmp_path_factory.mktemp('usage')
    columns = ('timestamp', 'metric', 'quantity', 'project_id', 'resource', 'flavor', 'volume_type')
    with (
        open(folder / 'one.csv', 'w', newline='') as one,
        gzip.open(folder / 'two.jsonl.gz', 'wt') as two,
    ):
        rows = csv.DictWriter(one, columns)
        rows.writeheader()
        for row in history.usage():
            if row['resource'] in ('web', 'one'):
                rows.writerow(row)
            else:
                two.write(json.dumps(row) + '\n')
    return folder


def build_file(conf, request, definitions):
    conf.register_opts(FileCollector.OPTS, FileCollector.GROUP)
    conf.set_override('files', [str(request.getfixturevalue('usage_folder'))], FileCollector.GROUP)
    if definitions is METRICS:
        # The history has the largest of many samples in mind.
        definitions = {
            'metrics': {
                name: {**definition, 'extra_args': {'aggregation_method': 'max'}}
                for name, definition in METRICS['metrics'].items()
            }
        }
    return FileCollector(period=3600, conf=definitions, service_conf=conf)


DRIVERS = {
    'prometheus': build_prometheus,
    'victoriametrics': build_victoria_metrics,
    'aetos': build_aetos,
    'gnocchi': build_gnocchi,
    'meta': build_meta,
    'file': build_file,
    'fake': build_fake,
    'monasca': build_openstack(MonascaCollector),
    'ceilometer': build_openstack(CeilometerCollector),
}
# Those that need a service that is slow to start share one.
GROUPS = {'aetos': 'keystone', 'gnocchi': 'gnocchi'}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.xdist_group(GROUPS[name])] if name in GROUPS else [])
        for name in DRIVERS
    ]
)
def build(request, conf):
    """Return what builds the driver from metric definitions."""
    return lambda definitions: DRIVERS[request.param](conf, request, definitions)


@pytest.fixture
def driver(build):
    return build(METRICS)


@pytest.fixture
def first_hour(request):
    """Return the first hour to ask for, counted from the begin of the history.

    Asked for one instant only, VictoriaMetrics says nothing of a sample that is the first of its
    series and lies exactly there; asked for a range, it does.
    """
    return 0 if request.node.callspec.params['build'] == 'victoriametrics' else -2


def by_place(found):
    """Return {(scope id, period): points in an order of their own}."""
    return {(scope_id, period): sorted(map(repr, points)) for scope_id, period, points in found}


@pytest.mark.parametrize('seed', range(4))
def test_a_batch_is_the_sum_of_its_parts(driver, first_hour, seed):
    """Scopes and periods at random, odd ids among them."""
    dice = random.Random(seed)
    for metric in driver.conf:
        check_a_batch(driver, metric, dice, first_hour)


def check_a_batch(driver, metric, dice, first_hour):
    first = dice.randrange(first_hour, history.HOURS)
    periods = [
        history.hour(number) for number in range(first, dice.randint(first + 1, history.HOURS + 2))
    ]
    scopes_max, periods_max = MANY_MAX.get(driver.collector_name, (len(SCOPE_IDS), len(periods)))
    scope_ids = dice.sample(SCOPE_IDS, dice.randint(1, scopes_max))
    periods = periods[:periods_max]
    single = {
        (scope_id, period): driver.fetch_all(metric, *period, scope_id)
        for scope_id in scope_ids
        for period in periods
    }

    found = list(driver.collect(metric, periods, scope_ids))

    assert by_place(found) == by_place(
        (*place, points) for place, points in single.items() if points
    )
    assert len({(scope_id, period) for scope_id, period, _ in found}) == len(found)


def test_an_odd_scope_gets_its_own_data(driver):
    """And never that of another scope, whatever its id could mean in a query language."""
    for number, scope_id in enumerate(history.ODD_SCOPES, 1):
        points = driver.fetch_all('test_odd_scopes', *history.hour(0), scope_id)

        assert [(point.qty, point.groupby['project_id']) for point in points] == [
            (number, scope_id)
        ]


def test_an_odd_scope_has_nothing_where_it_has_nothing(driver):
    for scope_id in history.ODD_SCOPES:
        assert driver.fetch_all(VCPUS, *history.hour(0), scope_id) == []
        assert list(driver.collect(VCPUS, history.PERIODS, [scope_id])) == []


def test_quantities_are_those_of_the_period(driver):
    found = {
        (scope_id, period.begin.hour): {point.groupby['resource']: point.qty for point in points}
        for scope_id, period, points in driver.collect(VCPUS, history.PERIODS, ['alpha', 'beta'])
    }

    assert found['alpha', 0] == {'web': 1, 'db': 4}
    assert found['alpha', 3] == {'web': 1}
    assert found['beta', 1] == {'job': 1}
    assert found['beta', 3] == {'job': 2}


def test_a_period_without_samples_has_no_points(driver):
    found = driver.collect('test_volume_gib', history.PERIODS, ['beta'])

    # A range includes its ends: the hours beside the hole have samples.
    assert [period.begin.hour for _, period, _ in found] == [0, 1, 4, 5]


def test_points_carry_what_their_definition_says(driver):
    (point,) = driver.fetch_all(VCPUS, *history.hour(3), 'alpha')

    assert (point.unit, point.description, point.price) == ('vcpu', 'Virtual processors', 0)
    assert point.metadata == {'flavor': 'm1.small'}
    assert point.groupby == {
        'resource': 'web',
        'project_id': 'alpha',
        'week_of_the_year': '17',
        'day_of_the_year': '122',
        'month': '5',
        'year': '2024',
    }


def test_only_finite_quantities_come_out(driver):
    """NaN or an infinite value would spoil every sum it gets into."""
    points = driver.fetch_all('test_strange_values', *history.hour(0), 'alpha')

    assert [point.qty for point in points] == [3]
    found = collector.collect_columns(
        driver, 'test_strange_values', history.PERIODS[:2], ['beta', 'alpha']
    )
    told = {
        (scope_id, *one.offsets) for scope_id, one in found if isinstance(one, columns.Unusable)
    }
    assert told <= {('alpha', 0, 1)}
    # Other sources, or our fakes of them, have no such values.
    assert bool(told) is (driver.collector_name in TELLING)


def test_nothing_collected_is_said_so(driver):
    with pytest.raises(
        errors.NoDataCollected,
        match=f"'{driver.collector_name}' returned no data for resource 'vcpus'",
    ):
        driver.retrieve(VCPUS, *history.hour(0), 'nobody')


def test_what_is_retrieved_has_its_published_name(driver):
    name, points = driver.retrieve(VCPUS, *history.hour(0), 'alpha')

    assert name == 'vcpus'
    assert len(points) == 2


def test_the_newest_data_of_each_metric(driver):
    """Of whatever scope, and none where there is none; a driver that cannot tell says nothing."""
    names = [VCPUS, 'test_volume_gib', 'test_nothing']
    last = history.PERIODS[-1].end
    cases = [
        (last - 60 * HOUR, last + 3 * HOUR, last),
        (last - HOUR, last, last),
        (last - 3 * HOUR, last - 2 * HOUR, last - 2 * HOUR),
        (last + 2 * HOUR, last + 5 * HOUR, None),
    ]
    # Files are written with all metrics together, and what is in them is there at any time.
    is_common = driver.collector_name == 'file'
    if not is_common:
        cases.append((last - 90 * HOUR, last - 80 * HOUR, None))

    found = [driver.newest(names, since=since, now=now) for since, now, _ in cases]

    if type(driver).newest is BaseCollector.newest:
        assert found == [{}] * len(cases)
        return
    expected = [
        {VCPUS: newest, 'test_volume_gib': newest, 'test_nothing': newest if is_common else None}
        for _, _, newest in cases
    ]
    if driver.collector_name == 'gnocchi':
        # It knows granules, here of an hour.
        found = [
            {key: instant and min(instant, one[key]) for key, instant in answer.items()}
            for answer, one in zip(found, expected, strict=True)
        ]
    assert found == expected


def test_a_period_before_the_history_has_no_points(driver):
    begin = history.BEGIN - timedelta(days=400)

    assert driver.fetch_all(VCPUS, begin, begin + timedelta(hours=1), 'alpha') == []
    assert (
        list(driver.collect(VCPUS, [Period(begin, begin + timedelta(hours=1))], ['alpha', 'beta']))
        == []
    )


def test_definitions_are_at_hand_by_their_key(driver):
    assert list(driver.conf) == [
        VCPUS,
        'test_volume_gib',
        'test_strange_values',
        'test_odd_scopes',
        'test_nothing',
    ]
    assert driver.conf[VCPUS]['groupby'] == ['resource', 'project_id']


@pytest.mark.parametrize(
    'definitions',
    [
        {},
        {'metrics': {}},
        {'metrics': {'cpu': {}}},
        {'metrics': {'cpu': {'unit': 'x', 'y': 1}}},
        {'metrics': {'cpu': {'unit': 'x', 'extra_args': None}}},
    ],
)
def test_wrong_definitions_are_refused(build, definitions):
    with pytest.raises(errors.InvalidInput):
        build(definitions)


@pytest.mark.parametrize('arguments', [{}, {'period': 60}, {'conf': METRICS}])
@pytest.mark.parametrize(
    'driver_class',
    [
        PrometheusCollector,
        GnocchiCollector,
        FileCollector,
        MetaCollector,
        FakeCollector,
        MonascaCollector,
        CeilometerCollector,
    ],
)
def test_period_and_definitions_are_needed(driver_class, arguments):
    with pytest.raises(ValueError, match='needs period and conf'):
        driver_class(**arguments)
