"""The drivers of Monasca and Ceilometer, and small servers that answer as their documents say."""

from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.collector.ceilometer import CeilometerCollector
from cloudkitty.collector.monasca import MonascaCollector
from cloudkitty.fetcher.monasca import MonascaFetcher
from cloudkitty.tests import faults, history
from cloudkitty.tests.fake_ceilometer import Ceilometer
from cloudkitty.tests.fake_monasca import Monasca

NAMES = {'monasca': (MonascaCollector, Monasca), 'ceilometer': (CeilometerCollector, Ceilometer)}


@pytest.fixture
def configure(conf, tmp_path):
    """Return what writes a section for a server that asks for no token."""

    def configure(driver_class, server, **options):
        lines = {'auth_type': 'none', 'endpoint': f'http://{server.address}', **options}
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(
            f'[{driver_class.GROUP}]\n'
            + ''.join(f'{name} = {value}\n' for name, value in lines.items())
        )
        conf([], project='cloudkitty', default_config_files=[str(path)])
        return conf

    return configure


@pytest.fixture
def build(configure):
    """Return what builds a collector of one metric."""

    def build(driver_class, server, *, definition=(), options=(), name='test_vcpus', **extra_args):
        return driver_class(
            period=3600,
            service_conf=configure(driver_class, server, **dict(options)),
            conf={
                'metrics': {
                    name: {
                        'unit': 'x',
                        **dict(definition),
                        'extra_args': {'resource_key': 'resource', **extra_args},
                    }
                }
            },
        )

    return build


def collect(driver, scope_ids, name='test_vcpus'):
    return [
        (scope_id, period.begin.hour, point.groupby['resource'], point.qty)
        for scope_id, period, points in driver.collect(name, history.PERIODS, scope_ids)
        for point in points
    ]


@pytest.mark.parametrize('name, expected', [('monasca', 2), ('ceilometer', 1)])
def test_requests_are_those_of_one_scope(build, name, expected):
    """Two pages of Monasca; all periods and scopes are in them."""
    driver_class, answer = NAMES[name]
    with faults.FaultyServer(answer()) as server:
        driver = build(driver_class, server)
        if name == 'monasca':
            server.answer.page_rows = 10
        collect(driver, ['alpha', 'beta'])

        assert len(server.requests) == expected


@pytest.mark.parametrize('name, extra', [('monasca', 0), ('ceilometer', history.HOURS)])
def test_attributes_of_resources_take_one_request_a_period(build, name, extra):
    """Monasca has them in the measures."""
    driver_class, answer = NAMES[name]
    with faults.FaultyServer(answer()) as server:
        collect(
            build(driver_class, server, definition={'metadata': ['flavor']}),
            ['alpha', 'beta', 'nobody'],
        )

        assert len(server.requests) == 1 + extra


def test_the_request_to_monasca(build):
    with faults.FaultyServer(Monasca()) as server:
        collect(
            build(
                MonascaCollector,
                server,
                aggregation_method='mean',
                definition={'groupby': ['zone'], 'metadata': ['flavor']},
            ),
            ['a', 'b'],
        )

        request = server.requests[0]
        assert (request.method, request.path) == ('GET', '/v2.0/metrics/statistics')
        assert request.parameters == {
            'name': 'test_vcpus',
            'merge_metrics': 'true',
            'statistics': 'avg',
            'period': '3600',
            'start_time': '2024-05-01T00:00:00Z',
            'end_time': '2024-05-01T06:00:00Z',
            'dimensions': 'project_id:a|b',
            'group_by': 'zone,project_id,resource,flavor',
        }


@pytest.mark.parametrize(
    'scope_ids, expected',
    [
        (['a', 'b:c'], 'project_id'),
        (['a,b'], 'project_id'),
        (['x' * 255] * 20, 'project_id'),
        (['a'], 'project_id:a'),
    ],
)
def test_monasca_is_asked_for_all_when_it_cannot_be_asked_for_some(build, scope_ids, expected):
    with faults.FaultyServer(Monasca()) as server:
        collect(build(MonascaCollector, server), scope_ids)

        assert server.requests[0].parameters['dimensions'] == expected


