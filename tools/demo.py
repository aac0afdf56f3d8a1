"""Rate this machine: real measurements, prices made over REST, a live table of what it costs.

Started by tools/demo, which has installed what is needed.
"""

import argparse
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import demo_bill as bill
import demo_metering
import requests
import yaml
from oslo_config import cfg
from rich import console as rich_console
from rich import live as rich_live

from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import rabbitmq, services

ROOT = pathlib.Path(__file__).resolve().parent.parent
PERIOD = timedelta(seconds=bill.PERIOD_S)
SCOPE_KEY = 'machine'
SECONDS = 120
REFRESH_S = 2
# Without one of these a browser would be one for texts, and take the terminal.
SCREENS = ('DISPLAY', 'WAYLAND_DISPLAY')
MARK = 'demo.lock'  # says that a folder is ours to empty
# Where usage comes from: drivers and their options.
PROMETHEUS = """\
[fetcher]
backend = prometheus

[fetcher_prometheus]
metric = node_memory_MemTotal_bytes
scope_attribute = {scope_key}
prometheus_url = {prometheus_url}

[collector_prometheus]
prometheus_url = {prometheus_url}

[collect]
collector = prometheus
wait_periods = 1
"""
CONFIGURATION = """\
[DEFAULT]
auth_strategy = noauth
{bus}

[api]
host = 127.0.0.1
port = {port}

[ui]
enabled = true

[rating]
currency = credits

[database]
connection = sqlite:///{folder}/cloudkitty.sqlite

{drivers}period = {period_s}
scope_key = {scope_key}
metrics_conf = {folder}/metrics.yml

[orchestrator]
coordination_url = file://{folder}/locks
max_workers = 1
"""


class DemoFailed(Exception):
    """A step went wrong; the text says which and how."""


class Service(services.Daemon):
    """One of our own daemons."""

    package = 'python3-cloudkitty'
    ready_path = '/healthcheck'

    def arguments(self):
        return ['--config-file', str(self.folder / 'cloudkitty.conf')]


class Api(Service):
    program = 'cloudkitty-api'

    def __init__(self, folder, metrics, drivers, bus=''):
        """
        :param drivers: sections of the fetcher and the collector, the section [collect] last.
        :param bus: line with the URL of the message bus, if there is one.
        """
        super().__init__(folder)
        self.bus = bus
        self.metrics = metrics
        self.drivers = drivers
        self.port = services.free_port()

    @property
    def url(self) -> str:
        return f'http://{self.address}'

    def prepare(self):
        (self.folder / 'metrics.yml').write_text(yaml.safe_dump(self.metrics, sort_keys=False))
        (self.folder / 'cloudkitty.conf').write_text(
            CONFIGURATION.format(
                port=self.port,
                folder=self.folder,
                scope_key=SCOPE_KEY,
                period_s=bill.PERIOD_S,
                drivers=self.drivers,
                bus=self.bus,
            )
        )

    def ask(self, method: str, path: str, **arguments) -> dict | None:
        """Return the JSON of the answer, its numbers exact.

        :raises DemoFailed: the API said no, or nothing.
        """
        try:
            answer = requests.request(
                method, self.url + path, timeout=30, allow_redirects=False, **arguments
            )
        except requests.RequestException as exc:
            raise DemoFailed(f'{method} {path}: {exc}') from exc
        if answer.status_code >= 400:
            raise DemoFailed(f'{method} {path} answered {answer.status_code}: {answer.text[:300]}')
        return answer.json(parse_float=Decimal, parse_int=Decimal) if answer.content else None


class Processor(Service):
    program = 'cloudkitty-processor'

    def is_ready(self):
        return True


class Agent(Service):
    program = 'cloudkitty-agent'

    def arguments(self):
        return [*super().arguments(), '--namespace', 'compute']

    def is_ready(self):
        return True


