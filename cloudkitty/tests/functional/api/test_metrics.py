"""/metrics of the API: counted by several processes, shown by each."""

import subprocess

import pytest
import requests
import webob
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors, version
from cloudkitty.api import app, root, telemetry
from cloudkitty.tests import services
from cloudkitty.tests.functional.api import conftest


@pytest.fixture
def start(tmp_path, database):
    """Return a function that starts one more process of the API and returns (process, URL)."""
    processes = []

    def _start():
        port = services.free_port()
        path = tmp_path / f'{port}.conf'
        path.write_text(
            f'[DEFAULT]\nauth_strategy = noauth\n[api]\nport = {port}\n'
            f'metrics_folder = {tmp_path}/figures\n'
            f'[database]\nconnection = {database.url}\n'
        )
        process = subprocess.Popen(
            [conftest.BIN / 'cloudkitty-api', '--config-file', path],
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,
        )
        processes.append(process)
        url = f'http://127.0.0.1:{port}'
        assert f'cloudkitty-api listens on {url}\n' in iter(process.stdout.readline, '')
        return process, url

    yield _start
    for process in processes:
        process.kill()
        process.wait()


def _read(url):
    """Return {sample: value} of /metrics."""
    answer = requests.get(f'{url}/metrics', timeout=10)
    assert answer.status_code == 200
    assert answer.headers['x-openstack-request-id'].startswith('req-')
    return {
        name: float(value)
        for name, value in (
            line.rsplit(' ', 1) for line in answer.text.splitlines() if not line.startswith('#')
        )
    }


def _count(method, route, status):
    return f'cloudkitty_api_requests_total{{method="{method}",route="{route}",status="{status}"}}'


def test_all_processes_count_together_whatever_becomes_of_them(start, tmp_path):
    """And what a caller invents makes no new series."""
    first, first_url = start()
    _, second_url = start()
    for url in (first_url, second_url):
        requests.get(f'{url}/v1/rating/modules/', timeout=10)
        requests.get(f'{url}/v2/rating/modules/noop', timeout=10)
        requests.request('BREW', f'{url}/nope/{url[-3:]}', timeout=10)
    first.kill()
    first.wait()
    _, third_url = start()
    requests.get(f'{third_url}/v1/rating/modules', timeout=10)

    found = _read(second_url)

    assert found == _read(third_url)
    counts = {name: value for name, value in found.items() if '_requests_total{' in name}
    assert counts == {
        _count('GET', '/v1/rating/modules', 200): 3,
        _count('GET', '/v2/rating/modules/{module_id}', 200): 2,
        _count('other', 'other', 405): 2,
    }
    assert (
        found[
            'cloudkitty_api_request_duration_seconds_count{method="GET",route="/v1/rating/modules"}'
        ]
        == 3
    )
    assert found[f'cloudkitty_api_build_info{{version="{version.version_string()}"}}'] == 1
    assert len(list((tmp_path / 'figures').glob('counter_*.db'))) == 2


def test_there_is_none_unless_wanted(noauth):
    assert webob.Request.blank('/metrics').get_response(noauth).status_int == 404


@pytest.mark.parametrize('accepted', ['', 'application/openmetrics-text; version=1.0.0'])
def test_they_are_as_the_description_says(start, accepted):
    _, url = start()
    document = requests.get(f'{url}/openapi.json', timeout=10).json()

    answer = requests.get(f'{url}/metrics', timeout=10, headers={'Accept': accepted})

    described = document['paths']['/metrics']['get']['responses']['200']['content']
    assert answer.headers['Content-Type'].partition(';')[0] in described


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, conf, database):
    path = tmp_path / 'wrong.conf'
    path.write_text(
        '[DEFAULT]\nauth_strategy = noauth\n[api]\nmetrics_folder = /proc/nowhere\n'
        f'[database]\nconnection = {conf.database.connection}\n'
    )
    loaded = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())

    with pytest.raises(errors.ConfigurationError, match='metrics_folder: /proc/nowhere: '):
        app.load(loaded)


@pytest.mark.parametrize(
    'path, expected',
    [
        ('/', '/'),
        ('', '/'),
        ('/v1', '/v1'),
        ('/v1/', '/v1'),
        ('/healthcheck', '/healthcheck'),
        ('/v1/rating/modules/x', '/v1/rating/modules/{module_id}'),
        (
            '/v1/rating/module_config/hashmap/services/7',
            '/v1/rating/module_config/hashmap/services/{service_id}',
        ),
        ('/v1/rating/modules/x/y', 'other'),
        ('/v2/*', 'other'),
        ('/v2//scope', 'other'),
        ('/openapi.json', '/openapi.json'),
        ('/%00', 'other'),
    ],
)
def test_a_path_has_one_template(path, expected):
    routes = telemetry.Routes(root.RootController().description['paths'])

    assert routes.find(path) == expected
