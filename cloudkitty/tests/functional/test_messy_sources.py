"""Sources as the world has them are billed rightly, from the scrape to `GET /v2/summary`."""

import functools
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cloudkitty import collector
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import faults, metric_stores, services
from cloudkitty.tests.messy import cases
from cloudkitty.tests.messy.rating import of_prometheus

FOLDER = Path(__file__).parents[3] / 'etc' / 'cloudkitty'
# Prometheus adds up in binary floating point.
RELATIVE = Decimal('1e-12')


@pytest.fixture(
    scope='module',
    params=[services.Prometheus, metric_stores.VictoriaMetrics],
    ids=['prometheus', 'victoria_metrics'],
)
def source(request, tmp_path_factory):
    """A real server that has scraped all of it."""
    with request.param(tmp_path_factory.mktemp('messy'), history=cases.everything()) as server:
        yield server


@pytest.fixture
def rate(run):
    """Return what rates a scope over a span, and returns `GET /v2/summary` by *groupby*."""
    return lambda *arguments, **options: run(*arguments, **options)[0]


@pytest.fixture
def run(tmp_path, source):
    """Return what rates a scope over a span, and returns its summary and its metadata."""

    def _run(metrics, scope_key, scope_id, *groupby, span=cases.HOUR, url=source.url):
        path = FOLDER / metrics if isinstance(metrics, str) else metrics
        rating = of_prometheus(tmp_path, url, path, [scope_id], scope_key=scope_key)
        rating.run(span)
        return rating.summary(span, 'type', *groupby), rating.metadata(span)

    return _run


def close(rows):
    """Return *rows* to compare with: equal but for the last digits."""
    return {
        place: pytest.approx(Decimal(quantity), rel=RELATIVE) for place, quantity in rows.items()
    }


def test_an_exporter_that_moves_is_no_more_usage(rate):
    found = rate('kubernetes_metrics.yml', 'namespace', 'moved')

    assert found == close({('volume',): 10, ('load.balancer',): 1})


def test_dead_containers_and_nested_groups_are_no_more_usage(rate):
    found = rate('kubernetes_metrics.yml', 'namespace', 'ghosts', 'pod')

    assert found == close(
        {
            ('memory', 'crash'): 1,
            ('memory', 'once'): 1,
            ('memory', 'nested'): 1,
            ('cpu', 'nested'): 1,
        }
    )


def test_another_name_is_no_other_resource(run):
    """It has the newest one."""
    found, metadata = run('prom_metrics.yml', 'tenant_id', 'renamed')

    assert found == close(
        {('instance',): 1, ('router',): 1, ('image.size',): 2**20, ('load.balancer',): 1}
    )
    assert metadata == {name: [{'name': 'new'}] for (name,) in found}


def test_what_holds_a_host_is_charged_and_nothing_else(rate):
    states = (*cases.STATES, *cases.FREE_STATES)
    span = Period(cases.DAY, cases.DAY + timedelta(hours=len(states)))

    found = rate('prom_metrics.yml', 'tenant_id', 'states', 'time', span=span)

    assert found == {
        ('instance', f'2026-11-28T{hour:02}:00:00+00:00'): 1 for hour in range(len(cases.STATES))
    }


def test_a_resize_shares_the_hour(rate):
    found = rate('prom_metrics.yml', 'tenant_id', 'resized', 'flavor_id', 'volume_type')

    assert found == close(
        {
            ('instance', 'small', ''): Decimal(5) / 60,
            ('instance', 'large', ''): Decimal(55) / 60,
            ('volume.size', '', 'ssd'): 15,
        }
    )


def test_a_machine_that_stops_is_charged_until_then(rate):
    """And one that two jobs scrape is one machine."""
    found = rate('node_exporter_metrics.yml', 'project_id', 'demo', 'instance')

    assert found == close(
        {
            ('memory.used', 'm1'): Decimal(5) / 6,
            ('memory.used', 'm2'): 1,
            ('memory.used', 'm3'): 1,
            ('filesystem.used', 'm1'): Decimal(50) / 6,
            ('filesystem.used', 'm2'): 10,
            ('filesystem.used', 'm3'): 10,
        }
    )


TRAFFIC = {'unit': 'MB', 'factor': '1/1000000', 'groupby': ['domain']}