class Demo:
    """Everything that runs.

    :param stack: ends what is started.
    :param is_metering: our own agent measures; there is no Prometheus.
    """

    def __init__(
        self, folder: pathlib.Path, stack: contextlib.ExitStack, say, *, is_metering: bool
    ):
        self.scope = socket.gethostname()
        self.source_urls: list[str] = []
        self.agent: Agent | None = None
        if is_metering:
            say('starting a RabbitMQ')
            broker = stack.enter_context(rabbitmq.RabbitMQ(folder / 'rabbitmq'))
            self.api = Api(
                folder,
                demo_metering.METRICS,
                demo_metering.drivers(folder, self.scope),
                f'transport_url = {broker.url}',
            )
        else:
            say('starting a node exporter and a Prometheus')
            prometheus = stack.enter_context(
                services.scraped_machine(folder, {SCOPE_KEY: self.scope})
            )
            self.source_urls = [f'http://{prometheus.address}/']
            drivers = PROMETHEUS.format(scope_key=SCOPE_KEY, prometheus_url=prometheus.url)
            self.api = Api(folder, bill.METRICS, drivers)
        self.api.prepare()
        say('making the database')
        self._run('cloudkitty-dbsync', 'upgrade')
        self._run('cloudkitty-storage-init')
        say('starting cloudkitty-api')
        stack.enter_context(self.api)
        say(f'{bill.make_rules(self.api)} rules made over REST; starting cloudkitty-processor')
        self.begin = self._begin_now()
        self.processor = stack.enter_context(Processor(folder))
        if is_metering:
            say('starting cloudkitty-agent')
            self.agent = stack.enter_context(Agent(folder))

    def _run(self, program, *arguments):
        command = [services.find(program, Service.package), *self.api.arguments(), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if ended.returncode:
            raise DemoFailed((ended.stderr or ended.stdout).strip().splitlines()[-1])

    def _begin_now(self):
        """Record the scope as rated until now, and return the begin of its first period.

        By itself it would begin with the month, long before there are measurements and rules.
        """
        conf = configuration.load(self.api.arguments(), conf=cfg.ConfigOpts())
        now = datetime.now(UTC)
        begin = timeframe.period_at(now, bill.PERIOD_S).end
        identity = scope_state.Identity(SCOPE_KEY, conf.fetcher.backend, conf.collect.collector)
        db.Database(conf).write(
            lambda connection: scope_state.record_seen(
                connection,
                identity,
                [self.scope],
                now=now,
                initial_mark=begin - PERIOD,
                final_mark=begin - PERIOD,
            )
        )
        return begin

    def read(self) -> tuple[int, list[bill.Line]]:
        """Return how many periods are rated, and the bill.

        :raises DemoFailed: something does not run any more.
        """
        if not self.processor.is_running:
            raise DemoFailed('cloudkitty-processor ended by itself')
        if self.agent is not None and not self.agent.is_running:
            raise DemoFailed('cloudkitty-agent ended by itself')
        answer = self.api.ask('GET', f'/v2/scope?scope_id={self.scope}')
        mark = timeframe.parse(answer['results'][0]['last_processed_timestamp'])
        periods = (mark - self.begin) // PERIOD + 1
        return periods, bill.read(self.api.ask('GET', self.summary_path))

    @property
    def summary_path(self) -> str:
        return bill.summary_path(self.begin, self.begin + timedelta(days=1))

    @property
    def urls(self) -> list[str]:
        """What a browser or curl may look at."""
        return [
            f'{self.api.url}/ui/#setup',
            f'{self.api.url}/ui/#costs',
            self.api.url + self.summary_path,
            f'{self.api.url}/v2/dataframes?limit=20',
            f'{self.api.url}/v2/scope',
            f'{self.api.url}/v1/rating/module_config/hashmap/mappings',
            *self.source_urls,
        ]


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    console = rich_console.Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Our own commands are beside the interpreter.
    os.environ['PATH'] = f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}'
    folder = options.folder.resolve()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_claim(folder))
            demo = Demo(
                folder,
                stack,
                say=lambda text: console.print(f'… {text}'),
                is_metering=options.metering,
            )
            open_page(demo, console)
            watch(demo, console, seconds=options.seconds)
            tell_where(demo, console, is_kept=options.keep)
            while options.keep:
                signal.pause()
    except (DemoFailed, services.ServiceFailed, OSError) as exc:
        print(
            f'tools/demo: {exc}', f'tools/demo: the logs are in {folder}', sep='\n', file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        console.print('Stopped.')
    return 0


def open_page(demo: Demo, console: rich_console.Console) -> None:
    """Name the page, and open it if somebody looks and there is a screen for a browser.

    It begins with the set-up check, from which a link leads to the costs.
    """
    page = f'{demo.api.url}/ui/#setup'
    console.print(f'… this machine, as a page: {page}', soft_wrap=True, markup=False)
    if console.is_terminal and any(os.environ.get(name) for name in SCREENS):
        webbrowser.open(page)


def watch(demo: Demo, console: rich_console.Console, *, seconds: float) -> None:
    """Show the bill until *seconds* have passed or Ctrl-C is pressed; lines if nobody looks.

    :raises DemoFailed: nothing was rated.
    """
    shown, lines = 0, []
    console.print(f'… the first bill comes in {3 * bill.PERIOD_S} s at most; Ctrl-C ends this')
    with rich_live.Live(console=console, auto_refresh=False) as display:
        try:
            for _ in _ticks(seconds):
                periods, lines = demo.read()
                if periods != shown and lines:
                    shown = periods
                    _show(demo.scope, console, display, periods=periods, lines=lines)
        except KeyboardInterrupt:
            if not lines:
                raise
    if not lines:
        raise DemoFailed(f'nothing was rated in {seconds:.0f} s')
    if not console.is_terminal:
        console.print(bill.render(lines, scope=demo.scope, periods=shown))


def _show(scope, console, display, *, periods, lines):
    if console.is_terminal:
        display.update(bill.render(lines, scope=scope, periods=periods), refresh=True)
    else:
        console.print(
            f'{periods} periods rated: {len(lines)} resources, {bill.total(lines):.8f} credits'
        )


def _ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(min(REFRESH_S, max(end - time.monotonic(), 0)))


def tell_where(demo: Demo, console: rich_console.Console, *, is_kept: bool) -> None:
    """Say what to look at."""
    console.print(
        'Running until Ctrl-C; look at'
        if is_kept
        else 'All is stopped now. With --keep it goes on, and you can look at'
    )
    for url in demo.urls:
        console.print(f'  {url}', soft_wrap=True, markup=False)
    console.print(f'Configuration, database and logs: {demo.api.folder}', soft_wrap=True)


@contextlib.contextmanager
def _claim(folder: pathlib.Path) -> Iterator[None]:
    """Empty *folder*, or make it, and have it for ourselves.

    :raises DemoFailed: another demo has it, or it is no demo's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).exists():
        raise DemoFailed(f'{folder} holds something else; choose another --folder')
    with open(folder / MARK, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DemoFailed(f'another demo runs in {folder}; choose another --folder') from exc
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != MARK:
                path.unlink()
        yield


def _parse(arguments):
    parser = argparse.ArgumentParser(prog='tools/demo', description='Rate this machine.')
    parser.add_argument(
        '--seconds',
        type=float,
        default=SECONDS,
        help=f'how long to show the bill (default {SECONDS})',
    )
    parser.add_argument(
        '--metering',
        action='store_true',
        help="measure with the service's own agent, without a Prometheus",
    )
    parser.add_argument(
        '--keep', action='store_true', help='leave everything running afterwards, until Ctrl-C'
    )
    parser.add_argument(
        '--folder',
        type=pathlib.Path,
        default=ROOT / '.demo',
        help='where to keep everything; emptied at the start (default .demo)',
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
