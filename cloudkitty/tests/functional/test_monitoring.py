"""The figures of real processes, scraped by a real Prometheus; the shipped dashboard and alerts."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import prometheus_client
import pytest
import requests
import sqlalchemy as sa
import yaml
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.processor.intake.figures import Figures
from cloudkitty.storage.v2 import sql
from cloudkitty.tests import faults, peers, services
from cloudkitty.tests.functional import daemon, worker_run
from cloudkitty.tests.processors import Processor

ROOT = Path(__file__).parents[3]
RULES = ROOT / 'etc' / 'prometheus' / 'cloudkitty.rules.yml'
DASHBOARD = ROOT / 'etc' / 'grafana' / 'cloudkitty.json'
FORMER_NAMES = RULES.with_name('cloudkitty-former-names.rules.yml')
USAGE_RULES = RULES.with_name('cloudkitty-metering.rules.yml')
USAGE = DASHBOARD.with_name('cloudkitty-metering.json')
COSTS = DASHBOARD.with_name('cloudkitty-costs.json')
TROUBLE = ROOT / 'doc' / 'source' / 'admin' / 'troubleshooting.rst'
PAGE = ROOT / 'doc' / 'source' / 'admin' / 'monitoring.rst'
NAME = re.compile(r'\bcloudkitty_[a-z_]+\b')
WAIT_S = 60
# What Grafana puts into a question.
VARIABLES = {'$__rate_interval': '1m', '$__range': '1h', '$job': '.*'}
SUFFIXES = ('_bucket', '_count', '_sum', '_created')


def _questions():
    """Return all expressions of the dashboards and of the rules."""
    panels = [
        one for board in (DASHBOARD, USAGE) for one in json.loads(board.read_text())['panels']
    ]
    texts = [target['expr'] for panel in panels for target in panel['targets']]
    texts += [rule['expr'] for rule in _rules()]
    for variable, value in VARIABLES.items():
        texts = [text.replace(variable, value) for text in texts]
    return texts


def _rules():
    return [
        rule
        for path in (RULES, USAGE_RULES)
        for group in yaml.safe_load(path.read_text())['groups']
        for rule in group['rules']
    ]


@pytest.mark.parametrize(
    'command',
    [
        ['check', 'rules', str(RULES)],
        ['check', 'rules', str(USAGE_RULES)],
        ['check', 'rules', str(FORMER_NAMES)],
        ['test', 'rules', str(Path(__file__).parent / 'alerts.yml')],
        ['test', 'rules', str(Path(__file__).parent / 'alerts-metering.yml')],
    ],
)
def test_promtool_is_content_with_the_alerts(command):
    ended = subprocess.run(
        [services.find('promtool', 'prometheus'), *command],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_leads_to_a_part_of_the_trouble_page():
    headings = re.findall(r'^(.+)\n=+$', TROUBLE.read_text(), re.MULTILINE)
    anchors = {re.sub(r'[^a-z0-9]+', '-', one.lower()).strip('-') for one in headings}

    urls = {rule['alert']: rule['annotations']['runbook_url'] for rule in _rules()}
    assert {url.partition('#')[0].rpartition('/')[2] for url in urls.values()} == {
        'troubleshooting.html'
    }
    assert {url.partition('#')[2] for url in urls.values()} <= anchors


def test_the_costs_of_the_dashboard_are_those_of_the_database(any_database, tmp_path):
    """Each query of its panels, with what Grafana puts into them."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', any_database.engine.url.render_as_string(False), 'database')
    storage = sql.SQLStorage(conf)
    begin = datetime(2024, 5, 1, tzinfo=UTC)
    for scope, price in (('alpha', '0.25'), ('beta', '0.5')):
        points = {
            'vm': [DataPoint('u', 2, price, {'project_id': scope}, {})],
            'free': [DataPoint('u', 1, 0, {'project_id': scope}, {})],
        }
        storage.push([DataFrame(begin, begin + timedelta(hours=1), points)], scope)
    filled = {
        '$scope_key': 'project_id',
        '$__timeFilter(day)': "day BETWEEN '2024-05-01' AND '2024-05-02'",
    }
    found = {}
    with any_database.engine.connect() as connection:
        for panel in json.loads(COSTS.read_text())['panels']:
            (target,) = panel['targets']
            query = target['rawSql']
            for variable, value in filled.items():
                query = query.replace(variable, value)
            found[panel['title']] = [tuple(row) for row in connection.execute(sa.text(query))]
    storage.database.engine.dispose()

    assert Decimal(found['Cost'][0][0]) == Decimal('0.75')
    assert (found['Scopes'], found['Days'], found['Free metrics']) == ([(2,)], [(1,)], [(1,)])
    assert [row[0] for row in found['Scopes by cost']] == ['beta', 'alpha']
    assert [row[:2] for row in found['Metrics']] == [('vm', 'u'), ('free', 'u')]
    assert [row[1] for row in found['Cost by day and metric']] == ['free', 'vm']
    assert [row[1] for row in found['Cost by day of the dearest scopes']] == ['alpha', 'beta']


