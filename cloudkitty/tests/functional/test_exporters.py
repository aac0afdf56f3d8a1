"""The definition files for exporters, and a Prometheus with series as the real ones make them."""

import itertools
from collections import defaultdict
from decimal import Decimal

import pytest

from cloudkitty.collector.prometheus_query import can_ask_for_many
from cloudkitty.tests import history, services
from cloudkitty.tests.functional.test_etc import build
from cloudkitty.tests.services import Family

# A scrape each 30 seconds, none of them on the edge of an hour.
STEP_S = 30
START_S = int(history.BEGIN.timestamp()) + 7
HOURS = [history.hour(0), history.hour(1)]
GIB = 2**30


def samples(value, minutes=(0, 120)):
    """Return the scrapes in *minutes*: [(unix time, value(seconds since the first))]."""
    return [
        (START_S + place * STEP_S, value(place * STEP_S))
        for place in range(minutes[0] * 60 // STEP_S, minutes[1] * 60 // STEP_S)
    ]


# Labels are those of cAdvisor in a kubelet (v1.33) and of kube-state-metrics 2.16.
def cadvisor(namespace, pod, container, number=1):
    labels = {
        'namespace': namespace,
        'pod': pod,
        'node': 'n1',
        'job': 'kubelet',
        'metrics_path': '/metrics/cadvisor',
        'id': f'/kubepods/{pod}/{container}-{number}',
    }
    if container:
        labels |= {'container': container, 'image': 'registry/app:1', 'name': f'{pod}-{number}'}
    return labels


def state(namespace, **labels):
    return {'namespace': namespace, 'job': 'kube-state-metrics', 'uid': 'u-1', **labels}


CONTAINERS = [
    (cadvisor('shop', 'web', 'app'), (0, 120), 0.75),
    (cadvisor('shop', 'web', 'side'), (0, 120), 0.015625),
    # The sum over the pod, and what holds its network.
    (cadvisor('shop', 'web', ''), (0, 120), 1),
    (cadvisor('shop', 'web', 'POD'), (0, 120), 0.25),
    # Restarted: another container of the same name.
    (cadvisor('shop', 'worker', 'app', 1), (0, 90), 0.5),
    (cadvisor('shop', 'worker', 'app', 2), (95, 120), 0.25),
    (cadvisor('batch', 'job-1', 'main'), (70, 76), 2),
]
CLAIMS = [
    (state('shop', persistentvolumeclaim='data'), (0, 120), 20 * GIB),
    (state('batch', persistentvolumeclaim='scratch'), (60, 75), 8 * GIB),
]
INTERFACES = [
    ({**cadvisor('shop', 'web', ''), 'interface': 'eth0'}, (0, 120), 4_000_000),
    ({**cadvisor('shop', 'web', ''), 'interface': 'lo'}, (0, 120), 9_000_000),
]
KUBERNETES = [
    Family(
        'machine_cpu_cores',
        'gauge',
        [
            ({'node': node, 'machine_id': node, 'boot_id': node}, samples(lambda s: 8, minutes))
            for node, minutes in (('n1', (0, 120)), ('n2', (100, 120)))
        ],
    ),
    Family(
        'kube_namespace_created',
        'gauge',
        [
            (state(name), samples(lambda s: 1.7e9, minutes))
            for name, minutes in (('shop', (0, 120)), ('batch', (50, 80)))
        ],
    ),
    # Not from 0: it was at work for a while before it was scraped.
    Family(
        'container_cpu_usage_seconds_total',
        'counter',
        [
            (
                {**labels, 'cpu': 'total'},
                samples(
                    lambda s, cores=cores, first=minutes[0] * 60: (s - first + 60) * cores, minutes
                ),
            )
            for labels, minutes, cores in CONTAINERS
        ],
    ),
    Family(
        'container_memory_working_set_bytes',
        'gauge',
        [
            (labels, samples(lambda s, size=size: size * GIB * (1 + s % 7), minutes))
            for labels, minutes, size in CONTAINERS
        ],
    ),
    Family(
        'kube_persistentvolumeclaim_resource_requests_storage_bytes',
        'gauge',
        [(labels, samples(lambda s, size=size: size, minutes)) for labels, minutes, size in CLAIMS],
    ),
    Family(
        'kube_service_status_load_balancer_ingress',
        'gauge',
        [
            (
                state('shop', service='front', ip='192.0.2.1', hostname=''),
                samples(lambda s: 1, (0, 90)),
            )
        ],
    ),
    *[
        Family(
            f'container_network_{way}_bytes_total',
            'counter',
            [
                (labels, samples(lambda s, speed=speed // part: (s + 60) * speed, minutes))
                for labels, minutes, speed in INTERFACES
            ],
        )
        for way, part in (('receive', 1), ('transmit', 4))
    ],
]
RATED = {
    'cpu': ('container_cpu_usage_seconds_total', ('pod', 'container'), 1),
    'memory': ('container_memory_working_set_bytes', ('pod', 'container'), GIB),
    'volume': (
        'kube_persistentvolumeclaim_resource_requests_storage_bytes',
        ('persistentvolumeclaim',),
        GIB,
    ),
    'load.balancer': ('kube_service_status_load_balancer_ingress', ('service',), 1),
    'network.in': ('container_network_receive_bytes_total', ('pod',), 10**6),
    'network.out': ('container_network_transmit_bytes_total', ('pod',), 10**6),
}


def is_rated(labels):
    return (
        labels.get('container') != 'POD'
        and labels.get('interface') != 'lo'
        and (
            'container' in labels or 'interface' in labels or labels['job'] == 'kube-state-metrics'
        )
    )


def mean_of(kind, series, hour):
    """Return what a series stands for as a mean over an hour; None: nothing.

    A sample of a gauge stands for the time of a scrape, one of a counter for its growth since the
    sample before; the first one for as much as the second.
    """
    begin, end = (instant.timestamp() for instant in hour)
    if kind == 'gauge':
        found = [value * STEP_S for at, value in series if begin < at <= end]
    else:
        growths = [value - before for (_, before), (_, value) in itertools.pairwise(series)]
        found = [
            growth
            for (at, _), growth in zip(series, [growths[0], *growths], strict=True)
            if begin < at <= end
        ]
    return sum(found) / 3600 if found else None


@pytest.fixture(scope='module')
def exporters(tmp_path_factory):
    """A real Prometheus with what the exporters of Kubernetes and of OpenStack tell."""
    with services.Prometheus(
        tmp_path_factory.mktemp('exporters'), history=[*KUBERNETES, *OPENSTACK]
    ) as server:
        yield server


def collect(driver, scope_ids):
    """Return {published name: {(scope, hour, all of groupby): quantity}}."""
    return {
        metric.published_name: {
            (scope_id, period.begin, *(point.groupby[name] for name in metric.groupby)): point.qty
            for scope_id, period, points in driver.collect(key, HOURS, scope_ids)
            for point in points
        }
        for key, metric in driver.conf.items()
    }


def test_kubernetes_quantities_are_those_of_the_samples(conf, exporters):
    """Core hours, GiB hours and megabytes a second, of containers that live for minutes, too."""
    driver = build(conf, 'kubernetes_metrics.yml', exporters.url, scrape_interval_s=STEP_S)
    families = {family.name: family for family in KUBERNETES}
    wanted = {name: defaultdict(float) for name in RATED}
    for name, (metric, attributes, divisor) in RATED.items():
        for labels, series in families[metric].series:
            for hour in HOURS if is_rated(labels) else ():
                mean = mean_of(families[metric].kind, series, hour)
                if mean is not None:
                    place = (
                        labels['namespace'],
                        hour.begin,
                        *(labels[one] for one in attributes),
                        labels['namespace'],
                    )
                    wanted[name][place] += mean / divisor

    found = collect(driver, ['shop', 'batch', 'nobody'])

    assert {
        name: {place: pytest.approx(float(qty), rel=1e-9) for place, qty in rows.items()}
        for name, rows in found.items()
    } == wanted
    # One request for all namespaces.
    assert all(map(can_ask_for_many, driver.conf.values()))
    assert len(wanted['cpu']) == 7
    assert wanted['cpu']['shop', HOURS[0].begin, 'web', 'app', 'shop'] == pytest.approx(0.75)
    assert wanted['volume']['batch', HOURS[1].begin, 'scratch', 'batch'] == 2


def server(uuid, status, code, minutes):
    return (
        {
            'uuid': uuid,
            'id': uuid,
            'name': f'name-{uuid}',
            'status': status,
            'user_id': 'u1',
            'tenant_id': 't1',
            'flavor_id': 'f1',
            'availability_zone': 'nova',
            'host_id': 'h',
            'hypervisor_hostname': 'c1',
            'address_ipv4': '192.0.2.7',
            'address_ipv6': '',
            'instance_libvirt': 'instance-1',
        },
        samples(lambda s: code, minutes),
    )


def volume(identity, size, minutes):
    return (
        {
            'id': identity,
            'name': '',
            'tenant_id': 't1',
            'user_id': 'u1',
            'volume_type': 'ssd',
            'size': str(size),
            'status': 'in-use',
            'bootable': 'true',
            'server_id': 's1',
            'availability_zone': 'nova',
        },
        samples(lambda s: size, minutes),
    )


def owned(identity, value, **labels):
    """A series whose project_id was copied, as the file says."""
    return (
        {'id': identity, 'project_id': 't1', 'tenant_id': 't1', 'status': 'ACTIVE', **labels},
        samples(lambda s: value),
    )


# Labels and codes of states are those of openstack-exporter 1.7.
OPENSTACK = [
    Family(
        'openstack_nova_server_status',
        'gauge',
        [
            server('steady', 'ACTIVE', 0, (0, 120)),
            server('stopped', 'ACTIVE', 0, (0, 30)),
            server('stopped', 'SHUTOFF', 11, (30, 120)),
            server('built', 'BUILD', 1, (5, 6)),
            server('built', 'ACTIVE', 0, (6, 40)),
            server('broken', 'ERROR', 4, (0, 120)),
            server('shelved', 'ACTIVE', 0, (0, 10)),
            server('shelved', 'SHELVED_OFFLOADED', 19, (10, 120)),
        ],
    ),
    Family(
        'openstack_cinder_limits_volume_used_gb',
        'gauge',
        [({'tenant': 'one', 'tenant_id': 't1'}, samples(lambda s: 70))],
    ),
    Family(
        'openstack_cinder_volume_gb',
        'gauge',
        [volume('v1', 50, (0, 120)), volume('v2', 10, (0, 60)), volume('v2', 20, (60, 120))],
    ),
    Family(
        'openstack_glance_image_bytes',
        'gauge',
        [
            (
                {'id': identity, 'name': 'cirros', 'tenant_id': 't1'},
                samples(lambda s, size=size: size),
            )
            for identity, size in (('i1', 476704768), ('i2', 1000))
        ],
    ),
    Family(
        'openstack_neutron_floating_ip',
        'gauge',
        [owned('fip', 1, floating_ip_address='192.0.2.9', floating_network_id='n', router_id='')],
    ),
    Family(
        'openstack_neutron_router',
        'gauge',
        [owned('router', 1, name='r', external_network_id='n', admin_state_up='true')],
    ),
    Family(
        'openstack_loadbalancer_loadbalancer_status',
        'gauge',
        [
            owned(
                'lb',
                0,
                name='lb',
                operating_status='ONLINE',
                provisioning_status='ACTIVE',
                provider='octavia',
                vip_address='192.0.2.8',
            )
        ],
    ),
]
USED = {
    'instance': [
        {
            'steady': 1,
            'stopped': 1,
            'built': Decimal(34) / 60,
            'broken': 1,
            'shelved': Decimal(10) / 60,
        },
        {'steady': 1, 'stopped': 1, 'broken': 1},
    ],
    'storage': [{'t1': 70}, {'t1': 70}],
    'volume.size': [{'v1': 50, 'v2': 10}, {'v1': 50, 'v2': 20}],
    'image.size': [{'i1': 476704768, 'i2': 1000}] * 2,
    'ip.floating': [{'fip': 1}] * 2,
    'router': [{'router': 1}] * 2,
    'load.balancer': [{'lb': 1}] * 2,
}


def test_openstack_quantities_are_those_of_the_samples(conf, exporters):
    """A server counts for as long as it held a host."""
    found = collect(
        build(conf, 'prom_metrics.yml', exporters.url, scrape_interval_s=STEP_S), ['t1', 't2']
    )

    assert {
        name: [
            {
                place[2]: pytest.approx(qty, rel=Decimal('1e-12'))
                for place, qty in rows.items()
                if place[1] == hour.begin
            }
            for hour in HOURS
        ]
        for name, rows in found.items()
    } == USED
    assert {place[0] for rows in found.values() for place in rows} == {'t1'}
