"""The metric definition files that we ship."""

import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloudkitty.collector import definitions
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.collector.prometheus import PrometheusCollector
from cloudkitty.tests import services

FOLDER = Path(__file__).parents[3] / 'etc' / 'cloudkitty'
PERIOD_S = 5


def test_the_gnocchi_definitions():
    found = GnocchiCollector.check_configuration(
        definitions.load(FOLDER / 'metrics.yml'), 'project_id')

    assert [metric.published_name for metric in found.values()] == [
        'instance', 'image.size', 'volume.size', 'network.outgoing.bytes.rate',
        'network.incoming.bytes.rate', 'ip.floating', 'radosgw.objects.size']
    assert found['cpu@#instance'].groupby == ('id', 'user_id', 'project_id')
    assert found['ip.floating'].extra_args['force_granularity'] == 3600


@pytest.mark.parametrize('name, scope_key, expected', [
    ('prom_metrics.yml', 'tenant_id', ['instance', 'storage', 'image.size']),
    ('node_exporter_metrics.yml', 'project_id',
     ['cpu', 'memory.used', 'filesystem.used', 'network.in', 'network.out']),
])
def test_the_prometheus_definitions(name, scope_key, expected):
    found = PrometheusCollector.check_configuration(definitions.load(FOLDER / name), scope_key)

    assert [metric.published_name for metric in found.values()] == expected


def test_this_machine_can_be_rated(conf, tmp_path):
    """Every metric of the node exporter file has plausible quantities on a real machine."""
    with services.scraped_machine(tmp_path, {'project_id': 'demo', 'instance': 'here'}) as server:
        conf.register_opts(PrometheusCollector.OPTS, PrometheusCollector.GROUP)
        conf.set_override('prometheus_url', server.url, PrometheusCollector.GROUP)
        driver = PrometheusCollector(
            period=PERIOD_S, service_conf=conf,
            conf=definitions.load(FOLDER / 'node_exporter_metrics.yml'))
        services.wait_until(
            lambda: bool(server.query(f'count_over_time(up[{PERIOD_S}s]) >= {PERIOD_S - 1}')),
            deadline_s=30, what='a period full of scrapes')
        end = datetime.fromtimestamp(int(time.time()), UTC)
        found = {metric.published_name: driver.fetch_all(
                     key, end - timedelta(seconds=PERIOD_S), end, 'demo')
                 for key, metric in driver.conf.items()}

    assert not server.is_ready()
    assert all(found.values())
    assert {point.groupby['instance'] for points in found.values() for point in points} == {'here'}
    assert 'idle' not in {point.groupby['mode'] for point in found['cpu']}
    assert all(0 <= point.qty < 2 for point in found['cpu'])
    assert len(found['memory.used']) == 1
    assert 0 < found['memory.used'][0].qty < 100_000
    assert all(point.qty >= 0 for name in ('filesystem.used', 'network.in', 'network.out')
               for point in found[name])


@pytest.mark.parametrize('name', ['cloudkitty-api', 'cloudkitty-processor'])
def test_systemd_accepts_the_units(tmp_path, name):
    """Programs that are not installed here stand for themselves."""
    unit = (FOLDER.parent / 'systemd' / f'{name}.service').read_text()
    assert 'ExecStart=/usr/bin/' in unit
    (tmp_path / f'{name}.service').write_text(
        re.sub('(?<=ExecStart=)/usr/bin/[a-z-]+', '/bin/true', unit))

    ended = subprocess.run([services.find('systemd-analyze', 'systemd'), 'verify', '--man=no',
                            str(tmp_path / f'{name}.service')],
                           capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, '')


def test_the_files_that_the_units_name_are_shipped():
    for name in re.findall('/etc/cloudkitty/([a-z-]+[.]ini)', ''.join(
            path.read_text() for path in (FOLDER.parent / 'systemd').iterdir())):
        assert (FOLDER / name).exists()