def test_a_counter_that_begins_again_takes_nothing_back(rate):
    """Whatever asks for its growth; a restart, or another host, may cost the growth of a scrape."""
    definitions = {
        'measure': {'measure': 'increase'},
        'increase': {'range_function': 'increase'},
        'delta': {'aggregation_method': 'sum', 'range_function': 'delta'},
    }
    span = Period(cases.HOUR.begin, cases.HOUR.end + timedelta(hours=1))
    metrics = {
        cases.TRAFFIC: [
            {**TRAFFIC, 'alt_name': name, 'extra_args': args} for name, args in definitions.items()
        ]
    }

    found = rate(metrics, 'tenant_id', 'traffic', 'domain', 'time', span=span)

    first, second = ('2026-11-28T01:00:00+00:00', '2026-11-28T02:00:00+00:00')
    for name in ('measure', 'increase'):
        for domain in ('rebooted', 'moved'):
            assert 58.9 < found[name, domain, first] < 60.1
            assert found[name, domain, second] == pytest.approx(Decimal(60), rel=RELATIVE)
    assert ('delta', 'rebooted', first) not in found
    assert min(found.values()) >= 0


def test_a_counter_that_is_scraped_unevenly_is_counted_once(rate):
    """What it grows between two samples, however far they are apart."""
    metrics = {
        cases.TRAFFIC: [
            {**TRAFFIC, 'alt_name': name, 'extra_args': {'measure': name}}
            for name in ('increase', 'rate')
        ]
    }
    span = Period(cases.HOUR.begin, cases.HOUR.end + timedelta(hours=1))

    found = rate(metrics, 'tenant_id', 'bursts', 'time', span=span)

    assert found == close(
        {
            (name, f'2026-11-28T0{hour}:00:00+00:00'): quantity
            for name, quantity in (('increase', 12_000), ('rate', Decimal(12_000) / 3600))
            for hour in (1, 2)
        }
    )


@pytest.mark.parametrize(
    'scope, method, quantity',
    [
        ('bursts-replicas', 'max', 12_000),
        ('bursts-replicas', 'avg', 12_000),
        ('steady-replicas', 'max', 60),
        ('bursts-ghost', 'max', 12_000),
        ('bursts-moved', 'max', 12_000),
        ('steady-moved', 'max', 60),
        ('bursts-sources', 'sum', 36_000),
        ('bursts-failover', 'max', 12_000),
    ],
)
def test_a_counter_that_several_series_tell_is_counted_once(rate, scope, method, quantity):
    """However it grows, and whenever each is scraped; different counters are added up."""
    args = {'measure': 'increase', 'aggregation_method': method}
    metrics = {cases.TRAFFIC: {**TRAFFIC, 'alt_name': 'traffic', 'extra_args': args}}
    span = Period(cases.HOUR.begin, cases.HOUR.end + timedelta(hours=1))

    found = rate(metrics, 'tenant_id', scope, 'time', span=span)

    assert found == close(
        {('traffic', f'2026-11-28T0{hour}:00:00+00:00'): quantity for hour in (1, 2)}
    )


def test_a_sample_that_is_no_number_is_a_lost_one(rate, capsys):
    """It takes no more of the period away, and nothing if another replica has a number."""
    metrics = {
        'openstack_cinder_volume_gb': {
            **RARE,
            'alt_name': 'volume',
            'extra_args': {'measure': 'time_weighted'},
        },
        'total_gb': {
            **RARE,
            'extra_args': {'measure': 'time_weighted', 'divided_by': 'sharers'},
        },
        cases.TRAFFIC: {
            **TRAFFIC,
            'groupby': [],
            'alt_name': 'traffic',
            'extra_args': {'measure': 'increase', 'parts': ['domain']},
        },
    }

    found = rate(metrics, 'tenant_id', 'no-numbers', 'id')

    assert len(found) == 8
    assert found.pop(('total_gb', 'divided')) == Decimal('2.95')
    for (name, volume), quantity in found.items():
        if name == 'volume':
            # VictoriaMetrics keeps no NaN: the sample before is valid until the next one.
            assert quantity in close({1: 6, 2: Decimal('5.9')}).values()
            assert quantity == 6 or volume.startswith('alone')
        else:
            assert 3 * 58.9 < quantity < 3 * 61.1
    assert 'NaN or infinite count as missing' in capsys.readouterr().out


def test_a_sample_on_the_edge_counts_in_one_period(rate):
    span = Period(cases.DAY, cases.DAY + timedelta(hours=3))

    found = rate('prom_metrics.yml', 'tenant_id', 'edge', 'time', span=span)

    # 90 samples at whole minutes; that of 01:00 stands for the minute around it.
    assert found == close(
        {
            ('volume.size', '2026-11-28T00:00:00+00:00'): Decimal('3.05'),
            ('volume.size', '2026-11-28T01:00:00+00:00'): Decimal('5.95'),
        }
    )


