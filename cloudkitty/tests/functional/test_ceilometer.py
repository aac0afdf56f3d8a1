"""The definition file for Gnocchi, and a real one that is filled as Ceilometer fills it."""

from decimal import Decimal
from statistics import fmean

import pytest

from cloudkitty.collector import metrics_file
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.tests import gnocchi as gnocchi_peer
from cloudkitty.tests import history
from cloudkitty.tests.functional.test_etc import FOLDER

HOURS = [history.hour(0), history.hour(1)]
GIB = 2**30
# As Ceilometer 27 makes them: resource types, archive policies, and which has which metric.
TEXTS = {
    'instance': (
        'flavor_id',
        'image_ref',
        'host',
        'display_name',
        'server_group',
        'flavor_name',
        'availability_zone',
    ),
    'instance_network_interface': ('name',),
    'image': ('name', 'container_format', 'disk_format'),
    'volume': ('display_name', 'volume_type', 'volume_type_id'),
    'network': (),
    'ceph_account': (),
    'swift_account': ('storage_policy',),
    'manila_share': ('name', 'host', 'protocol', 'availability_zone', 'status'),
}
POLICY = {
    'name': 'ceilometer-low',
    'aggregation_methods': ['mean'],
    'back_window': 0,
    'definition': [{'granularity': '5 minutes', 'timespan': '30 days'}],
}
MEASURED = {
    'instance': {
        'cpu': lambda s: s * 10**9,
        'vcpus': lambda s: 2 if s < 1800 else 4,
        'memory': lambda s: 2048,
    },
    # The machine starts again after 100 minutes.
    'instance_network_interface': {
        'network.outgoing.bytes': lambda s: 1000 * (s if s < 6000 else s - 6000),
        'network.incoming.bytes': lambda s: 50_000 * s,
    },
    'image': {'image.size': lambda s: 13 * 2**20},
    'volume': {
        'volume.size': lambda s: 20 if s < 3600 else 40,
        'volume.snapshot.size': lambda s: 5,
        'volume.backup.size': lambda s: 6,
    },
    'network': {'ip.floating': lambda s: 3},
    'ceph_account': {'radosgw.objects.size': lambda s: s * GIB},
    'swift_account': {'storage.objects.size': lambda s: 3 * GIB},
    'manila_share': {'manila.share.size': lambda s: 7},
}
GROWTH = ('network.outgoing.bytes.rate', 'network.incoming.bytes.rate')
FACTORS = {
    'image.size': Decimal(1) / 2**20,
    'radosgw.objects.size': Decimal(1) / GIB,
    'storage.objects.size': Decimal(1) / GIB,
    **dict.fromkeys(GROWTH, Decimal('1e-6')),
}


@pytest.mark.xdist_group('gnocchi')
def test_ceilometer_quantities_are_those_of_the_measures(conf, gnocchi):
    """Polled every five minutes into a real Gnocchi, with the archive policy of Ceilometer."""
    gnocchi.ask('POST', 'archive_policy', POLICY)
    times = range(-300, 7200, 300)
    begin_s = history.BEGIN.timestamp()
    resources = []
    for kind, metrics in MEASURED.items():
        gnocchi.ask(
            'POST', 'resource_type', {'name': kind, 'attributes': gnocchi_peer.texts(*TEXTS[kind])}
        )
        resources.append(
            gnocchi_peer.Resource(
                gnocchi_peer.resource_id('ceilometer', kind),
                kind,
                [
                    gnocchi_peer.Revision(
                        history.BEGIN,
                        {
                            'project_id': 'ceilometer',
                            'user_id': 'u1',
                            **dict.fromkeys(TEXTS[kind], f'{kind} text'),
                        },
                    )
                ],
                {
                    name: [(begin_s + at, value(at)) for at in times]
                    for name, value in metrics.items()
                },
                history.BEGIN,
                policy=POLICY['name'],
            )
        )
    gnocchi.load(resources)
    gnocchi_peer.basic_auth(conf, GnocchiCollector, gnocchi.url)
    driver = GnocchiCollector(
        period=3600, service_conf=conf, conf=metrics_file.load(FOLDER / 'metrics.yml')
    )

    found = {
        metric.published_name: {
            period.begin: points
            for _, period, points in driver.collect(key, HOURS, ['ceilometer', 'nobody'])
        }
        for key, metric in driver.conf.items()
    }

    for metric in driver.conf.values():
        value = MEASURED[metric.extra_args['resource_type']][metric.name]
        for number, hour in enumerate(HOURS):
            inside = [value(at) for at in times if 0 <= at - 3600 * number < 3600]
            before = value(3600 * number - 300)
            if metric.published_name in GROWTH:
                wanted = sum(
                    max(0, new - old) for old, new in zip([before, *inside], inside, strict=False)
                )
            elif metric.mutate == 'NUMBOOL' or metric.extra_args['measure'] == 'share':
                # It was there for the whole hour.
                wanted = 1
            else:
                wanted = fmean(inside)
            (point,) = found[metric.published_name][hour.begin]
            assert float(point.qty) == pytest.approx(
                wanted * float(FACTORS.get(metric.published_name, 1)), rel=1e-12
            )
            assert set(point.metadata.values()) <= {
                f'{metric.extra_args["resource_type"]} text'
            } or metric.metadata == ('instance_id',)
