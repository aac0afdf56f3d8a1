"""Requests of one cycle to each source, by how many scopes there are: a worker rates two metrics"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from benchmarks.figure import Figure
from cloudkitty import fetcher
from cloudkitty.db import Database, migration
from cloudkitty.processor import service
from cloudkitty.tests import (
    aetos,
    databases,
    faults,
    gnocchi,
    ini,
    keystone,
    metric_stores,
    services,
)
from cloudkitty.tests.fake_ceilometer import Ceilometer
from cloudkitty.tests.fake_monasca import Monasca

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SCOPES = (1, 10, 100)
NAMES = ('level', 'size')
STEP_S = 300
PROJECTS = 200


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    families = _families()
    figures = []
    with (
        services.Prometheus(folder / 'prometheus', history=families) as server,
        keystone.Keystone(folder / 'keystone') as peer,
    ):
        figures += _count(folder, 'prometheus', faults.pass_on(server.url))
        figures += _behind_aetos(folder, peer, server.port)
        figures += _projects(folder, peer)
    with metric_stores.VictoriaMetrics(folder / 'victoriametrics', history=families) as server:
        figures += _count(folder, 'victoriametrics', faults.pass_on(server.url))
    with gnocchi.Gnocchi(folder / 'gnocchi', databases.PostgreSQL.standard_url) as server:
        server.define({'test': gnocchi.texts('resource')})
        server.load(gnocchi.of_families(families, BEGIN, resource_type='test'))
        figures += _count(folder, 'gnocchi', faults.forward(server.url))
    figures += _count(folder, 'monasca', Monasca(families, page_rows=1000))
    figures += _count(folder, 'ceilometer', Ceilometer(families))
    return figures


def _behind_aetos(folder, peer, prometheus_port):
    """Return the figures of Aetos; its tokens are not counted."""
    with aetos.Aetos(folder / 'aetos', keystone=peer, prometheus_port=prometheus_port) as server:
        return _count(folder, 'aetos', faults.forward(server.url), peer)


def _families():
    start = int(BEGIN.timestamp())
    return [
        services.Family(
            name,
            'gauge',
            [
                (
                    {'project_id': f'p{number}', 'resource': f'{name}-{number}'},
                    [(start + place * STEP_S, number) for place in range(2 * 3600 // STEP_S + 1)],
                )
                for number in range(max(SCOPES))
            ],
        )
        for name in NAMES
    ]


def _options(source, address, peer):
    """Return (section, options, parameters of each metric)."""
    by_resource = {'resource_key': 'resource'}
    return {
        'prometheus': ('collector_prometheus', {'prometheus_url': f'http://{address}/api/v1'}, {}),
        'victoriametrics': (
            'collector_victoriametrics',
            {'driver': 'prometheus', 'prometheus_url': f'http://{address}/api/v1'},
            {},
        ),
        'aetos': (
            'collector_aetos',
            {
                'auth_type': 'password',
                'auth_url': peer and f'{peer.url}/v3',
                'username': 'cloudkitty',
                'password': 'cloudkitty',
                'project_name': 'service',
                'user_domain_id': 'default',
                'project_domain_id': 'default',
            },
            {},
        ),
        'gnocchi': (
            'collector_gnocchi',
            {
                'gnocchi_auth_type': 'basic',
                'gnocchi_user': 'admin',
                'gnocchi_endpoint': f'http://{address}',
            },
            {'resource_type': 'test', **by_resource},
        ),
        'monasca': (
            'collector_monasca',
            {'auth_type': 'none', 'endpoint': f'http://{address}'},
            by_resource,
        ),
        'ceilometer': (
            'ceilometer_collector',
            {'auth_type': 'none', 'endpoint': f'http://{address}'},
            by_resource,
        ),
    }[source]


def _count(folder, source, answer, peer=None):
    """Return how many requests a cycle takes, and how many scopes it did not store.

    :param peer: the Keystone in whose catalog the source is found.
    """
    figures, first = [], None
    for count in SCOPES:
        place = folder / f'{source}-{count}'
        place.mkdir()
        with faults.FaultyServer(answer) as front:
            if peer:
                peer.announce(f'http://{front.address}', name=source, kind='metric-storage')
            stored = _cycle(place, source, _options(source, front.address, peer), count)
            first = first or len(front.requests)
            figures += [
                Figure(f'{source}: requests, {count} scopes', len(front.requests), at_most=first),
                Figure(f'{source}: scopes not rated of {count}', count - stored, at_most=0),
            ]
    return figures


def _cycle(folder, source, found, count):
    """Let a worker rate one hour; return how many scopes have points.

    :param found: what _options() returned.
    """
    section, options, extra_args = found
    (folder / 'metrics.yml').write_text(
        yaml.safe_dump(
            {
                'metrics': {
                    name: {'unit': 'x', 'groupby': ['resource'], 'extra_args': extra_args}
                    for name in NAMES
                }
            }
        )
    )
    conf = ini.load(
        folder / 'cloudkitty.conf',
        {
            'database': {'connection': f'sqlite:///{folder}/cloudkitty.sqlite'},
            'collect': {
                'collector': source,
                'metrics_conf': folder / 'metrics.yml',
                'wait_periods': 1,
            },
            section: options,
            'fetcher': {'backend': 'source'},
            'fetcher_source': {'sources': ','.join(f'p{number}' for number in range(count))},
            # One worker takes all shards: each batch of scopes is asked for at once.
            'orchestrator': {'coordination_url': f'file://{folder}/locks', 'max_workers': 1},
        },
    )
    database = Database(conf)
    migration.upgrade(database)
    parts = service.build(conf, 0, clock=lambda: BEGIN + HOUR)
    parts.worker.turn()
    with database.reader() as connection:
        found = connection.exec_driver_sql(
            'SELECT count(*) FROM rated_frames WHERE points > 0'
        ).scalar_one()
    database.engine.dispose()
    return found


def _projects(folder, server):
    """Return the requests that list the projects of a group, the token being there."""
    domain = server.ask('POST', 'domains', json={'domain': {'name': 'many'}})['domain']['id']
    server.add_projects((f'many-{number}' for number in range(PROJECTS)), domain=domain)
    server.grant('reader', user='rater')
    group = server.ask('POST', 'groups', json={'group': {'name': 'many'}})['group']['id']
    server.ask('PUT', f'groups/{group}/users/{server.user_id("rater")}')
    server.ask(
        'PUT',
        f'OS-INHERIT/domains/{domain}/groups/{group}/roles/'
        f'{server.role_id("rating")}/inherited_to_projects',
    )
    with faults.FaultyServer(faults.forward(server.url)) as front:
        driver = fetcher.get_driver(
            ini.load(
                folder / 'keystone.conf',
                {
                    'fetcher': {'backend': 'keystone'},
                    'fetcher_keystone': {
                        'auth_type': 'password',
                        'auth_url': f'http://{front.address}/v3',
                        'username': 'rater',
                        'password': 'rater',
                        'user_domain_id': 'default',
                        'system_scope': 'all',
                    },
                },
            )
        )
        driver.get_tenants()
        before = len(front.requests)
        found = driver.get_tenants()
        return [
            Figure(
                f'keystone: requests, {PROJECTS} projects', len(front.requests) - before, at_most=2
            ),
            Figure(
                f'keystone: projects not listed of {PROJECTS}', PROJECTS - len(found), at_most=0
            ),
        ]
