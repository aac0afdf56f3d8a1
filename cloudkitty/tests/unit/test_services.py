"""The services that tests, demo and benchmarks stand on."""

import pytest

from cloudkitty.tests import services

MODES = {'user', 'system', 'idle', 'iowait', 'nice', 'irq', 'softirq', 'steal'}


def test_a_missing_program_names_the_debian_package(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))

    with pytest.raises(services.ServiceFailed, match='install the Debian package prometheus-node'):
        services.NodeExporter(tmp_path).start()


def test_a_program_that_ends_at_once_shows_its_log(tmp_path):
    with pytest.raises(services.ServiceFailed, match='unknown long flag'):
        services.Prometheus(tmp_path, options=['--nonsense']).start()


def test_this_machine_is_measured(tmp_path):
    """Both programs are gone afterwards."""
    with services.scraped_machine(tmp_path, {'project_id': 'this "machine"'}) as server:
        found = server.query('node_cpu_seconds_total{project_id="this \\"machine\\""}')
        assert {series['metric']['mode'] for series in found} == MODES

    assert not server.is_ready()


def test_a_service_starts_again_with_its_data(tmp_path):
    history = [services.Family('x', 'gauge', [({'a': 'b'}, [(1700000000, 5)])])]
    with services.Prometheus(tmp_path, history=history) as server:
        for end in server.kill, server.stop:
            url = server.url
            end()
            server.start()
            assert server.url == url
            assert server.query('x @ 1700000000')[0]['value'][1] == '5'