def test_usage_of_others_in_an_answer_is_left_out(build):
    """Where Monasca is asked for all, only those count that were to be asked for."""
    with faults.FaultyServer(Monasca()) as server:
        driver = build(MonascaCollector, server)

        assert collect(driver, ['beta', 'odd:one']) == collect(driver, ['beta']) != []
        assert collect(driver, ['odd:one', 'beta']) == collect(driver, ['beta'])


@pytest.mark.parametrize(
    'forced, scope_ids, expected',
    [('other', ['alpha'], {'other'}), ('SCOPE_ID', ['alpha', 'beta'], {'alpha', 'beta'})],
)
def test_another_tenant_can_be_asked_for(build, forced, scope_ids, expected):
    """With SCOPE_ID all that the tenant has belongs to the scope."""
    with faults.FaultyServer(Monasca(families=())) as server:
        server.answer.tenants = {'other': history.FAMILIES, 'beta': history.FAMILIES}
        found = collect(build(MonascaCollector, server, forced_project_id=forced), scope_ids)

        assert {request.parameters['tenant_id'] for request in server.requests} == expected
        assert {scope_id for scope_id, *_ in found} == {'other': {'alpha'}, 'SCOPE_ID': {'beta'}}[
            forced
        ]
        assert {resource for _, _, resource, _ in found} == {
            'other': {'web', 'db'},
            'SCOPE_ID': {'web', 'db', 'job'},
        }[forced]


def test_the_requests_to_ceilometer(build):
    with faults.FaultyServer(Ceilometer()) as server:
        collect(build(CeilometerCollector, server, definition={'groupby': ['user_id']}), ['beta'])

        query = (
            'q.field=timestamp&q.op=ge&q.value=2024-05-01T00%3A00%3A00&'
            'q.field=timestamp&q.op=lt&q.value=2024-05-01T{}%3A00%3A00&'
            'q.field=project_id&q.op=eq&q.value=beta'
        )
        assert [(request.path, request.query) for request in server.requests[:2]] == [
            (
                '/v2/meters/test_vcpus/statistics',
                query.format('06') + '&period=3600&groupby=project_id&groupby=resource_id',
            ),
            ('/v2/resources', query.format('01') + '&meter_links=0&limit=1000000'),
        ]


@pytest.mark.parametrize(
    'name, methods',
    [
        ('monasca', {'max': 2, 'min': 1, 'mean': Decimal('1.5')}),
        ('ceilometer', {'max': 2, 'min': 1, 'avg': Decimal('1.5'), 'sum': 90, 'count': 60}),
    ],
)
def test_statistics_are_those_of_the_period(build, name, methods):
    """Half open: a sample on the edge counts in the period that it begins."""
    driver_class, answer = NAMES[name]
    series = (
        {'project_id': 'alpha', 'resource': 'r'},
        [
            (int(history.BEGIN.timestamp()) + minute * 60, 1 + minute % 2 if minute < 60 else 9)
            for minute in range(61)
        ],
    )
    with faults.FaultyServer(answer([history.Family('m', 'gauge', [series])])) as server:
        for method, expected in methods.items():
            driver = build(driver_class, server, name='m', aggregation_method=method)

            assert collect(driver, ['alpha'], name='m')[0] == ('alpha', 0, 'r', expected)


