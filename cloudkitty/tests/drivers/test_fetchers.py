"""What every fetcher does; run for each driver and for the fake."""

import json
import subprocess
import sys
import time

import pytest

from cloudkitty import errors, fetcher
from cloudkitty.clients.prometheus_access import Direct
from cloudkitty.fetcher.file import FileFetcher
from cloudkitty.fetcher.gnocchi import GnocchiFetcher
from cloudkitty.fetcher.keystone import KeystoneFetcher
from cloudkitty.fetcher.meta import MetaFetcher
from cloudkitty.fetcher.monasca import MonascaFetcher
from cloudkitty.fetcher.prometheus import PrometheusFetcher
from cloudkitty.fetcher.source import SourceFetcher
from cloudkitty.tests import faults, history, services
from cloudkitty.tests.fake_monasca import Monasca
from cloudkitty.tests.fake_sources import FakeFetcher
from cloudkitty.tests.gnocchi import basic_auth

SCOPE_IDS = ('alpha', 'beta', *history.ODD_SCOPES)


@pytest.fixture(scope='module')
def live(tmp_path_factory):
    """A real Prometheus that scrapes a series of each scope, and some that belong to nobody.

    It also has the last sample of some that are no more.
    """
    samples = [
        services.Family(
            'scopes',
            'gauge',
            [({'project_id': scope_id, 'kind': 'real"one'}, [(None, 1)]) for scope_id in SCOPE_IDS],
        )
    ]
    samples.append(
        services.Family(
            'strays',
            'gauge',
            [
                ({'kind': 'a'}, [(None, 1)]),
                ({'kind': 'b', 'project_id': ''}, [(None, 1)]),
                ({'kind': 'c', 'project_id': 'kept'}, [(None, 1)]),
                ({'kind': 'e', 'project_id': 'y' * 256}, [(None, 1)]),
            ],
        )
    )
    now = int(time.time())
    visitors = services.Family(
        'visitors',
        'gauge',
        [
            ({'project_id': f'{minutes} minutes ago'}, [(now - 60 * minutes, 1)])
            for minutes in (30, 90, 180)
        ],
    )
    folder = tmp_path_factory.mktemp('live')
    services.write_openmetrics(folder / 'page', samples)
    page = faults.text((folder / 'page').read_text(), content_type='application/openmetrics-text')
    with (
        faults.FaultyServer(page) as exporter,
        services.Prometheus(
            folder, history=[visitors], targets=[services.Target(exporter.address, {})]
        ) as server,
    ):
        services.wait_until(lambda: bool(server.query('strays')), deadline_s=30, what='a scrape')
        yield server


def configure(conf, url, **options):
    conf.register_opts(PrometheusFetcher.OPTS, PrometheusFetcher.GROUP)
    for name, value in {'prometheus_url': url, 'metric': 'scopes', **options}.items():
        conf.set_override(name, value, PrometheusFetcher.GROUP)
    conf.set_override('backend', 'prometheus', 'fetcher')
    return conf


def build_prometheus(conf, request):
    return PrometheusFetcher(configure(conf, request.getfixturevalue('live').url))


def build_gnocchi(conf, request):
    basic_auth(
        conf, GnocchiFetcher, request.getfixturevalue('gnocchi').url, resource_types=['test']
    )
    return GnocchiFetcher(conf)


def build_source(conf, request):
    conf.register_opts(SourceFetcher.OPTS, SourceFetcher.GROUP)
    conf.set_override('sources', list(SCOPE_IDS), SourceFetcher.GROUP)
    return SourceFetcher(conf)


def build_fake(conf, request):
    return FakeFetcher(conf, SCOPE_IDS)


@pytest.fixture(scope='session')
def monasca():
    """A small Monasca with a metric of each scope, ten values to a page."""
    family = services.Family(
        'scopes', 'gauge', [({'project_id': scope_id}, []) for scope_id in SCOPE_IDS]
    )
    with faults.FaultyServer(Monasca([family], page_rows=10)) as server:
        yield server


def answer_as_keystone(handler, request):
    """Answer what the fetcher asks, ten assignments to a page.

    The real Keystone, tests/functional/keystone, has no odd ids and only ever one page.
    """
    if request.path == '/v3/auth/tokens':
        body = {
            'token': {
                'user': {'id': 'me'},
                'methods': ['password'],
                'expires_at': '2099-01-01T00:00:00.000000Z',
            }
        }
        handler.send(201, json.dumps(body).encode(), headers={'X-Subject-Token': 'token'})
        return
    links = {'next': None}
    answer = {'roles': [{'id': 'upper', 'name': 'RATING'}, {'id': 'lower', 'name': 'rating'}]}
    if request.path == '/v3/role_assignments':
        assert request.parameters['role.id'] == 'lower'
        first = int(request.parameters.get('marker', 0))
        answer = {
            'role_assignments': [
                {'scope': {'project': {'id': scope_id}}}
                for scope_id in SCOPE_IDS[first : first + 10]
            ]
        }
        if first + 10 < len(SCOPE_IDS):
            links['next'] = f'http://elsewhere/v3?{request.query}&marker={first + 10}'
    faults.as_json({**answer, 'links': links})(handler, request)


