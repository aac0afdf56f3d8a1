"""Collectors that find their source in the catalog of a real Keystone, with its tokens."""

import logging

import pytest

from cloudkitty import collector, errors
from cloudkitty.tests import faults, history, keystone
from cloudkitty.tests.fake_ceilometer import Ceilometer
from cloudkitty.tests.fake_monasca import Monasca

SOURCES = {
    'monasca': ('collector_monasca', 'monitoring', Monasca),
    'ceilometer': ('ceilometer_collector', 'metering', Ceilometer),
}


@pytest.fixture(params=SOURCES)
def source(request, cloud, conf, tmp_path):
    """A server that is in the catalog, and the collector that asks it."""
    group, kind, answer = SOURCES[request.param]
    (tmp_path / 'metrics.yml').write_text(
        'metrics: {test_vcpus: {unit: x, extra_args: {resource_key: resource}}}'
    )
    with faults.FaultyServer(answer()) as server:
        made = cloud.keystone.ask(
            'POST', 'services', json={'service': {'name': request.param, 'type': kind}}
        )['service']
        cloud.keystone.ask(
            'POST',
            'endpoints',
            json={
                'endpoint': {
                    'service_id': made['id'],
                    'interface': 'internal',
                    'region_id': keystone.REGION,
                    'url': f'http://{server.address}',
                }
            },
        )
        (tmp_path / 'cloudkitty.conf').write_text(f"""
[collect]
collector = {request.param}
metrics_conf = {tmp_path}/metrics.yml
[{group}]
auth_type = password
auth_section = keystone_authtoken
timeout = 10
{cloud.keystone.auth_token_options}""")
        conf([], project='cloudkitty', default_config_files=[str(tmp_path / 'cloudkitty.conf')])
        yield server
        cloud.keystone.ask('DELETE', f'services/{made["id"]}')


def collect(driver):
    return list(driver.collect('test_vcpus', history.PERIODS, ['alpha', 'beta']))


def test_a_token_that_is_refused_is_replaced(source, conf, caplog):
    """In the middle of the work, without a word; nothing is lost."""
    driver = collector.get_driver(conf)
    whole, answer = collect(driver), source.answer
    old = source.requests[0].headers['X-Auth-Token']

    def refusing(handler, request):
        known = request.headers['X-Auth-Token'] != old
        (answer if known else faults.as_json({}, status=401))(handler, request)

    source.answer = refusing

    assert whole
    assert list(map(repr, collect(driver))) == list(map(repr, whole))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_source_without_endpoint_is_told(source, conf):
    driver = collector.get_driver(conf)
    conf.set_override('interface', 'admin', driver.group)

    with pytest.raises(errors.SourceUnreachable, match='EndpointNotFound: admin endpoint'):
        collect(collector.get_driver(conf))


def test_a_keystone_that_is_gone_is_told_once_it_is_needed(source, cloud, conf):
    """A token that there is still serves."""
    driver = collector.get_driver(conf)
    whole = collect(driver)
    cloud.keystone.kill()

    assert list(map(repr, collect(driver))) == list(map(repr, whole))
    with pytest.raises(errors.SourceUnreachable):
        collect(collector.get_driver(conf))
    cloud.keystone.start()