TWO_HOURS = Period(cases.DAY, cases.DAY + timedelta(hours=2))
THREE_HOURS = Period(cases.DAY, cases.DAY + timedelta(hours=3))


@pytest.fixture(params=[services.Prometheus, metric_stores.VictoriaMetrics], ids=['prom', 'vm'])
def gap_source(request, tmp_path):
    """A server that has only what an exporter told that was away in part."""
    history = cases.families({}, cases.part_of_an_exporter_is_away())
    with request.param(tmp_path / 'source', history=history) as server:
        yield server


rating_of = functools.partial(of_prometheus, wait_periods=1)


def gaps_of(rating, span=THREE_HOURS):
    """Return {(metric, begin, end, state)} of the completeness."""
    return {
        (gap['metric'].partition('@')[0], gap['begin'][11:16], gap['end'][11:16], gap['state'])
        for gap in rating.completeness(span)['gaps']
    }


def test_a_hole_holds_its_periods_and_is_rated_late_and_noted(tmp_path, gap_source, capsys):
    """A load balancer that is deleted is none, and says so; the servers' hole is no zero."""
    rating = rating_of(tmp_path, gap_source.url, FOLDER / 'prom_metrics.yml', ['p1', 'p2'])
    nova = 'openstack_nova_server_status'

    rating.run(THREE_HOURS, now=cases.DAY + timedelta(hours=3, minutes=40))

    answer = rating.completeness(THREE_HOURS)
    assert [entry['state'] for entry in answer['results']] == ['held', 'held']
    # The second hour waits, too: nobody knows yet whether there is a load balancer in it.
    assert gaps_of(rating) == {(nova, '00:50', '02:00', 'held')}
    assert 'the resources of 2 scopes ended at once' in rating.scopes()['p1']['held']
    assert rating.summary(THREE_HOURS, 'type') == {}

    rating.turn(cases.DAY + timedelta(hours=5))

    found = rating.summary(THREE_HOURS, 'type', 'tenant_id')
    assert found['volume.size', 'p1'] == found['volume.size', 'p2'] == 30
    # Ten minutes of the first hour and of the third are lost; the second has one of neither.
    assert 1.6 < found['instance', 'p1'] < 1.75
    answer = rating.completeness(THREE_HOURS)
    assert (answer['final'], answer['not_final'], answer['not_measured']) == (False, 2, [])
    assert [entry['state'] for entry in answer['results']] == ['gap', 'gap']
    assert gaps_of(rating) == {(nova, '00:50', '02:10', 'noted')}
    noted = rating.scopes()['p2']['noted']
    assert [(note['begin'][11:13], note['end'][11:13]) for note in noted] == [('00', '03')]
    assert nova in noted[0]['reason']
    lines = capsys.readouterr().out.splitlines()
    assert any(nova in one and 'rated without, and noted' in one for one in lines)
    assert any('loadbalancer' in one and 'nobody used anything' in one for one in lines)


def test_rating_again_with_the_samples_takes_the_note_away(tmp_path, gap_source):
    """Of the scope that was rated again: the other one is told that the samples are back."""
    rating = rating_of(tmp_path, gap_source.url, FOLDER / 'prom_metrics.yml', ['p1', 'p2'])
    rating.run(THREE_HOURS, now=cases.DAY + timedelta(hours=6))
    nova = 'openstack_nova_server_status'
    assert gaps_of(rating) == {(nova, '00:50', '02:10', 'noted')}
    rows = [
        row._replace(samples=cases.samples('00:00:30', cases.END, 60, 0))
        if nova in row.name
        else row
        for row in map(Row._make, cases.part_of_an_exporter_is_away())
    ]
    with services.Prometheus(tmp_path / 'whole', history=cases.families({}, iter(rows))) as whole:
        rating.conf.set_override('prometheus_url', whole.url, 'collector_prometheus')
        order(rating, 'p1')

        rating.turn(cases.DAY + timedelta(hours=6))

    found = rating.summary(TWO_HOURS, 'type', 'tenant_id')
    assert found['instance', 'p1'] == 2
    assert found['instance', 'p2'] < 1
    assert gaps_of(rating) == {(nova, '00:50', '02:00', 'back'), (nova, '02:00', '02:10', 'noted')}
    assert [entry['state'] for entry in rating.completeness(TWO_HOURS)['results']] == [
        'final',
        'gap',
    ]
    assert [(one['begin'][11:13], one['end'][11:13]) for one in rating.scopes()['p1']['noted']] == [
        ('02', '03')
    ]


