"""Several collectors and fetchers at once: two regions with a real Prometheus each."""

import logging
from datetime import timedelta

import pytest
import yaml

from cloudkitty import collector, errors, fetcher
from cloudkitty.collector import preferences
from cloudkitty.processor import service
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import faults, history, ini, services
from cloudkitty.tests.functional import worker_run

HOUR = history.hour(0)
REGIONAL = {
    'metrics': {
        'test_vcpus': [
            {'unit': 'vcpu', 'alt_name': 'east', 'groupby': ['resource'], 'collector': 'prom_east'},
            {'unit': 'vcpu', 'alt_name': 'west', 'groupby': ['resource'], 'collector': 'prom_west'},
        ]
    }
}
ANYWHERE = {
    'metrics': {
        'test_vcpus': {'unit': 'vcpu', 'groupby': ['resource']},
        'test_odd_scopes': {'unit': 'x'},
    }
}
NOWHERE = 'http://127.0.0.1:9/api/v1'


@pytest.fixture(scope='module')
def west(tmp_path_factory):
    """The Prometheus of the other region."""
    start = int(history.BEGIN.timestamp())
    samples = [
        services.Family(
            'test_vcpus',
            'gauge',
            [
                ({'project_id': scope_id, 'resource': 'far'}, [(start + 60, value)])
                for scope_id, value in (('alpha', 8), ('gamma', 16))
            ],
        )
    ]
    with services.Prometheus(tmp_path_factory.mktemp('west'), history=samples) as server:
        yield server


@pytest.fixture
def configure(tmp_path, conf, database):
    """Return what makes a configuration of two regions, and of *sections* besides."""

    def _configure(content, east_url, west_url, **sections):
        (tmp_path / 'metrics.yml').write_text(yaml.safe_dump(content))
        return ini.load(
            tmp_path / 'cloudkitty.conf',
            {
                'database': {'connection': conf.database.connection},
                'collect': {'collector': 'meta', 'metrics_conf': tmp_path / 'metrics.yml'},
                'collector_meta': {'collectors': 'prom_east, prom_west'},
                'collector_prom_east': {'driver': 'prometheus', 'prometheus_url': east_url},
                'collector_prom_west': {'driver': 'prometheus', 'prometheus_url': west_url},
                **sections,
            },
        )

    return _configure


def quantities(driver, metric='test_vcpus', scope_ids=('alpha', 'beta', 'gamma')):
    """Return {(scope, resource): quantity} of the first hour."""
    return {
        (scope_id, point.groupby['resource']): point.qty
        for scope_id, _, points in driver.collect(metric, [HOUR], scope_ids)
        for point in points
    }


def told(caplog):
    """Return the lines of the service; others may have threads that log too."""
    return [
        record.getMessage() for record in caplog.records if record.name.startswith('cloudkitty.')
    ]


EAST = {('alpha', 'web'): 1, ('alpha', 'db'): 4, ('beta', 'job'): 1}
WEST = {('alpha', 'far'): 8, ('gamma', 'far'): 16}


def test_a_definition_names_its_collector(configure, prometheus, west):
    driver = collector.get_driver(configure(REGIONAL, prometheus.url, west.url))

    assert quantities(driver, 'test_vcpus@#east') == EAST
    assert quantities(driver, 'test_vcpus@#west') == WEST
    (point,) = driver.fetch_all('test_vcpus@#west', *HOUR, 'gamma')
    assert (point.qty, point.groupby['project_id']) == (16, 'gamma')


def test_how_far_many_metrics_reach_is_one_question_to_each_collector(configure, prometheus, west):
    names = ['test_vcpus', 'test_volume_gib', 'test_cpu_seconds_total']
    content = {'metrics': {**{name: {'unit': 'x'} for name in names[1:]}, **REGIONAL['metrics']}}
    with (
        faults.FaultyServer(faults.pass_on(prometheus.url)) as east,
        faults.FaultyServer(faults.pass_on(west.url)) as other,
    ):
        driver = collector.get_driver(configure(content, east.url, other.url))

        found = driver.newest(list(driver.conf), since=history.BEGIN, now=HOUR.end)

    assert found == {
        **dict.fromkeys(names[1:], HOUR.end),
        'test_vcpus@#east': HOUR.end,
        'test_vcpus@#west': history.BEGIN + timedelta(minutes=1),
    }
    # Those that name no collector go to the first; the other has its last sample long ago.
    assert (len(east.requests), len(other.requests)) == (2, 2)


