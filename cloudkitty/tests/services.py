"""Real services on loopback, for tests, the demo and the benchmarks.

Each is a context manager: started and answering when the block begins, gone when it ends.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import requests
import yaml

READY_S = 60
STOP_S = 20
START_ATTEMPTS = 3


class ServiceFailed(Exception):
    """A service is missing, or did not start."""


class Family(NamedTuple):
    """Samples of one metric, as they will have been scraped.

    :ivar name: name of the metric; a counter's ends in `_total`.
    :ivar kind: gauge or counter.
    :ivar series: (labels, [(unix time, value)]), samples oldest first; None: no time, as in an
        answer to a scrape.
    """

    name: str
    kind: str
    series: Iterable[tuple[Mapping[str, str], Iterable[tuple[float | None, object]]]]


def write_openmetrics(path: Path, families: Iterable[Family]) -> None:
    """Write *families* to *path*, for `promtool tsdb create-blocks-from openmetrics`."""
    with open(path, 'w', encoding='utf-8') as file:
        for family in families:
            # Counters are declared without the suffix that their samples have.
            file.write(f'# TYPE {family.name.removesuffix("_total")} {family.kind}\n')
            for labels, samples in family.series:
                head = ','.join(f'{name}="{_escape(value)}"' for name, value in labels.items())
                file.writelines(
                    f'{family.name}{{{head}}} {value}{"" if instant is None else f" {instant}"}\n'
                    for instant, value in samples
                )
        file.write('# EOF\n')


def _escape(value):
    return value.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')


def find(program: str, package: str) -> str:
    """Return the path of *program*.

    :raises ServiceFailed: it is missing; the text names the Debian *package* that has it.
    """
    path = shutil.which(program)
    if path is None:
        raise ServiceFailed(f'{program} is missing: install the Debian package {package}')
    return path


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_until(is_done: Callable[[], bool], *, deadline_s: float, what: str) -> None:
    """Return as soon as is_done() is true; it is asked every 50 ms.

    :raises ServiceFailed: the deadline passed.
    """
    deadline = time.monotonic() + deadline_s
    while not is_done():
        if time.monotonic() > deadline:
            raise ServiceFailed(f'{what}: not done after {deadline_s} s')
        time.sleep(0.05)


class Daemon:
    """A program that answers HTTP on a loopback port of its own.

    :param folder: for data, configuration and the log; kept.
    :ivar port: the port; kept over a restart.
    """

    program = ''
    package = ''
    ready_path = '/'
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.log_path = self.folder / f'{self.program}.log'
        self.port = 0
        self._process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f'127.0.0.1:{self.port}'

    def prepare(self) -> None:
        """Make what the program needs; called before each start."""

    def arguments(self) -> list[str]:
        """Return the command line without the program."""
        return []

    def command(self) -> list[str]:
        """Return the whole command line.

        :raises ServiceFailed: the program is missing.
        """
        return [find(self.program, self.package), *self.arguments()]

    def start(self) -> None:
        """Start, or start again on the same port and data; return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(START_ATTEMPTS):
            # Between free_port() and the start, somebody else may take the port: try another.
            if attempt or not self.port:
                self.port = free_port()
            self.prepare()
            with open(self.log_path, 'ab') as log:
                self._process = subprocess.Popen(
                    self.command(),
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            wait_until(
                lambda: self._has_ended() or self.is_ready(),
                deadline_s=READY_S,
                what=f'start of {self.program}, see {self.log_path}',
            )
            if not self._has_ended():
                return
        tail = self.log_path.read_text(errors='replace')[-1000:]
        raise ServiceFailed(f'{self.program} ended at once:\n{tail}')

    def is_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f'http://{self.address}{self.ready_path}', timeout=5).ok
        return False

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._has_ended()

    @property
    def pid(self) -> int:
        """The process id; only while it runs."""
        return self._process.pid

    def _has_ended(self):
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it in order; harmless when it is not running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(self.kill_signal)

    def _end(self, signal_number):
        if self._process is None:
            return
        self._signal(signal_number)
        # A process that is held would never see it.
        self._signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def hold(self) -> None:
        """Freeze it: connections are taken, nothing is answered."""
        self._signal(signal.SIGSTOP)
        # The signal reaches the process, and each of its threads, a little later.
        wait_until(self._is_held, deadline_s=STOP_S, what=f'{self.program} to be held')

    def _is_held(self):
        states = [
            path.read_text().rpartition(')')[2].split()[0]
            for path in Path(f'/proc/{self._process.pid}/task').glob('*/stat')
        ]
        return set(states) <= {'T', 't'}

    def resume(self) -> None:
        """Undo hold()."""
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        if not self._has_ended():
            os.kill(self._process.pid, number)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exc_info):
        self.stop()