class Row(NamedTuple):
    name: str
    labels: dict
    samples: list


def order(rating, scope_id):
    """Order that the first two hours of a scope are rated again."""
    with rating.database() as database:
        database.write(
            lambda connection: reprocessing.create(
                connection,
                [scope_id],
                identity=scope_state.Identity.of(rating.conf),
                window=TWO_HOURS,
                reason='the samples are back',
            )
        )


@pytest.fixture(scope='module')
def odd_source(tmp_path_factory):
    """A real server with rare scrapes, a metric without the scope, and half of a difference."""
    rows = (
        *cases.scrapes_are_rare(),
        *cases.nobody_has_the_label(),
        *cases.one_side_of_a_difference_is_away(),
        *cases.the_label_of_the_scope_comes_and_goes(),
    )
    with services.Prometheus(
        tmp_path_factory.mktemp('odd'), history=cases.families({}, rows)
    ) as server:
        yield server


def definitions(folder, **metrics):
    path = folder / 'metrics.yml'
    path.write_text(yaml.safe_dump({'metrics': metrics}))
    return path


RARE = {'unit': 'GiB', 'groupby': ['id']}


@pytest.mark.parametrize(
    'extra_args, text',
    [
        ({}, 'samples of rare_gb are 900 s apart, and a period is 600 s'),
        ({'measure': 'time_weighted', 'scrape_interval': 900}, ''),
        (
            {'measure': 'time_weighted', 'scrape_interval': 60},
            'samples of rare_gb are 900 s apart, and scrape_interval is 60 s',
        ),
        (
            {'measure': 'mean'},
            'samples of rare_gb are 900 s apart, and scrape_interval is 60 s',
        ),
    ],
)
def test_scrapes_that_are_rarer_than_periods_leave_none_free(
    tmp_path, odd_source, capsys, extra_args, text
):
    """The look-back reaches as far as the spacing of the samples needs."""
    path = definitions(tmp_path, rare_gb={**RARE, 'extra_args': extra_args})
    rating = rating_of(tmp_path, odd_source.url, path, ['p1'], period=600, wait_periods=12)

    rating.run(TWO_HOURS, now=TWO_HOURS.end + timedelta(hours=2))

    found = rating.summary(Period(cases.HOUR.begin, TWO_HOURS.end), 'time')
    assert found == {(f'2026-11-28T01:{10 * n:02}:00+00:00',): 6 for n in range(6)}
    assert rating.completeness(TWO_HOURS)['gaps'] == []
    told = [line for line in capsys.readouterr().out.splitlines() if 's apart' in line]
    assert all(text and text in line for line in told)
    assert len(told) == bool(text)


def test_scrapes_that_are_rarer_than_defined_leave_no_time_free(tmp_path, odd_source):
    """Of a period that has several of them."""
    path = definitions(tmp_path, rare_gb={**RARE, 'extra_args': {'measure': 'time_weighted'}})
    rating = rating_of(tmp_path, odd_source.url, path, ['p1'])

    rating.run(TWO_HOURS, now=TWO_HOURS.end + timedelta(hours=2))

    found = rating.summary(Period(cases.HOUR.begin, TWO_HOURS.end), 'type')
    assert found == {('rare_gb',): 6}


def test_a_wrong_scope_key_is_told_and_noted(tmp_path, odd_source, capsys):
    path = definitions(tmp_path, mislabelled_gb=RARE, labelled_gb=RARE)
    rating = rating_of(tmp_path, odd_source.url, path, ['p1'])

    rating.run(TWO_HOURS, now=cases.DAY + timedelta(hours=2, minutes=30))

    text = 'mislabelled_gb has samples, none with label tenant_id'
    assert text in capsys.readouterr().out
    assert text in rating.scopes()['p1']['held']
    rating.turn(cases.DAY + timedelta(hours=6))
    assert rating.summary(TWO_HOURS, 'type') == {('labelled_gb',): 12}
    (noted,) = rating.scopes()['p1']['noted']
    assert (noted['begin'][11:13], noted['end'][11:13]) == ('00', '02')
    assert rating.completeness(TWO_HOURS)['results'][0]['state'] == 'gap'


