"""The released Python client and its commands with v1, but for the configuration of modules."""

import json
import subprocess
import sys

import pytest
from cloudkittyclient import auth, client
from keystoneauth1 import session
from keystoneauth1.exceptions.http import HttpError

SPAN = ['-b', '2019-01-01T00:00:00', '-e', '2019-02-01T00:00:00']
# Runs the commands that it is told one after the other, in one process.
RUNNER = """
import contextlib, io, json, sys
from cloudkittyclient.shell import main
ended = []
for arguments in json.load(sys.stdin):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main(arguments)
    ended.append([status, output.getvalue()])
print(json.dumps(ended))
"""

# A command and the rows it shows.
COMMANDS = [
    (
        'info metric list',
        [
            ['instance', 'instance', ['flavor_name', 'flavor_id', 'vcpus']],
            ['image.size', 'MiB', ['disk_format', 'container_format']],
            ['image.count', 'image', []],
        ],
    ),
    ('info metric get image.count', [['image.count', 'image', []]]),
    ('collector-mapping create compute gnocchi', [['compute', 'gnocchi']]),
    ('collector-mapping create network prometheus', [['network', 'prometheus']]),
    ('collector-mapping get network', [['network', 'prometheus']]),
    ('collector-mapping list', [['compute', 'gnocchi'], ['network', 'prometheus']]),
    ('collector-mapping list --collector gnocchi', [['compute', 'gnocchi']]),
    ('collector-mapping delete network', None),
    ('collector-mapping list --collector prometheus', []),
    ('collector state get gnocchi', [['gnocchi', False]]),
    ('collector enable gnocchi', [['gnocchi', True]]),
    ('collector state get gnocchi', [['gnocchi', True]]),
    ('collector disable gnocchi', [['gnocchi', False]]),
    ('module list', [['hashmap', False, 1], ['noop', True, 1], ['pyscripts', False, 1]]),
    ('module enable hashmap', [['hashmap', True, 1]]),
    ('module set priority hashmap 7', [['hashmap', True, 7]]),
    ('module get hashmap', [['hashmap', True, 7]]),
    ('module disable hashmap', [['hashmap', False, 7]]),
    ('report tenant list SPAN', [['p1'], ['p2']]),
    # Without a span it is of all times.
    ('report tenant list', [['p1'], ['p2']]),
    ('summary get SPAN', [['ALL', 'ALL', '1.6', '2019-01-01T00:00:00', '2019-02-01T00:00:00']]),
    (
        'summary get SPAN -a -s ip -t p2',
        [['ALL', 'ALL', '0.1', '2019-01-01T00:00:00', '2019-02-01T00:00:00']],
    ),
    (
        'summary get SPAN -t p1 -g tenant_id res_type',
        [
            ['p1', 'instance', '0.5', '2019-01-01T00:00:00', '2019-02-01T00:00:00'],
            ['p1', 'ip', '0.1', '2019-01-01T00:00:00', '2019-02-01T00:00:00'],
        ],
    ),
    ('total get SPAN -t p1', {'Total': 0.6}),
    ('total get', {'Total': 0.0}),
]


def _run(url, commands):
    """Return status and output of each of *commands*."""
    arguments = [
        [
            '--os-rating-api-version',
            '1',
            '--os-auth-type',
            'cloudkitty-noauth',
            '--os-endpoint',
            url,
            *command,
        ]
        for command in commands
    ]
    ended = subprocess.run(
        [sys.executable, '-c', RUNNER],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def _arguments(command):
    words = [part for word in command.split() for part in (SPAN if word == 'SPAN' else [word])]
    return words if 'delete' in words else [*words, '-f', 'json']


def test_the_commands_show_what_is_there(server):
    """Every command of v1 but those of hashmap and pyscripts."""
    ended = _run(server, [_arguments(command) for command, _ in COMMANDS])

    for (command, expected), (status, output) in zip(COMMANDS, ended, strict=True):
        assert status == 0, (command, output)
        if expected is None:
            assert output == '', command
            continue
        shown = json.loads(output)
        if isinstance(shown, list):
            shown = [list(row.values()) for row in shown]
        assert shown == expected, command


def test_the_commands_that_show_more_than_rows(server):
    config, points, table = _run(
        server,
        [
            ['info', 'config', 'get', '-f', 'json'],
            ['dataframes', 'get', *SPAN, '-p', 'p1', '-r', 'ip', '-f', 'json'],
            ['dataframes', 'get', *SPAN, '-f', 'df-to-csv'],
        ],
    )

    assert json.loads(config[1])[0]['Section'] == 'metrics'
    [frame] = json.loads(points[1])
    assert (frame['Begin'], frame['Project ID']) == ('2019-01-01T00:00:00', 'p1')
    [resource] = frame['Resources']
    assert (resource['service'], resource['rate_value']) == ('ip', '0.1000')
    assert len(table[1].splitlines()) == 6


@pytest.fixture
def rating(server):
    """The client's rating commands."""
    opened = session.Session(auth=auth.CloudKittyNoAuthPlugin(endpoint=server))
    return client.Client('1', session=opened).rating


def test_a_quote_follows_the_rules(rating):
    """The client has no command for it, and Horizon calls it with flat descriptions."""
    resources = [{'service': 'compute', 'desc': {'flavor_id': 'f1', 'vcpus': 2}, 'volume': 3}]
    assert float(rating.get_quotation(res_data=resources)) == 0

    rating.update_module(module_id='hashmap', enabled=True)
    service = rating.hashmap.create_service(name='compute')
    field = rating.hashmap.create_field(name='flavor_id', service_id=service['service_id'])
    rating.hashmap.create_mapping(field_id=field['field_id'], value='f1', cost=0.2, type='flat')
    rating.reload_modules()

    assert rating.get_quotation(res_data=resources) == '0.6'
    with pytest.raises(HttpError, match='Mandatory field missing'):
        rating.get_quotation(res_data=[{'service': 'compute'}])