class NodeExporter(Daemon):
    """Debian's node exporter: this machine's processors, memory, file systems and network."""

    program = 'prometheus-node-exporter'
    package = 'prometheus-node-exporter'
    ready_path = '/metrics'

    def arguments(self):
        return [
            f'--web.listen-address={self.address}',
            '--log.level=warn',
            '--collector.disable-defaults',
            '--collector.cpu',
            '--collector.meminfo',
            '--collector.filesystem',
            '--collector.netdev',
        ]


class Target(NamedTuple):
    """Something to scrape.

    :ivar address: host:port, answering at /metrics.
    :ivar labels: labels to put on all its series.
    """

    address: str
    labels: Mapping[str, str]


class Prometheus(Daemon):
    """Debian's Prometheus.

    :param targets: what it scrapes.
    :param history: samples it already has, see write_openmetrics(); imported at the first start.
    :param options: more command line options.
    :param out_of_order: how much older than the newest sample of a series another one may be, as
        Prometheus writes it; None: it must be newer.
    """

    program = 'prometheus'
    package = 'prometheus'
    ready_path = '/-/ready'

    def __init__(
        self,
        folder: Path,
        *,
        targets: Sequence[Target] = (),
        history: Iterable[Family] = (),
        scrape_interval_s: int = 1,
        options: Sequence[str] = (),
        out_of_order: str | None = None,
    ):
        super().__init__(folder)
        self.targets = targets
        self.out_of_order = out_of_order
        self.history = history
        self.scrape_interval_s = scrape_interval_s
        self.options = options

    @property
    def url(self) -> str:
        """Base URL of the API, as option prometheus_url wants it."""
        return f'http://{self.address}/api/v1'

    def prepare(self):
        (self.folder / 'prometheus.yml').write_text(
            yaml.safe_dump(
                {
                    'global': {'scrape_interval': f'{self.scrape_interval_s}s'},
                    'scrape_configs': [
                        {
                            'job_name': f'target-{number}',
                            'static_configs': [
                                {'targets': [target.address], 'labels': dict(target.labels)}
                            ],
                        }
                        for number, target in enumerate(self.targets, 1)
                    ],
                    'storage': {'tsdb': {'out_of_order_time_window': self.out_of_order or '0s'}},
                }
            )
        )
        if self.history and not (self.folder / 'data').exists():
            write_openmetrics(self.folder / 'history.om', self.history)
            subprocess.run(
                [
                    find('promtool', self.package),
                    'tsdb',
                    'create-blocks-from',
                    'openmetrics',
                    '--quiet',
                    'history.om',
                    'data',
                ],
                cwd=self.folder,
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=600,
            )

    def arguments(self):
        return [
            f'--config.file={self.folder}/prometheus.yml',
            f'--storage.tsdb.path={self.folder}/data',
            '--storage.tsdb.retention.time=100y',
            f'--web.listen-address={self.address}',
            '--log.level=warn',
            *self.options,
        ]

    def query(self, promql: str) -> list[dict]:
        """Return the series that the instant query *promql* finds now."""
        answer = requests.get(f'{self.url}/query', params={'query': promql}, timeout=30)
        answer.raise_for_status()
        return answer.json()['data']['result']


@contextlib.contextmanager
def scraped_machine(
    folder: Path, labels: Mapping[str, str], scrape_interval_s: int = 1
) -> Iterator[Prometheus]:
    """Yield a Prometheus that has scraped this machine twice; *labels* are on all its series."""
    with (
        NodeExporter(Path(folder) / 'node-exporter') as exporter,
        Prometheus(
            Path(folder) / 'prometheus',
            targets=[Target(exporter.address, labels)],
            scrape_interval_s=scrape_interval_s,
        ) as server,
    ):
        wait_until(
            lambda: bool(server.query('count_over_time(up[5m]) > 1')),
            deadline_s=READY_S + 2 * scrape_interval_s,
            what='the first scrapes',
        )
        yield server
