"""The tutorials and the page on repricing, typed: what the pages show is what comes."""

import os
import pathlib
import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.processor import service
from cloudkitty.tests import ini
from cloudkitty.tests.functional.api import conftest

PAGES = pathlib.Path(__file__).resolve().parents[4] / 'doc' / 'source'
MONTH = timeframe.month_at(datetime(2024, 6, 1, tzinfo=UTC))
ROLE = 'openstack token issue'
# What each scope uses in every hour: metric, quantity, the value of the attribute.
USAGE = {
    'kubernetes': (
        'namespace',
        'container',
        {
            'default': [('memory', 1, 'a'), ('cpu', '0.25', 'a')],
            'shop': [('memory', 4, 'a'), ('cpu', '1.5', 'a')],
        },
    ),
    'openstack': (
        'project_id',
        'flavor_name',
        {
            'db': [('instance', 1, 'm1.small'), ('volume.size', 100, '')],
            'web': [('instance', 1, 'm1.small'), ('instance', 1, 'm1.large')],
        },
    ),
}


def typed(page, title):
    """Return (command, output) of each command of a section of a page."""
    text = (PAGES / page).read_text()
    section = re.split(r'\n[^\n]+\n=+\n', text.partition(f'\n{title}\n=')[2])[0]
    found = []
    for line in section.splitlines():
        if line.lstrip().startswith('$ '):
            found.append((line.lstrip()[2:], []))
        elif found and line.startswith('   ') and not line.lstrip().startswith('..'):
            found[-1][1].append(line.strip())
    return found


def adapted(command, url):
    """Return *command* for a server without Keystone."""
    command = re.sub(r'http://(127\.0\.0\.1|controller):8889', url, command)
    return command.replace('openstack rating', 'cloudkitty')


def run(commands, url, folder):
    """Run *commands* in one shell; return what they print."""
    script = '\n'.join(adapted(one, url) for one in commands if ROLE not in one)
    ended = subprocess.run(
        ['bash', '-ec', script],
        env={
            **os.environ,
            'PATH': f'{conftest.BIN}:{os.environ["PATH"]}',
            'OS_AUTH_TYPE': 'cloudkitty-noauth',
            'OS_ENDPOINT': url,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def rows(scope_key, attribute, usage):
    """Yield the lines of a usage file for the whole month."""
    yield f'begin,end,metric,{scope_key},quantity,{attribute}'
    hour = timedelta(hours=1)
    begin = MONTH.begin
    while begin < MONTH.end:
        for scope, used in usage.items():
            for metric, quantity, value in used:
                span = f'{timeframe.render(begin)},{timeframe.render(begin + hour)}'
                yield f'{span},{metric},{scope},{quantity},{value}'
        begin += hour


class TestTutorials:
    @pytest.fixture(params=USAGE)
    def name(self, request):
        return request.param

    @pytest.fixture
    def known_scopes(self):
        """None yet: the fetcher will list them."""

    @pytest.fixture
    def storage(self, database):
        """Nothing is rated yet."""

    @pytest.fixture
    def config_file(self, name, tmp_path, conf):
        """The configuration of API and processor, with a file of usage as the source."""
        scope_key, attribute, usage = USAGE[name]
        (tmp_path / 'usage.csv').write_text('\n'.join(rows(scope_key, attribute, usage)) + '\n')
        metrics = sorted({metric for used in usage.values() for metric, _, _ in used})
        (tmp_path / 'metrics.yml').write_text(
            'metrics:\n'
            + ''.join(f'  {one}: {{unit: unit, groupby: [{attribute}]}}\n' for one in metrics)
        )
        port = conftest._free_port()
        path = ini.write(
            tmp_path / 'cloudkitty.conf',
            {
                'DEFAULT': {'auth_strategy': 'noauth'},
                'api': {'port': port},
                'database': {'connection': conf.database.connection},
                'fetcher': {'backend': 'source'},
                'fetcher_source': {'sources': ','.join(usage)},
                'collect': {
                    'collector': 'file',
                    'scope_key': scope_key,
                    'start_date': '2024-06-01',
                    'metrics_conf': tmp_path / 'metrics.yml',
                },
                'collector_file': {'files': tmp_path / 'usage.csv'},
                'orchestrator': {'coordination_url': f'file://{tmp_path}/locks'},
            },
        )
        return path, port

    def test_the_month_costs_what_the_page_says(self, name, server, config_file, tmp_path):
        """Prices, the backlog of a month, and each command of the bill with its output."""
        page = f'tutorial/{name}.rst'
        prices = [command for command, _ in typed(page, 'Create prices')]
        exports = [command for command in prices if command.startswith('export')]
        run(prices, server, tmp_path)
        now = MONTH.end + timedelta(hours=2)
        loaded = conftest.configuration.load(
            ['--config-file', str(config_file[0])], conf=conftest.cfg.ConfigOpts()
        )
        service.build(loaded, 0, clock=lambda: now).worker.turn()

        bill = typed(page, 'The bill')

        assert len(bill) == 2
        for command, output in bill:
            assert run([*exports, command], server, tmp_path) == output


def test_a_past_month_is_priced_again(server, database, tmp_path):
    """The page's commands make the right rule in the past, and order the task and its dry run."""
    with database.writer() as connection:
        connection.execute(
            sa.update(tables.scopes).values(last_processed_timestamp=datetime(2019, 1, 1, 2))
        )
    text = (PAGES / 'admin' / 'repricing.rst').read_text()
    commands = re.findall(r'^ +\$ (.+)$', text, re.MULTILINE)
    made = run(
        [
            "id=$(cloudkitty hashmap service create instance -f value -c 'Service ID')",
            'cloudkitty hashmap mapping create 9 -s "$id" -t flat -f value -c \'Mapping ID\'',
            'echo "$id"',
        ],
        server,
        tmp_path,
    )
    given = [f'RATING={server} TOKEN=none MAPPING={made[0]} SERVICE={made[1]}']

    printed = ''.join(run([*given, *commands], server, tmp_path))

    assert '"cost":"0.04' in printed and '"start":"2019-01-01' in printed, printed
    with database.reader() as connection:
        rule = connection.execute(sa.select(tables.hashmap_mappings.c.deleted)).all()
        tasks = connection.execute(sa.select(tables.tasks.c.identifier, tables.tasks.c.dry_run))
        assert sorted(map(tuple, tasks)) == [
            ('p1', False),
            ('p1', True),
            ('p2', False),
            ('p2', True),
        ]
    assert len(rule) == 2 and sorted(deleted is None for (deleted,) in rule) == [False, True]