@pytest.mark.parametrize('name', NAMES)
def test_holes_are_told_from_disuse(build, name):
    """One small request for each metric; the resources are looked up where there is a gap."""
    driver_class, answer = NAMES[name]
    begin = int(history.BEGIN.timestamp())
    minutes = {'away': (*range(75), *range(160, 360)), 'left': range(75), 'always': range(360)}
    families = [
        history.Family(
            metric,
            'gauge',
            [
                (
                    {'project_id': 'alpha', 'resource': 'r'},
                    [(begin + minute * 60, 1) for minute in found if minute % 5 == 0],
                )
            ],
        )
        for metric, found in minutes.items()
    ]
    with faults.FaultyServer(answer(families)) as server:
        driver = build(driver_class, server, name='always')
        for metric in ('away', 'left'):
            driver.conf |= build(driver_class, server, name=metric).conf

        found = driver.coverage(
            sorted(minutes), history.PERIODS[1:5], known={}, now=history.PERIODS[-1].end
        )

        assert {
            metric: [
                ((gap.begin - history.BEGIN).seconds // 60, (gap.end - history.BEGIN).seconds // 60)
                for gap in coverage.gaps
            ]
            for metric, coverage in found.items()
        } == {'always': [], 'away': [(75, 160)], 'left': [(75, 360)]}
        assert [found[metric].gaps[0].is_hole for metric in ('away', 'left')] == [True, False]
        assert len(server.requests) == 3 + 2 + 1


@pytest.mark.parametrize(
    'name, extra_args',
    [('ceilometer', {'aggregation_method': 'sum'}), ('monasca', {'forced_project_id': 'SCOPE_ID'})],
)
def test_metrics_whose_holes_cannot_be_told_are_left_out(build, name, extra_args):
    """Samples that are added up come irregularly; each scope in a tenant of its own is dear."""
    driver_class, answer = NAMES[name]
    with faults.FaultyServer(answer()) as server:
        driver = build(driver_class, server, **extra_args)
        now = history.PERIODS[-1].end
        assert driver.coverage(['test_vcpus'], history.PERIODS, known={}, now=now) == {}
        assert server.requests == []


MONASCA_ROW = (
    '{"elements": [{"dimensions": {"project_id": "alpha", "resource": "r"}, "columns": '
    '["timestamp", "max"], "statistics": [["2024-05-01T00:00:00Z", %s]]}]}'
)
CEILOMETER_ROW = (
    '[{"groupby": {"project_id": "alpha", "resource_id": "r"}, "period_start": '
    '"2024-05-01T00:00:00", "max": %s}]'
)
ROWS = {'monasca': MONASCA_ROW, 'ceilometer': CEILOMETER_ROW}


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('number', ['0.1', '12345678901234567890.123456789', '1e-9', '7'])
def test_a_quantity_is_exactly_the_number_in_the_answer(build, name, number):
    with faults.FaultyServer(faults.text(ROWS[name] % number)) as server:
        found = collect(build(NAMES[name][0], server), ['alpha'])

    assert found == [('alpha', 0, 'r', Decimal(number))]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('number', [5000 * '1', f'0.{500 * "1"}', '<html>'])
def test_an_answer_that_cannot_be_read_says_why(build, name, number):
    """A number that is too long is no fault of the JSON."""
    told = 'is no JSON' if number == '<html>' else r'1\.\.\. has more than 500 characters'
    with faults.FaultyServer(faults.text(ROWS[name] % number)) as server:
        with pytest.raises(errors.SourceUnreachable, match=told):
            collect(build(NAMES[name][0], server), ['alpha'])


BROKEN = [
    faults.text('<html>'),
    faults.text('<html>', status=502),
    faults.text('', status=401),
    faults.text('', status=403),
    faults.reset,
    faults.truncated,
    faults.drip,
    faults.drip_head,
    faults.hang,
    faults.text('', status=302),
]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('answer', BROKEN)
def test_a_source_that_says_nothing_is_unreachable(build, name, answer):
    with faults.FaultyServer(answer) as server:
        driver = build(NAMES[name][0], server, options={'timeout': 1})

        with pytest.raises(errors.SourceUnreachable, match=f"Collector '{name}': ") as caught:
            collect(driver, ['alpha'])
        assert '\n' not in str(caught.value)
        server.answer = faults.text(ROWS[name] % 7)
        assert len(collect(driver, ['alpha'])) == 1


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    'answer',
    [
        faults.as_json({'title': 'no'}, status=400),
        faults.as_json({'title': 'no'}, status=422),
        faults.as_json(None),
        faults.as_json({}),
        faults.as_json({'elements': None}),
        faults.as_json({'elements': [None]}),
        faults.as_json([None]),
        faults.as_json([{}]),
        faults.as_json({'elements': [{}]}),
        *(
            faults.text(row % value)
            for row in ROWS.values()
            for value in ('null', '"1"', 'true', '[')
        ),
        *(faults.text((row % 1).replace('2024', '2023')) for row in ROWS.values()),
    ],
)
def test_an_answer_of_another_kind_is_an_error(build, name, answer):
    """Never points that are missing."""
    with faults.FaultyServer(answer) as server:
        with pytest.raises(errors.CollectError):
            collect(build(NAMES[name][0], server), ['alpha'])


