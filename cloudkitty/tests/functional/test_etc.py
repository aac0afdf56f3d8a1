"""The metric definition files that we ship."""

import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloudkitty.collector import metrics_file
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.collector.prometheus import PrometheusCollector
from cloudkitty.tests import ini, services

FOLDER = Path(__file__).parents[3] / 'etc' / 'cloudkitty'
PERIOD_S = 5
SETS = {
    'metrics.yml': (
        'gnocchi',
        'project_id',
        [
            'instance',
            'vcpus',
            'memory',
            'image.size',
            'volume.size',
            'volume.snapshot.size',
            'volume.backup.size',
            'network.outgoing.bytes.rate',
            'network.incoming.bytes.rate',
            'ip.floating',
            'radosgw.objects.size',
            'storage.objects.size',
            'manila.share.size',
        ],
    ),
    'prom_metrics.yml': (
        'prometheus',
        'tenant_id',
        [
            'instance',
            'storage',
            'volume.size',
            'image.size',
            'ip.floating',
            'router',
            'load.balancer',
        ],
    ),
    'kubernetes_metrics.yml': (
        'prometheus',
        'namespace',
        ['cpu', 'memory', 'volume', 'load.balancer', 'network.in', 'network.out'],
    ),
    'metering_metrics.yml': (
        'metering',
        'project_id',
        [
            'instance',
            'vcpus',
            'memory',
            'volume.size',
            'snapshot.size',
            'image.size',
            'ip.floating',
            'loadbalancer',
            'cpu',
            'network.incoming.bytes',
            'network.outgoing.bytes',
            'storage.api.request',
        ],
    ),
    'node_exporter_metrics.yml': (
        'prometheus',
        'project_id',
        ['cpu', 'memory.used', 'filesystem.used', 'network.in', 'network.out'],
    ),
}


def test_every_file_is_listed():
    assert {path.name for path in FOLDER.glob('*.yml')} == SETS.keys()


@pytest.mark.parametrize('name', SETS)
def test_the_command_finds_nothing_wrong(tmp_path, name):
    driver, scope_key, _ = SETS[name]
    conf = ini.write(tmp_path / 'conf', {'collect': {'collector': driver, 'scope_key': scope_key}})

    ended = subprocess.run(
        [
            Path(sys.executable).parent / 'cloudkitty-metrics',
            '--config-file',
            conf,
            'check',
            FOLDER / name,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.stdout == f'{FOLDER / name}: nothing is wrong for collector {driver}\n'
    assert (ended.returncode, ended.stderr) == (0, '')


@pytest.mark.parametrize('name', SETS)
def test_the_published_names(name):
    """Rules of operators name them."""
    driver, scope_key, expected = SETS[name]
    kind = {
        'gnocchi': GnocchiCollector,
        'metering': MeteringCollector,
        'prometheus': PrometheusCollector,
    }[driver]

    found = kind.check_configuration(metrics_file.load(FOLDER / name), scope_key)

    assert [metric.published_name for metric in found.values()] == expected


def build(conf, name, url, *, scrape_interval_s, period_s=3600):
    conf.register_opts(PrometheusCollector.OPTS, PrometheusCollector.GROUP)
    conf.set_override('prometheus_url', url, PrometheusCollector.GROUP)
    conf.set_override('scrape_interval', scrape_interval_s, PrometheusCollector.GROUP)
    conf.set_override('scope_key', SETS[name][1], 'collect')
    content = metrics_file.load(FOLDER / name)
    for definition in content['metrics'].values():
        if 'scrape_interval' in definition['extra_args']:
            definition['extra_args']['scrape_interval'] = scrape_interval_s
    return PrometheusCollector(period=period_s, service_conf=conf, conf=content)


def test_this_machine_can_be_rated(conf, tmp_path):
    """Every metric of the node exporter file has plausible quantities on a real machine."""
    with services.scraped_machine(tmp_path, {'project_id': 'demo', 'instance': 'here'}) as server:
        driver = build(
            conf,
            'node_exporter_metrics.yml',
            server.url,
            scrape_interval_s=1,
            period_s=PERIOD_S,
        )
        services.wait_until(
            lambda: bool(server.query(f'count_over_time(up[{PERIOD_S}s]) >= {PERIOD_S - 1}')),
            deadline_s=30,
            what='a period full of scrapes',
        )
        end = datetime.fromtimestamp(int(time.time()), UTC)
        found = {
            metric.published_name: driver.fetch_all(
                key, end - timedelta(seconds=PERIOD_S), end, 'demo'
            )
            for key, metric in driver.conf.items()
        }
        kinds = [
            driver.client.metric_type(name)
            for name in ('node_cpu_seconds_total', 'node_memory_MemTotal_bytes', 'nothing')
        ]

    assert kinds == ['counter', 'gauge', None]
    assert not server.is_ready()
    assert all(found.values())
    assert {point.groupby['instance'] for points in found.values() for point in points} == {'here'}
    assert 'idle' not in {point.groupby['mode'] for point in found['cpu']}
    assert all(0 <= point.qty < 2 for point in found['cpu'])
    assert len(found['memory.used']) == 1
    assert 0 < found['memory.used'][0].qty < 100_000
    assert all(
        point.qty >= 0
        for name in ('filesystem.used', 'network.in', 'network.out')
        for point in found[name]
    )


@pytest.mark.parametrize('name', ['cloudkitty-api', 'cloudkitty-processor'])
def test_systemd_accepts_the_units(tmp_path, name):
    """Programs that are not installed here stand for themselves."""
    unit = (FOLDER.parent / 'systemd' / f'{name}.service').read_text()
    assert 'ExecStart=/usr/bin/' in unit
    (tmp_path / f'{name}.service').write_text(
        re.sub('(?<=ExecStart=)/usr/bin/[a-z-]+', '/bin/true', unit)
    )

    ended = subprocess.run(
        [
            services.find('systemd-analyze', 'systemd'),
            'verify',
            '--man=no',
            str(tmp_path / f'{name}.service'),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, '')


def test_the_files_that_the_units_name_are_shipped():
    for name in re.findall(
        '/etc/cloudkitty/([a-z-]+[.]ini)',
        ''.join(path.read_text() for path in (FOLDER.parent / 'systemd').iterdir()),
    ):
        assert (FOLDER / name).exists()