def test_definitions_are_read_without_a_source(configure):
    conf = configure(REGIONAL, NOWHERE, NOWHERE)

    found = collector.get_driver(conf).conf

    assert list(found) == ['test_vcpus@#east', 'test_vcpus@#west']
    assert found['test_vcpus@#west'].collector == 'prom_west'
    assert found['test_vcpus@#west'].extra_args['aggregation_method'] == 'max'


def test_a_definition_that_names_none_is_asked_in_the_configured_order(configure, prometheus, west):
    conf = configure(ANYWHERE, prometheus.url, west.url)
    turned = configure(
        ANYWHERE, prometheus.url, west.url, collector_meta={'collectors': 'prom_west,prom_east'}
    )

    assert quantities(collector.get_driver(conf)) == EAST
    assert quantities(collector.get_driver(turned)) == WEST


def test_no_data_is_an_answer(configure, prometheus, west):
    """The other region knows gamma, and is not asked."""
    driver = collector.get_driver(configure(ANYWHERE, prometheus.url, west.url))

    assert list(driver.collect('test_vcpus', [HOUR], ['gamma'])) == []


@pytest.mark.parametrize(
    'answer',
    [
        faults.text('<html>', status=503),
        faults.reset,
        faults.truncated,
        faults.error('bad_data', 'parse error', status=400),
    ],
)
def test_an_error_leads_to_the_next(configure, west, caplog, answer):
    with faults.FaultyServer(answer) as server:
        driver = collector.get_driver(configure(ANYWHERE, server.url, west.url))
        with caplog.at_level(logging.INFO, 'cloudkitty'):
            driver.refresh()
            assert quantities(driver) == WEST
            driver.refresh()
            assert quantities(driver) == WEST
        (line,) = told(caplog)
        assert 'prom_west is used instead: ' in line
        assert server.url in line


def test_a_source_that_says_nothing_is_asked_once_a_batch(configure, prometheus, west):
    """Other metrics go to the next at once."""
    with faults.FaultyServer(faults.text('', status=401)) as server:
        driver = collector.get_driver(configure(ANYWHERE, server.url, west.url))
        driver.refresh()
        quantities(driver)
        first = len(server.requests)
        assert list(driver.collect('test_odd_scopes', [HOUR], ['alpha'])) == []
        assert len(server.requests) == first > 0

        server.answer = faults.pass_on(prometheus.url)
        driver.refresh()
        assert quantities(driver) == EAST


def test_an_outage_has_a_line_when_it_begins_and_one_when_it_ends(
    configure, prometheus, west, caplog
):
    with faults.FaultyServer(faults.reset) as server, caplog.at_level(logging.INFO, 'cloudkitty'):
        driver = collector.get_driver(configure(ANYWHERE, server.url, west.url))
        for answer in faults.reset, faults.reset, faults.pass_on(prometheus.url), server.answer:
            server.answer = answer
            driver.refresh()
            quantities(driver)
            driver.fetch_all('test_odd_scopes', *HOUR, 'alpha')

    assert [line.partition(',')[0] for line in told(caplog)] == [
        'Collector prom_east failed',
        'Collector prom_east works again',
        'Collector prom_east failed',
    ]


@pytest.mark.parametrize(
    'content, text',
    [
        (REGIONAL, "Collector 'prom_west': http://127.0.0.1:9/api/v1: "),
        (
            ANYWHERE,
            "Collector 'meta': prom_east: http://127.0.0.1:9/api/v1: .*; "
            'prom_west: http://127.0.0.1:9/api/v1: ',
        ),
    ],
)
def test_when_all_fail_the_error_names_them(configure, content, text):
    driver = collector.get_driver(configure(content, NOWHERE, NOWHERE))

    with pytest.raises(errors.SourceUnreachable, match=text):
        quantities(driver, list(driver.conf)[-1] if content is REGIONAL else 'test_vcpus')


def test_a_question_refused_by_all_is_no_silence(configure):
    """So that the batch is asked in parts."""
    with faults.FaultyServer(faults.error('bad_data', 'parse error', status=400)) as server:
        driver = collector.get_driver(configure(ANYWHERE, server.url, server.url))

        with pytest.raises(errors.CollectError) as caught:
            quantities(driver)

    assert not isinstance(caught.value, errors.SourceUnreachable)