def test_a_hole_of_what_is_subtracted_is_one_of_the_difference(tmp_path, odd_source):
    """Also if nobody has ever told it."""
    path = definitions(
        tmp_path,
        size_gb=[
            {
                **RARE,
                'alt_name': other,
                'extra_args': {'measure': 'time_weighted', 'minus': other},
            }
            for other in ('free_gb', 'unknown_gb')
        ],
    )
    rating = rating_of(tmp_path, odd_source.url, path, ['p1'])

    rating.run(THREE_HOURS, now=cases.DAY + timedelta(hours=6))

    found = rating.summary(THREE_HOURS, 'type', 'time')
    assert {key: round(qty, 1) for key, qty in found.items()} == {
        ('free_gb', '2026-11-28T00:00:00+00:00'): 5,
        ('free_gb', '2026-11-28T02:00:00+00:00'): 5,
    }
    answer = rating.completeness(THREE_HOURS)
    assert not answer['final']
    assert {
        (gap['metric'], gap['begin'][11:16], gap['end'][11:16], gap['state'])
        for gap in answer['gaps']
    } == {
        ('size_gb@#free_gb', '00:50', '02:10', 'noted'),
        ('size_gb@#unknown_gb', '00:00', '03:00', 'noted'),
    }
    driver = collector.get_driver(rating.conf)
    faults_of = {key: driver.survey(key, cases.HOUR, 'p1').faults for key in driver.conf}
    text = 'it is combined with unknown_gb, of which this scope has no samples'
    assert faults_of['size_gb@#unknown_gb'] == [text]


def test_a_label_of_the_scope_that_comes_and_goes(tmp_path, odd_source):
    """What has it is charged; what lost it is a hole, though nobody else has samples of it."""
    args = {'measure': 'time_weighted', 'scrape_interval': 30}
    path = definitions(
        tmp_path,
        **{name: {**RARE, 'extra_args': args} for name in ('vanishing_gb', 'appearing_gb')},
    )
    rating = rating_of(tmp_path, odd_source.url, path, ['p1'])

    rating.run(THREE_HOURS, now=cases.DAY + timedelta(hours=6))

    found = rating.summary(THREE_HOURS, 'type', 'time')
    assert {
        (name, begin[11:13]): round(quantity, 1) for (name, begin), quantity in found.items()
    } == {
        ('vanishing_gb', '00'): 6,
        ('vanishing_gb', '01'): 3,
        ('appearing_gb', '01'): 3,
        ('appearing_gb', '02'): 6,
    }
    assert gaps_of(rating) == {('vanishing_gb', '01:30', '03:00', 'noted')}
    (gap,) = rating.completeness(THREE_HOURS)['gaps']
    assert gap['sign'] == '1 resources have samples in it, without the label of the scope'


@pytest.mark.parametrize(
    'name, kinds', [('free_gb', ('notes',)), ('unknown_gb', ('faults',)), (None, ())]
)
def test_a_metric_in_a_suffix_is_told_by_the_survey(tmp_path, odd_source, name, kinds):
    """Nobody looks for its holes; one that does not exist makes everything free."""
    suffix = f'- on (id, tenant_id) {name}' if name else '- 1'
    args = {'measure': 'time_weighted', 'query_suffix': suffix}
    path = definitions(tmp_path, size_gb={**RARE, 'extra_args': args})
    driver = collector.get_driver(rating_of(tmp_path, odd_source.url, path, ['p1']).conf)

    hour = Period(cases.DAY, cases.HOUR.begin)
    found = driver.survey('size_gb', hour, 'p1')

    told = [
        kind for kind in ('notes', 'faults') for text in getattr(found, kind) if str(name) in text
    ]
    assert tuple(told) == kinds


def test_gaps_cost_one_request_a_batch(tmp_path, source):
    """However many metrics there are, and scopes; a few scopes tell that there is none."""
    path = definitions(
        tmp_path,
        openstack_nova_server_status=[
            {'unit': 'x', 'groupby': ['uuid'], 'alt_name': name} for name in ('one', 'two')
        ],
    )
    with faults.FaultyServer(faults.pass_on(source.url)) as front:
        conf = rating_of(tmp_path, f'http://{front.address}/api/v1', path, ['states']).conf
        driver = collector.get_driver(conf)

        found = driver.coverage(
            list(driver.conf),
            [cases.HOUR],
            known={},
            now=cases.HOUR.end,
            scope_ids=['states', *(f'none-{number}' for number in range(50))],
        )

        assert [one.gaps for one in found.values()] == [(), ()]
        assert len(front.requests) == 1