def test_pages_without_end_are_an_error(build):
    """And only the query of a link is followed: it may name a foreign host."""
    page = {'elements': [], 'links': [{'rel': 'next', 'href': 'http://elsewhere/x?offset=1'}]}
    with faults.FaultyServer(faults.as_json(page)) as server:
        with pytest.raises(errors.SourceUnreachable, match='pages without end'):
            collect(build(MonascaCollector, server), ['alpha'])

        assert [request.path for request in server.requests] == ['/v2.0/metrics/statistics'] * 2


@pytest.mark.parametrize('name', NAMES)
def test_points_have_the_factor_of_their_definition_and_the_day_of_their_period(build, name):
    """Two periods, one before and one after midnight."""
    driver_class, answer = NAMES[name]
    begin = int(history.BEGIN.timestamp())
    samples = [(begin + 23 * 3600, 3), (begin + 24 * 3600, 5)]
    series = [({'project_id': 'alpha', 'resource': 'r'}, samples)]
    periods = [history.hour(23), history.hour(24)]
    with faults.FaultyServer(answer([history.Family('m', 'gauge', series)])) as server:
        driver = build(driver_class, server, name='m', definition={'factor': '1/2'})

        found = [
            (scope_id, period, point.qty, point.groupby['day_of_the_year'])
            for scope_id, period, points in driver.collect('m', periods, ['alpha'])
            for point in points
        ]

    assert found == [
        ('alpha', periods[0], Decimal('1.5'), '122'),
        ('alpha', periods[1], Decimal('2.5'), '123'),
    ]


def test_a_list_that_was_cut_off_is_an_error(configure):
    """Never a shorter list: those behind the cut would not be billed."""
    page = {'elements': [{'dimension_value': 'a'}], 'links': {}}
    with faults.FaultyServer(faults.as_json(page)) as server:
        driver = MonascaFetcher(configure(MonascaFetcher, server))
        assert driver.get_tenants() == ['a']

        server.answer = faults.as_json({**page, 'truncated': True})
        with pytest.raises(errors.FetcherError, match='the list is cut off at 1'):
            driver.get_tenants()


def test_resources_that_may_be_cut_off_are_an_error(build, monkeypatch):
    """Ceilometer does not say that there are more; those left out would have no attributes."""
    samples = [(int(history.BEGIN.timestamp()), 1)]
    series = [({'project_id': 'alpha', 'resource': name}, samples) for name in ('r', 's')]
    with faults.FaultyServer(Ceilometer([history.Family('m', 'gauge', series)])) as server:
        driver = build(CeilometerCollector, server, name='m', definition={'metadata': ['flavor']})
        monkeypatch.setattr('cloudkitty.collector.ceilometer.RESOURCES_MAX', 3)
        assert len(collect(driver, ['alpha'], name='m')) == 2

        monkeypatch.setattr('cloudkitty.collector.ceilometer.RESOURCES_MAX', 2)
        with pytest.raises(errors.CollectError, match='there may be more than 2 resources'):
            collect(driver, ['alpha'], name='m')