@pytest.fixture(scope='session')
def paging_keystone():
    with faults.FaultyServer(answer_as_keystone) as server:
        yield server


def write_section(conf, request, group, **options):
    """Configure a driver whose options depend on auth_type, which files can set only."""
    path = request.getfixturevalue('tmp_path') / 'cloudkitty.conf'
    path.write_text(
        f'[{group}]\n' + ''.join(f'{name} = {value}\n' for name, value in options.items())
    )
    conf([], project='cloudkitty', default_config_files=[str(path)])
    return conf


def build_keystone(conf, request):
    address = request.getfixturevalue('paging_keystone').address
    return KeystoneFetcher(
        write_section(
            conf,
            request,
            KeystoneFetcher.GROUP,
            auth_type='v3password',
            username='me',
            auth_url=f'http://{address}/v3',
            password='secret',
            user_domain_id='default',
        )
    )


def build_monasca(conf, request):
    address = request.getfixturevalue('monasca').address
    return MonascaFetcher(
        write_section(
            conf, request, MonascaFetcher.GROUP, auth_type='none', endpoint=f'http://{address}'
        )
    )


def build_meta(conf, request):
    configure(conf, request.getfixturevalue('live').url)
    build_source(conf, request)
    conf.register_opts(MetaFetcher.OPTS, MetaFetcher.GROUP)
    conf.set_override('fetchers', ['source', 'prometheus'], MetaFetcher.GROUP)
    return MetaFetcher(conf)


def build_file(conf, request):
    path = request.getfixturevalue('tmp_path') / 'scopes.jsonl'
    path.write_text(
        ''.join(
            json.dumps({'project_id': scope_id}) + '\n' for scope_id in (*SCOPE_IDS, *SCOPE_IDS)
        )
    )
    conf.register_opts(FileFetcher.OPTS, FileFetcher.GROUP)
    conf.set_override('files', [str(path)], FileFetcher.GROUP)
    return FileFetcher(conf)


DRIVERS = {
    'file': build_file,
    'prometheus': build_prometheus,
    'source': build_source,
    'meta': build_meta,
    'fake': build_fake,
    'gnocchi': build_gnocchi,
    'keystone': build_keystone,
    'monasca': build_monasca,
}
NAMES = [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) if name == 'gnocchi' else name
    for name in DRIVERS
]


@pytest.mark.parametrize('name', NAMES)
def test_every_scope_is_listed_once(request, conf, name):
    found = DRIVERS[name](conf, request).get_tenants()

    assert isinstance(found, list)
    assert sorted(found) == sorted(SCOPE_IDS)


@pytest.mark.parametrize('name', NAMES)
def test_listing_again_gives_the_same(request, conf, name):
    driver = DRIVERS[name](conf, request)

    assert driver.get_tenants() == driver.get_tenants()


@pytest.mark.parametrize('name', NAMES)
def test_a_driver_knows_its_name(request, conf, name):
    assert DRIVERS[name](conf, request).name == name


@pytest.mark.parametrize('name', ['prometheus', 'source'])
def test_the_configuration_chooses_the_driver(conf, name):
    configure(conf, 'http://127.0.0.1:9/api/v1').set_override('backend', name, 'fetcher')

    assert fetcher.get_driver(conf).name == name


def test_no_scope_is_listed_when_none_is_configured(conf):
    assert SourceFetcher(conf).get_tenants() == []


def test_series_of_nobody_are_left_out(conf, live):
    found = PrometheusFetcher(configure(conf, live.url, metric='strays')).get_tenants()

    assert found == ['kept', 'y' * 256]


def test_an_empty_label_is_no_scope(conf):
    """Stores other than Prometheus may answer with one."""
    series = [({'project_id': 'b'}, '1'), ({'project_id': ''}, '1'), ({}, '1')]
    with faults.FaultyServer(faults.vector(*series, ({'project_id': 'a'}, '1'))) as server:
        assert PrometheusFetcher(configure(conf, server.url)).get_tenants() == ['a', 'b']


@pytest.mark.parametrize(
    'filters, expected',
    [
        ({'kind': 'real"one'}, len(SCOPE_IDS)),
        ({'kind': 'real"one', 'project_id': 'alpha'}, 1),
        ({'kind': '.*'}, 0),
        ({'kind': 'x"} or up{job=~".*'}, 0),
        ({'kind': '\\'}, 0),
    ],
)
def test_filters_choose_series_and_their_values_are_text(conf, live, filters, expected):
    driver = PrometheusFetcher(configure(conf, live.url, filters=filters))

    assert len(driver.get_tenants()) == expected


