"""What the stories of v1 cannot tell: other definition files, odd points, many of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import webob

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.rating import module_state as db_modules
from cloudkitty.tests.functional.api import conftest
from cloudkitty.tests.functional.api.conftest import BEGIN, HOUR

MARCH = datetime(2024, 3, 1, tzinfo=UTC)
NO_METRICS = (405, 'Invalid endpoint: no metrics in current configuration.')
UNREADABLE = (404, 'The metric definitions cannot be read.')


def _get(application, path, **headers):
    return webob.Request.blank(path, headers=headers).get_response(application)


@pytest.mark.parametrize(
    'content, metrics, config',
    [
        ('', NO_METRICS, (200, {})),
        ('metrics: {}', NO_METRICS, (200, {'metrics': {}})),
        (
            'metrics: {cpu: {since: 2024-05-01}}',
            NO_METRICS,
            (200, {'metrics': {'cpu': {'since': '2024-05-01'}}}),
        ),
        ('metrics: {cpu: {unit: 5}}', NO_METRICS, (200, {'metrics': {'cpu': {'unit': 5}}})),
        ('metrics: [', UNREADABLE, UNREADABLE),
        ('- metrics', UNREADABLE, UNREADABLE),
        (None, UNREADABLE, UNREADABLE),
    ],
)
def test_definitions_that_are_wrong(noauth, metrics_file, content, metrics, config):
    """They are told from missing ones; neither is an internal error nor tells the path."""
    if content is None:
        metrics_file.unlink()
    else:
        metrics_file.write_text(content)

    for path, (status, body) in (
        ('metrics', metrics),
        ('metrics/cpu', metrics),
        ('services', metrics),
        ('config', config),
    ):
        answer = _get(noauth, f'/v1/info/{path}')

        assert answer.status_int == status, path
        assert (answer.json if status == 200 else answer.json['faultstring']) == body
        assert str(metrics_file) not in answer.text


def test_definitions_are_read_when_asked_for(noauth, metrics_file):
    """A changed file needs no restart of the API."""
    for name in ('disk', 'volume'):
        metrics_file.write_text(f'metrics: {{{name}: {{unit: GiB}}}}')

        assert _get(noauth, '/v1/info/metrics').json['metrics'] == [
            {'metric_id': name, 'metadata': [], 'unit': 'GiB'}
        ]


def test_points_are_shown_as_they_are(noauth, storage):
    """Lists and numbers among the attributes, no scope, large and small numbers."""
    attributes = {'names': ['a', 'b'], 'size': 2, 'more': {'b': None}}
    storage.push(
        [
            DataFrame(
                MARCH,
                MARCH + HOUR,
                {'disk': [DataPoint('GiB', Decimal('1E+1'), Decimal('1E-28'), {}, attributes)]},
            )
        ],
        'p9',
    )

    answer = _get(noauth, '/v1/storage/dataframes?begin=2024-03-01&end=2024-03-02')

    [frame] = answer.json['dataframes']
    assert frame['tenant_id'] == '__UNDEF__'
    [resource] = frame['resources']
    assert resource == {
        'service': 'disk',
        'desc': resource['desc'],
        'volume': '10',
        'rating': '0.0000000000000000000000000001',
    }
    assert attributes.items() <= resource['desc'].items()


def test_reports_are_complete_and_exact(noauth, storage):
    """However many scopes there are."""
    count = 1100
    storage.push(
        [
            DataFrame(
                MARCH,
                MARCH + HOUR,
                {
                    'disk': [
                        DataPoint('GiB', 1, Decimal('0.1'), {'project_id': f's{number:04}'}, {})
                        for number in range(count)
                    ]
                },
            )
        ]
    )
    span = 'begin=2024-03-01&end=2024-04-01'

    names = _get(noauth, f'/v1/report/tenants?{span}').json
    summary = _get(noauth, f'/v1/report/summary?{span}&groupby=tenant_id').json['summary']

    assert names == [f's{number:04}' for number in range(count)]
    assert [item['tenant_id'] for item in summary] == names
    assert {item['rate'] for item in summary} == {'0.1'}
    assert _get(noauth, f'/v1/report/total?{span}').json == '110'
    frames = _get(noauth, f'/v1/storage/dataframes?{span}').json['dataframes']
    assert [frame['tenant_id'] for frame in frames] == names


def test_tenants_are_those_of_the_time_asked_for(noauth, storage):
    """The bounds count to the period, and a period belongs to where it begins."""
    late = BEGIN + timedelta(days=3)
    storage.push(
        [
            DataFrame(
                late, late + HOUR, {'disk': [DataPoint('GiB', 1, 0, {'project_id': 'p7'}, {})]}
            )
        ],
        'p7',
    )

    for begin, end, expected in (
        ('04T00:00', '05T00:00', ['p7']),
        ('04T00:30', '05T00:00', []),
        ('01T01:00', '04T00:00', ['p1', 'p2']),
        ('01T00:00', '04T00:30', ['p1', 'p2', 'p7']),
    ):
        answer = _get(noauth, f'/v1/report/tenants?begin=2019-01-{begin}:00&end=2019-01-{end}:00')
        assert answer.json == expected, (begin, end)


def test_a_policy_may_let_others_read_a_project(tmp_path, conf, database, storage):
    """Who is let in by the rule of the operator sees the project asked for, and no other."""
    path = tmp_path / 'policy.yaml'
    path.write_text(
        '"report:get_total": "role:auditor"\n"storage:list_data_frames": "role:auditor"\n'
    )
    application = conftest.behind_a_proxy(conf, database, storage, path)

    auditor = {'X-Roles': 'auditor', 'X-Project-Id': 'p1'}
    span = 'begin=2019-01-01&end=2019-02-01'
    total = _get(application, f'/v1/report/total?{span}&tenant_id=p2', **auditor)
    own = _get(application, f'/v1/report/total?{span}&all_tenants=1', **auditor)
    frames = _get(application, f'/v1/storage/dataframes?{span}&tenant_id=p2', **auditor)

    assert total.json == '1.0000000000000000000000000002'
    assert own.json == '0.6'
    assert {frame['tenant_id'] for frame in frames.json['dataframes']} == {'p2'}


def test_reloading_changes_the_version_of_every_module(noauth, database):
    """The versions are what makes the processes that rate load the rules again."""
    _get(noauth, '/v1/rating/reload_modules')
    _get(noauth, '/v1/billing/reload_modules')

    with database.reader() as connection:
        assert db_modules.versions(connection) == {'hashmap': 2, 'noop': 2, 'pyscripts': 2}


def test_a_quote_is_the_sum_of_all_scopes(noauth):
    """Each with its own rules, and what is of no scope with the general ones."""

    def send(path, method='POST', **body):
        request = webob.Request.blank(
            f'/v1/rating/{path}', method=method, json=body, content_type='application/json'
        )
        return request.get_response(noauth).json

    send('modules/hashmap', 'PUT', module_id='hashmap', enabled=True)
    service = send('module_config/hashmap/services', name='cpu')['service_id']
    for cost, scope in ((1, None), (100, 'p1'), (10_000, 'p2')):
        send('module_config/hashmap/mappings', service_id=service, cost=cost, tenant_id=scope)
    resources = [
        {'service': 'cpu', 'volume': volume, 'desc': {'groupby': groupby}}
        for volume, groupby in ((2, {}), (3, {'project_id': 'p1'}), (4, {'project_id': 'p2'}))
    ]

    assert [send('quote', resources=[resource]) for resource in resources] == [
        '2',
        '300',
        '40000',
    ]
    assert send('quote', resources=resources) == '40302'