@pytest.mark.parametrize('refuses_first', [True, False])
def test_one_source_that_says_nothing_makes_it_a_silence(configure, refuses_first):
    """It might have answered: the scopes wait for it, and none is held back on its own."""
    with faults.FaultyServer(faults.error('bad_data', 'parse error', status=400)) as server:
        urls = [server.url, NOWHERE] if refuses_first else [NOWHERE, server.url]
        driver = collector.get_driver(configure(ANYWHERE, *urls))

        with pytest.raises(errors.SourceUnreachable, match='prom_east: .*; prom_west: '):
            quantities(driver)


def test_what_the_api_says_counts_from_the_next_batch(configure, database, prometheus, west):
    driver = collector.get_driver(configure(ANYWHERE, prometheus.url, west.url))

    def after(change, *arguments):
        database.write(lambda connection: change(connection, *arguments))
        before = quantities(driver)
        driver.refresh()
        return before, quantities(driver)

    assert after(preferences.set_mapping, preferences.Mapping('test_vcpus', 'prom_west')) == (
        EAST,
        WEST,
    )
    assert after(preferences.set_enabled, 'prom_west', False) == (WEST, EAST)
    assert after(preferences.set_enabled, 'prom_west', True) == (EAST, WEST)
    assert after(preferences.delete_mapping, 'test_vcpus') == (WEST, EAST)
    assert after(preferences.set_mapping, preferences.Mapping('test_vcpus', 'crystal-ball')) == (
        EAST,
        EAST,
    )
    assert after(preferences.set_enabled, 'prom_east', False) == (EAST, WEST)


def test_a_metric_whose_collectors_are_switched_off_is_held_back(
    configure, database, prometheus, west
):
    """Never taken for one that nobody used."""
    driver = collector.get_driver(configure(REGIONAL, prometheus.url, west.url))
    database.write(lambda connection: preferences.set_enabled(connection, 'prom_west', False))
    driver.refresh()

    assert quantities(driver, 'test_vcpus@#east') == EAST
    with pytest.raises(
        errors.SourceUnreachable,
        match='no collector of metric test_vcpus@#west is switched on: prom_west',
    ):
        quantities(driver, 'test_vcpus@#west')


def test_a_batch_is_held_for_the_source_that_fails(configure, database, tmp_path, prometheus, west):
    """A period is stored with the metrics of all sources, or not at all."""
    with faults.FaultyServer(faults.reset) as server:
        conf = configure(
            REGIONAL,
            prometheus.url,
            server.url,
            fetcher={'backend': 'source'},
            fetcher_source={'sources': 'alpha,gamma'},
            orchestrator={'coordination_url': f'file://{tmp_path}/locks'},
        )
        now = history.BEGIN + 7 * timedelta(hours=1)
        worker = service.build(conf, 0, clock=lambda: now).worker
        worker.turn()
        with database.reader() as connection:
            _, held = scope_state.list_scopes(connection)
        assert {scope.failure_reason.partition(': Conn')[0] for scope in held} == {
            f"Collector 'prom_west': {server.url}"
        }
        assert {scope.collector for scope in held} == {'meta'}
        assert worker_run.results(conf)['points'] == []

        server.answer = faults.pass_on(west.url)
        now += timedelta(hours=1)
        worker.turn()
        stored = worker_run.results(conf)
    assert len([point for point in stored['points'] if '"west"' in point]) == 2
    # The hour after the last sample waits for more.
    assert len([point for point in stored['points'] if '"east"' in point]) == 9


def test_a_deployment_keeps_its_name_when_it_gets_more_collectors(configure, prometheus, west):
    """The name of the collector is part of the identity of scopes."""
    conf = configure(
        REGIONAL,
        prometheus.url,
        west.url,
        collector_prometheus={'driver': 'meta', 'collectors': 'prom_east,prom_west'},
    )
    conf.set_override('collector', 'prometheus', 'collect')

    driver = collector.get_driver(conf)

    assert driver.collector_name == 'prometheus'
    assert quantities(driver, 'test_vcpus@#west') == WEST