def test_resources_are_described_as_they_were_in_each_period(build):
    """Ceilometer tells of the resource as the samples of the period describe it."""
    begin = int(history.BEGIN.timestamp())
    series = [
        ({'project_id': 'alpha', 'resource': 'r', 'flavor': flavor}, [(begin + 3600 * hour, 1)])
        for hour, flavor in enumerate(('small', 'large'))
    ]
    with faults.FaultyServer(Ceilometer([history.Family('m', 'gauge', series)])) as server:
        driver = build(CeilometerCollector, server, name='m', definition={'metadata': ['flavor']})

        found = [
            (period.begin.hour, point.metadata['flavor'], point.groupby['day_of_the_year'])
            for _, period, points in driver.collect('m', history.PERIODS, ['alpha'])
            for point in points
        ]

    assert found == [(0, 'small', '122'), (1, 'large', '122')]


def test_a_dimension_without_a_value_is_no_scope(configure):
    values = [{'dimension_value': value} for value in ('b', '', 'a', 'b')]
    with faults.FaultyServer(faults.as_json({'elements': values, 'links': []})) as server:
        assert MonascaFetcher(configure(MonascaFetcher, server)).get_tenants() == ['a', 'b']


@pytest.mark.parametrize(
    'driver_class, definition, extra_args, told',
    [
        (MonascaCollector, {}, {'aggregation_method': 'sum'}, 'one of max, mean, min'),
        (MonascaCollector, {}, {'resource_key': ''}, 'resource_key must be text'),
        (MonascaCollector, {}, {'forced_project_id': 1}, 'forced_project_id must be text'),
        (MonascaCollector, {}, {'range_function': 'rate'}, "unknown key 'range_function'"),
        (MonascaCollector, {'groupby': ['a,b']}, {}, "'a,b' is no name"),
        (MonascaCollector, {'metadata': ['resource']}, {}, 'resource must not be in metadata'),
        (
            CeilometerCollector,
            {},
            {'aggregation_method': 'mean'},
            'one of max, min, avg, sum, count',
        ),
        (CeilometerCollector, {}, {'forced_project_id': 'x'}, "unknown key 'forced_project_id'"),
    ],
)
def test_a_wrong_definition_is_refused(build, driver_class, definition, extra_args, told):
    with faults.FaultyServer(faults.hang) as server:
        with pytest.raises(errors.InvalidInput, match=told):
            build(driver_class, server, definition=definition, **extra_args)


def test_ceilometer_cannot_group_by_any_attribute(build, conf):
    conf.set_override('scope_key', 'tenant', 'collect')

    with faults.FaultyServer(faults.hang) as server:
        with pytest.raises(errors.InvalidInput, match=r'\[collect\]scope_key is .tenant.'):
            build(CeilometerCollector, server)


def test_the_fetcher_asks_for_the_dimension_and_the_tenant(configure):
    server = Monasca()
    server.tenants = {'t': history.FAMILIES}
    with faults.FaultyServer(server) as server:
        driver = MonascaFetcher(
            configure(MonascaFetcher, server, dimension_name='resource', monasca_tenant_id='t')
        )

        assert 'disk-a' in driver.get_tenants()
        assert server.requests[0].path == '/v2.0/metrics/dimensions/names/values'
        assert server.requests[0].parameters == {'dimension_name': 'resource', 'tenant_id': 't'}


@pytest.mark.parametrize(
    'answer',
    [
        *BROKEN,
        faults.as_json({'elements': [{}]}),
        faults.as_json({'elements': [None]}),
        faults.as_json([]),
    ],
)
def test_a_failing_monasca_is_an_error_never_an_empty_list(configure, answer):
    with faults.FaultyServer(answer) as server:
        driver = MonascaFetcher(configure(MonascaFetcher, server, timeout=1))

        with pytest.raises(errors.FetcherError, match="Fetcher 'monasca': "):
            driver.get_tenants()