@pytest.mark.parametrize('board', [DASHBOARD, COSTS, USAGE])
def test_a_dashboard_has_no_panel_twice_and_none_over_another(board):
    panels = json.loads(board.read_text())['panels']

    assert len({panel['id'] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for place in [panel['gridPos']]
        for x in range(place['x'], place['x'] + place['w'])
        for y in range(place['y'], place['y'] + place['h'])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def _unknown_to_grafana(*boards):
    """Return what Grafana's own model of dashboards loses of *boards*, as lines."""
    ended = subprocess.run(
        [peers.environment('grafana') / 'python', peers.LISTS / 'grafana_boards.py', *boards],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.timeout(300)
def test_the_model_of_grafana_knows_all_of_the_dashboards(tmp_path):
    """Misspelt keys of a board, a panel and a field are found, so nothing that is there is one."""
    assert _unknown_to_grafana(DASHBOARD, COSTS, USAGE) == []
    text = COSTS.read_text()
    for name in ('"graphTooltip"', '"gridPos"', '"decimals"'):
        assert name in text
        text = text.replace(name, '"misspelt"', 1)
    wrong = tmp_path / 'wrong.json'
    wrong.write_text(text)

    found = _unknown_to_grafana(wrong)
    assert [line.rpartition('.')[2] for line in found] == ['misspelt: unknown'] * 3


class Api(services.Daemon):
    """cloudkitty-api for everybody, with figures."""

    program = 'cloudkitty-api'
    ready_path = '/healthcheck'

    def __init__(self, folder, connection):
        super().__init__(folder)
        self._connection = connection

    def prepare(self):
        (self.folder / 'api.conf').write_text(
            f'[DEFAULT]\nauth_strategy = noauth\n[api]\nport = {self.port}\n'
            f'metrics_folder = {self.folder}/figures\n[database]\n'
            f'connection = {self._connection}\n'
        )

    def command(self):
        return [
            str(Path(sys.executable).parent / self.program),
            '--config-file',
            str(self.folder / 'api.conf'),
        ]


@pytest.fixture
def path(tmp_path, database, prometheus):
    """A configuration of two workers that answer Prometheus."""
    return worker_run.write_conf(
        tmp_path,
        prometheus_url=prometheus.url,
        max_workers=2,
        shards=2,
        connection=database.url,
        metrics_port=services.free_port(),
    )


def _scrape(path):
    """Return {sample: value} that the processor shows, nothing while it shows nothing."""
    port = worker_run.load_conf(path).orchestrator.metrics_port
    try:
        answer = requests.get(f'http://127.0.0.1:{port}/metrics', timeout=10)
    except requests.ConnectionError:
        return {}
    assert answer.status_code == 200
    return {
        name: float(value)
        for name, value in (
            line.rsplit(' ', 1) for line in answer.text.splitlines() if not line.startswith('#')
        )
    }


def test_prometheus_has_all_that_is_asked_for(path, database, tmp_path):
    """Each name in the dashboard, the alerts and the page exists, and the page has each name."""
    daemon.seed(database)
    address = f'127.0.0.1:{worker_run.load_conf(path).orchestrator.metrics_port}'
    with Api(tmp_path / 'api', database.url) as api, Processor(path, tmp_path / 'log'):
        requests.get(f'http://{api.address}/v2/scope', timeout=10)
        services.wait_until(
            lambda: daemon.marks(database) == daemon.FINISHED, deadline_s=WAIT_S, what='rating'
        )
        with services.Prometheus(
            tmp_path / 'prometheus',
            targets=[services.Target(address, {}), services.Target(api.address, {})],
        ) as server:
            services.wait_until(
                lambda: (
                    server.query('cloudkitty_rated_points_total')
                    and server.query('cloudkitty_api_requests_total')
                ),
                deadline_s=WAIT_S,
                what='the first scrapes',
            )
            for question in _questions():
                server.query(question)
            exported = {
                name
                for name in requests.get(f'{server.url}/label/__name__/values', timeout=10).json()[
                    'data'
                ]
                if name.startswith('cloudkitty_')
            }
            lags = server.query('cloudkitty_lag_seconds')

    assert {lag['metric']['shard'] for lag in lags} == {'0', '1'}
    # Of the intake, which runs where there is a message bus.
    intake = prometheus_client.CollectorRegistry()
    Figures(intake)
    exported |= {f'{family.name}_total' for family in intake.collect()}
    asked = {name for question in _questions() for name in NAME.findall(question)}
    assert asked <= exported
    named = {name for name in NAME.findall(PAGE.read_text())}
    whole = {re.sub(f'({"|".join(SUFFIXES)})$', '', name) for name in exported}
    assert named == whole
    assert whole == {re.sub(f'({"|".join(SUFFIXES)})$', '', name) for name in asked}


def test_what_a_killed_worker_counted_stays_and_its_successor_goes_on(
    path, database, tmp_path, prometheus
):
    daemon.seed(database)
    with Processor(path, tmp_path / 'log') as processor:
        services.wait_until(
            lambda: daemon.marks(database) == daemon.FINISHED, deadline_s=WAIT_S, what='rating'
        )
        services.wait_until(
            lambda: len(processor.workers) == 3,
            deadline_s=WAIT_S,
            what='two workers and the exporter',
        )
        before = _counters(path)
        children = set(processor.workers)
        # A worker that looks before the scopes are there looks again a minute later: the master
        # makes the successors when they are.
        processor.process.send_signal(signal.SIGSTOP)
        for worker in sorted(children)[:2]:
            os.kill(worker, signal.SIGKILL)
        daemon.seed(database)
        processor.process.send_signal(signal.SIGCONT)
        services.wait_until(
            lambda: len(set(processor.workers) - children) == 2,
            deadline_s=WAIT_S,
            what='new workers',
        )
        services.wait_until(
            lambda: daemon.marks(database) == daemon.FINISHED,
            deadline_s=WAIT_S,
            what='rating again',
        )
        services.wait_until(
            lambda: _counters(path) == {name: 2 * value for name, value in before.items()},
            deadline_s=WAIT_S,
            what='twice the figures',
        )
        silences = {
            name: value for name, value in _scrape(path).items() if 'worker_silence' in name
        }

    assert before['cloudkitty_rated_points_total{metric="test_vcpus"}'] > 0
    assert len(silences) == 2
    assert max(silences.values()) < 5


def _counters(path):
    return {
        name: value
        for name, value in _scrape(path).items()
        if 'points_total' in name or 'frames_total' in name
    }


def test_the_processor_shows_that_the_source_is_away(path, database, tmp_path):
    daemon.seed(database)
    with faults.FaultyServer(faults.reset) as server:
        path.write_text(
            re.sub('prometheus_url = .*', f'prometheus_url = {server.url}', path.read_text())
        )
        with Processor(path, tmp_path / 'log'):
            services.wait_until(
                lambda: _scrape(path).get('cloudkitty_failures_total{reason="source"}'),
                deadline_s=WAIT_S,
                what='a failure',
            )


def test_a_taken_port_ends_the_command_with_one_line(path, tmp_path, prometheus):
    path.write_text(
        re.sub('metrics_port = .*', f'metrics_port = {prometheus.port}', path.read_text())
    )

    with Processor(path, tmp_path / 'log') as processor:
        assert processor.process.wait(WAIT_S) == 1

    configuration, warning, line = (tmp_path / 'log').read_text().splitlines()
    assert configuration.endswith(f'Configuration: {path}')
    assert 'No rating module is enabled' in warning
    assert f'cannot listen on 127.0.0.1:{prometheus.port}: Address already in use' in line