def test_a_scope_of_the_last_two_periods_is_not_missed(conf, live):
    """It may have come and gone between two looks."""
    driver = PrometheusFetcher(configure(conf, live.url, metric='visitors'))

    assert driver.get_tenants() == ['30 minutes ago', '90 minutes ago']


def test_what_is_no_name_of_a_metric_is_asked_as_it_stands(conf, live):
    driver = PrometheusFetcher(configure(conf, live.url, metric='scopes * 2'))

    assert driver.get_tenants() == sorted(SCOPE_IDS)


@pytest.mark.parametrize('period, look_back_s', [(600, 1200), (2592000, 86400)])
def test_the_query(conf, period, look_back_s):
    conf.set_override('period', period, 'collect')
    with faults.FaultyServer(faults.vector(({'tenant': 'a'}, '1'))) as server:
        driver = PrometheusFetcher(
            configure(conf, server.url, scope_attribute='tenant', filters={'a': 'x', 'b': 'y'})
        )

        assert driver.get_tenants() == ['a']
        assert server.requests[0].parameters == {
            'query': f'max(last_over_time(scopes{{a="x", b="y"}}[{look_back_s}s])) by (tenant)',
            **Direct.extra_parameters,
        }


@pytest.mark.parametrize(
    'options, text',
    [
        ({'metric': None}, '[fetcher_prometheus]metric is not set; allowed: the name of a metric'),
        ({'metric': ''}, '[fetcher_prometheus]metric is not set'),
        ({'scope_attribute': 'project-id'}, "[fetcher_prometheus]scope_attribute has 'project-id'"),
        ({'filters': {'a.b': 'c'}}, "[fetcher_prometheus]filters has 'a.b', which is no name of a"),
        ({'prometheus_url': ''}, '[fetcher_prometheus]prometheus_url is not set'),
        ({'prometheus_url': 'host:9090'}, "[fetcher_prometheus]prometheus_url is 'host:9090'"),
    ],
)
def test_a_wrong_option_is_named(conf, options, text):
    configure(conf, 'http://127.0.0.1:9/api/v1', **options)

    with pytest.raises(errors.ConfigurationError) as caught:
        fetcher.get_driver(conf)

    assert text in str(caught.value)


def test_a_value_of_the_wrong_type_is_named(conf, tmp_path):
    (tmp_path / 'ck.conf').write_text('[fetcher_prometheus]\nmetric = scopes\ntimeout = soon\n')
    conf([], project='cloudkitty', default_config_files=[str(tmp_path / 'ck.conf')])

    with pytest.raises(errors.ConfigurationError, match=r'ck\.conf: .*timeout.*soon'):
        PrometheusFetcher(conf)


@pytest.mark.parametrize(
    'answer',
    [
        faults.text('<html>', status=500),
        faults.text('<html>'),
        faults.text('', status=401),
        faults.truncated,
        faults.reset,
        faults.as_json({'status': 'success'}),
        faults.error('bad_data', 'parse error', status=400),
        faults.as_json({'status': 'success', 'data': {'resultType': 'vector', 'result': [None]}}),
        faults.as_json({'status': 'success', 'data': {'resultType': 'vector', 'result': [{}]}}),
    ],
)
def test_a_failing_source_is_an_error_never_an_empty_list(conf, answer):
    with faults.FaultyServer(answer) as server:
        driver = PrometheusFetcher(configure(conf, server.url))

        with pytest.raises(errors.FetcherError, match=f"Fetcher 'prometheus': {server.url}: "):
            driver.get_tenants()


def test_the_fake_fails_when_told(conf):
    with pytest.raises(errors.FetcherError):
        FakeFetcher(conf, None).get_tenants()


# In a process of its own: of an option the library tells once in the life of a process.
READ_VERSION = """
import sys
from oslo_config import cfg
from cloudkitty import conf as configuration
from cloudkitty.fetcher.keystone import KeystoneFetcher
conf = configuration.load([], files=[sys.argv[1]], conf=cfg.ConfigOpts())
options = configuration.register_driver(conf, KeystoneFetcher.GROUP, KeystoneFetcher.OPTS)
print(options.keystone_version)
"""


def test_a_version_of_keystone_in_an_old_file_is_accepted_and_told_of(tmp_path):
    """Files of former releases name it; the log says that it has no use any more."""
    path = tmp_path / 'cloudkitty.conf'
    path.write_text('[fetcher_keystone]\nkeystone_version = 3\n')

    ended = subprocess.run(
        [sys.executable, '-c', READ_VERSION, path], capture_output=True, text=True
    )

    assert ended.stdout.splitlines()[-1:] == ['3'], ended
    assert 'Option "keystone_version"' in ended.stdout
    assert 'deprecated' in ended.stdout