@pytest.mark.parametrize(
    'definition, text',
    [
        (
            {'collector': 'prom_north'},
            "metric 'x': collector 'prom_north' is not configured; allowed: prom_east, prom_west.",
        ),
        ({'collector': 5}, "metric 'x': collector must be text"),
        (
            {'collector': 'prom_west', 'extra_args': {'y': 1}},
            "metric 'x': extra_args has the unknown key 'y'; "
            "allowed: .* \\(collector 'prom_west'\\)",
        ),
        (
            {'extra_args': {'y': 1}},
            "extra_args has the unknown key 'y'.*\\(collector 'prom_east'\\)",
        ),
    ],
)
def test_a_wrong_definition_is_told(configure, definition, text):
    conf = configure({'metrics': {'x': {'unit': 'u', **definition}}}, NOWHERE, NOWHERE)

    with pytest.raises(errors.MetricsFileError, match=text):
        collector.get_driver(conf)


@pytest.mark.parametrize(
    'sections, text',
    [
        ({'collector_meta': {'collectors': ''}}, r'\[collector_meta\]collectors is empty'),
        (
            {'collector_meta': {'collectors': 'prom_east,prom_east'}},
            r"\[collector_meta\]collectors has 'prom_east' twice",
        ),
        (
            {'collector_meta': {'collectors': 'prom_east,meta'}},
            r"\[collector_meta\]collectors: 'meta' has several collectors itself",
        ),
        (
            {'collector_meta': {'collectors': 'prom_north'}},
            r"\[collector_meta\]collectors: no driver is named 'prom_north'; allowed: .*"
            r'or any name with a section \[collector_prom_north\] that has the option driver',
        ),
        ({'collector_meta': {'collectors': 'x' * 41}}, 'has more than 40 characters'),
        (
            {'collector_prom_east': {'driver': 'crystal-ball'}},
            r"\[collector_prom_east\]driver: no driver is named 'crystal-ball'",
        ),
        (
            {'collector_prom_east': {'driver': 'prometheus'}},
            r'\[collector_prom_east\]prometheus_url is not set',
        ),
    ],
)
def test_a_wrong_section_is_told(configure, sections, text):
    with pytest.raises(errors.ConfigurationError, match=text):
        collector.get_driver(configure(ANYWHERE, NOWHERE, NOWHERE, **sections))


def test_one_collector_may_be_named_in_its_definitions(configure, prometheus):
    conf = configure(
        {
            'metrics': {
                'test_vcpus': {'unit': 'x', 'groupby': ['resource'], 'collector': 'prom_east'}
            }
        },
        prometheus.url,
        NOWHERE,
    )
    conf.set_override('collector', 'prom_east', 'collect')

    assert quantities(collector.get_driver(conf)) == EAST


def fetchers(conf_path, url, **sections):
    return ini.load(
        conf_path,
        {
            'fetcher': {'backend': 'meta'},
            'fetcher_meta': {'fetchers': 'source, k8s, staff'},
            'fetcher_source': {'sources': 'alpha,beta'},
            'fetcher_staff': {'driver': 'source', 'sources': 'beta,gamma'},
            'fetcher_k8s': {'driver': 'prometheus', 'prometheus_url': url, 'metric': 'scopes'},
            **sections,
        },
    )


def test_lists_are_united(tmp_path):
    with faults.FaultyServer(
        faults.vector(({'project_id': 'gamma'}, '1'), ({'project_id': 'delta'}, '1'))
    ) as server:
        driver = fetcher.get_driver(fetchers(tmp_path / 'conf', server.url))

        assert driver.get_tenants() == ['alpha', 'beta', 'delta', 'gamma']
        assert driver.name == 'meta'


def test_one_list_that_fails_lets_nobody_vanish(tmp_path):
    driver = fetcher.get_driver(fetchers(tmp_path / 'conf', NOWHERE))

    with pytest.raises(errors.FetcherError, match=f"^Fetcher 'k8s': {NOWHERE}: "):
        driver.get_tenants()


@pytest.mark.parametrize(
    'sections, text',
    [
        ({'fetcher_meta': {'fetchers': ''}}, r'\[fetcher_meta\]fetchers is empty'),
        ({'fetcher_meta': {'fetchers': 'meta'}}, "'meta' has several fetchers itself"),
        (
            {'fetcher_k8s': {'driver': 'prometheus', 'metric': 'a'}},
            r'\[fetcher_k8s\]prometheus_url is not set',
        ),
    ],
)
def test_a_wrong_section_of_a_fetcher_is_told(tmp_path, sections, text):
    with pytest.raises(errors.ConfigurationError, match=text):
        fetcher.get_driver(fetchers(tmp_path / 'conf', NOWHERE, **sections))
