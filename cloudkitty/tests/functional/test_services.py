"""The services that tests, demo and benchmarks stand on."""

import pytest
import requests

from cloudkitty.tests import faults, services


def test_a_missing_program_names_the_debian_package(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))

    with pytest.raises(services.ServiceFailed, match='install the Debian package prometheus-node'):
        services.NodeExporter(tmp_path).start()


def test_a_program_that_ends_at_once_shows_its_log(tmp_path):
    with pytest.raises(services.ServiceFailed, match='unknown long flag'):
        services.Prometheus(tmp_path, options=['--nonsense']).start()


def test_a_service_starts_again_with_its_data(tmp_path):
    history = [services.Family('x', 'gauge', [({'a': 'b'}, [(1700000000, 5)])])]
    with services.Prometheus(tmp_path, history=history) as server:
        for end in server.kill, server.stop:
            url = server.url
            end()
            server.start()
            assert server.url == url
            assert server.query('x @ 1700000000')[0]['value'][1] == '5'


def test_trouble_can_come_and_go_before_a_real_server(prometheus):
    with faults.FaultyServer(faults.pass_on(prometheus.url)) as server:

        def ask():
            return requests.get(f'{server.url}/query', params={'query': '1 + 1'}, timeout=10)

        assert ask().json()['data']['result'][1] == '2'
        server.answer = faults.text('', status=500)
        assert ask().status_code == 500
        server.answer = faults.pass_on(prometheus.url)
        assert ask().json()['data']['result'][1] == '2'
