"""Somebody who has never seen this service, and types the installation page."""

import csv
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from cloudkitty.tests.services import Family, free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'doc' / 'source' / 'install' / 'index.rst'
BIN = Path(sys.executable).parent
API = 'http://127.0.0.1:8889'
COSTS = {('shop', 'memory'): '0.004', ('shop', 'cpu'): '0.03', ('istio-proxy', 'cpu'): '0.015'}
# What a namespace uses all the time: GiB of memory, and the cores of two containers.
MEMORY_GIB, CORES = 4, {'shop': 2, 'istio-proxy': 1}
SCRAPE_S = 30
# Installing takes a minute of a processor that has nothing else to do.
DEADLINE_S = 800
DOCTOR = 'cloudkitty-status doctor'


def steps() -> list[str]:
    """Return the steps of the page."""
    return PAGE.read_text().partition('\nIn a container')[0].split('\n#. ')[1:]


def commands(step: str) -> list[str]:
    """Return the lines that a step has the reader type."""
    return re.findall(r'^ +\$ (.+)$', step, re.MULTILINE)


def cluster(begin: datetime) -> Iterator[Family]:
    """Yield what a Prometheus has scraped in a cluster since *begin*."""
    first = int(begin.timestamp())
    instants = range(first, int(datetime.now(UTC).timestamp()), SCRAPE_S)

    def gauge(name, value, **labels):
        series = {'namespace': 'default', **labels}, [(at, value) for at in instants]
        return Family(name, 'gauge', [series])

    def counter(name, rates, label, **labels):
        series = [
            (
                {'namespace': 'default', 'pod': 'web', label: value, **labels},
                [(at, (at - first) * rate) for at in instants],
            )
            for value, rate in rates.items()
        ]
        return Family(name, 'counter', series)

    memory = {'pod': 'web', 'container': 'shop'}
    claim, service = {'persistentvolumeclaim': 'data'}, {'service': 'web', 'ip': '192.0.2.7'}
    yield gauge('kube_namespace_created', 1)
    yield gauge('container_memory_working_set_bytes', MEMORY_GIB * 2**30, **memory)
    yield gauge('kube_persistentvolumeclaim_resource_requests_storage_bytes', 20 * 2**30, **claim)
    yield gauge('kube_service_status_load_balancer_ingress', 1, **service)
    yield counter('container_cpu_usage_seconds_total', CORES, 'container')
    yield counter('container_network_receive_bytes_total', {'eth0': 1000}, 'interface')
    yield counter('container_network_transmit_bytes_total', {'eth0': 9000}, 'interface')


def bill_lines(lines: list[str]) -> list[str]:
    """Return the line that asks for the same bill by container, as CSV for check_bill()."""
    bill = next(line for line in lines if line.startswith('cloudkitty summary get '))
    return [f'{bill.replace("-g namespace", "-g container")} -f csv']


def check_bill(printed: str) -> None:
    """Assert that what was typed has printed the bill of cluster(), at the prices of the page."""
    assert re.search(r'\| +default +\| memory +\|', printed), printed
    assert 'network.in has no price' in printed, printed
    # Between its lines are those that the processor logs.
    table = csv.DictReader(line for line in printed.splitlines() if line.startswith('"'))
    costs = {
        (row['Container'], row['Type']): Decimal(row['Rate']) / Decimal(row['Qty'])
        for row in table
        if Decimal(row['Rate'])
    }
    expected = {key: Decimal(cost) for key, cost in COSTS.items()}
    assert {key: round(cost, 9) for key, cost in costs.items()} == expected, costs


class Newcomer:
    """Types the page, in one terminal, on a machine that a folder stands for.

    In place of what the page shows: the paths are in the folder, the servers and the port are
    those of the test, the processor has one worker, and scopes are rated from a given day on. Of
    the two ways to install it is that from the wheel, and libraries and client are those of this
    environment, so that nothing is asked of an index.

    :param wheel: what the page has the reader build in `dist`.
    """

    def __init__(self, folder: Path, wheel: Path):
        self._folder = folder
        self._port = free_port()
        # The commands look for it there, too.
        self._etc = folder / '.cloudkitty'
        self._etc.mkdir()
        (folder / 'dist').mkdir()
        (folder / 'dist' / wheel.name).symlink_to(wheel)
        (folder / 'constraints.txt').symlink_to(ROOT / 'constraints.txt')

    def configure(self, *, database_url: str, prometheus_url: str, since: datetime) -> None:
        """Write the configuration that the page shows."""
        shown = PAGE.read_text().partition('code-block:: ini\n')[2].partition('\n\n   The')[0]
        text = textwrap.dedent(shown)
        for pattern, line in (
            ('connection = .*', f'connection = {database_url}'),
            ('prometheus_url = .*', f'prometheus_url = {prometheus_url}'),
            ('host = .*', rf'\g<0>\nport = {self._port}'),
            ('scope_key = .*', rf'\g<0>\nstart_date = {since:%Y-%m-%d}'),
        ):
            text, count = re.subn(pattern, line, text)
            assert count, pattern
        (self._etc / 'cloudkitty.conf').write_text(f'{self._place(text)}\n')

    def _place(self, text):
        """Return the configuration with its files in the folder."""
        definitions = f'metrics_conf = {self._etc}/metrics.yml'
        text = text.replace('\nstart_date', f'\n{definitions}\nstart_date')
        locks = f'coordination_url = file://{self._folder}/locks\nmax_workers = 1'
        return f'{text}\n[orchestrator]\n{locks}'

    def type(self, lines: list[str]) -> str:
        """Type *lines*, and end what goes on then; return what they print.

        :raises AssertionError: a line failed.
        """
        script = ['set -e', "trap 'kill $(jobs -p); wait' EXIT"]
        for line in lines:
            script += [f'echo {shlex.quote("$ " + line)} >&2', self._adapt(line)]
            script += self._waits(line)
        ended = self._run('\n'.join(script))
        assert ended.returncode == 0, ended.stdout[-9000:] + ended.stderr[-4000:]
        return ended.stdout

    def _run(self, script):
        return subprocess.run(
            ['bash', '-c', script],
            cwd=self._folder,
            env={
                **{name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
                'HOME': str(self._folder),
                'PATH': f'{BIN}:{os.environ["PATH"]}',
                'PIP_NO_INDEX': '1',
                'PIP_DISABLE_PIP_VERSION_CHECK': '1',
            },
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def _adapt(self, line):
        for theirs, mine in (
            ('/opt/cloudkitty', f'{self._folder}/opt'),
            ('/etc/cloudkitty', str(self._etc)),
            (API, f'http://127.0.0.1:{self._port}'),
            # It warns of what is used and has no price.
            (DOCTOR, f'{DOCTOR} || test $? = 1'),
        ):
            line = line.replace(theirs, mine)
        return line

    def _waits(self, line):
        """Return what to do after *line*: what takes a person the time that it needs."""
        if ' -m venv ' in line:
            # The libraries of this environment.
            site = f'{self._folder}/opt/lib/python*/site-packages'
            return [f'echo {sysconfig.get_path("purelib")} > $(echo {site})/libraries.pth']
        return self._waits_for_services(line)

    def _waits_for_services(self, line):
        url = f'http://127.0.0.1:{self._port}'
        if line == 'cloudkitty-api &':
            return [f'until curl -sf {url} >&2; do sleep 0.2; done']
        if line == 'cloudkitty-processor &':
            asked = f'{url}/v2/summary?begin=2026-01-01T00:00:00'
            return [f"until curl -sf '{asked}' | grep -q 2026-01-01; do sleep 0.5; done"]
        return []
