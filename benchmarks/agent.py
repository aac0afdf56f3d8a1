"""The agent of a node with 100 instances: its memory, and its processor time for a cycle.

python -m benchmarks.agent [--instances N] [--cycles N]

libvirt's test driver stands for the hypervisor; it is in the process of the agent, so what it takes
for the instances is told apart. A RabbitMQ takes what is measured.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import libvirt

from cloudkitty.tests import ini, rabbitmq, services

NODE = Path(services.__file__).parent / 'fixtures' / 'libvirt' / 'node.xml'
DOMAIN = re.compile(r"<domain type='test'>\s*<name>instance.*?</domain>", re.DOTALL)
COMMAND = 'from cloudkitty.cli import agent; agent.main()'
SECRET = 'benchmark-of-the-agent'
INTERVAL_S = 2


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Print and return the figures."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.instances, options.cycles)
    for name, figure in figures.items():
        print(f'{name}: {figure:,.2f}')
    return figures


def measure(folder: Path, instances: int, cycles: int) -> dict[str, float]:
    """Return the figures."""
    node = folder / 'node.xml'
    node.write_text(_node(instances))
    with rabbitmq.RabbitMQ(folder / 'mq') as broker:
        path = ini.write(
            folder / 'agent.conf',
            {
                'DEFAULT': {'transport_url': broker.url, 'host': 'node-1'},
                'metering': {'secrets': SECRET},
                'agent': {'interval': INTERVAL_S, 'spool_folder': folder / 'spool'},
                'pollster_libvirt': {'uri': f'test://{node}'},
            },
        )
        command = [sys.executable, '-c', COMMAND, '--config-file', path, '--namespace', 'compute']
        with open(folder / 'log', 'wb') as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            time.sleep(3 * INTERVAL_S)
            cpu_s, early_mib = _cpu_seconds(process.pid), _mib(process.pid, 'VmRSS')
            time.sleep(cycles * INTERVAL_S)
            assert process.poll() is None, (folder / 'log').read_text()[-2000:]
            used_s = _cpu_seconds(process.pid) - cpu_s
            figures = {
                'MiB after three cycles': early_mib,
                'MiB at the end': _mib(process.pid, 'VmRSS'),
                'MiB at most': _mib(process.pid, 'VmHWM'),
                'processor milliseconds of a cycle': used_s / cycles * 1000,
            }
        finally:
            process.terminate()
            process.wait(services.STOP_S)
    return {**figures, **_of_libvirt(node)}


def _node(instances: int) -> str:
    content = NODE.read_text()
    (domain,) = DOMAIN.findall(content)
    copies = [
        re.sub('<uuid>.*?</uuid>', f'<uuid>{uuid.uuid4()}</uuid>', domain)
        .replace('instance-00000001', f'instance-{number:08}')
        .replace('aa:bb:cc:dd:ee:ff', f'aa:bb:cc:dd:{number // 256:02x}:{number % 256:02x}')
        .replace('diskimage1', f'diskimage{number}')
        for number in range(instances)
    ]
    return content.replace(domain, '\n'.join(copies))


def _of_libvirt(node: Path) -> dict[str, float]:
    """Return what the test driver takes for the instances, and for the questions of a cycle."""
    libvirt.openReadOnly(f'test://{NODE}')
    before_mib = _mib(os.getpid(), 'VmRSS')
    connection = libvirt.openReadOnly(f'test://{node}')
    grown_mib = _mib(os.getpid(), 'VmRSS') - before_mib
    begin = time.process_time()
    for domain in connection.listAllDomains():
        if not domain.name().startswith('instance'):
            continue
        for call in (domain.XMLDesc, domain.state, domain.UUIDString, domain.info):
            call()
        domain.memoryStats()
        domain.interfaceStats('tap0')
        domain.blockStats('vda')
        domain.blockInfo('vda')
    return {
        'MiB of the test driver among these': grown_mib,
        'milliseconds of libvirt among these': (time.process_time() - begin) * 1000,
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _mib(pid: int, name: str) -> float:
    found = re.search(rf'{name}:\s+(\d+) kB', Path(f'/proc/{pid}/status').read_text())
    assert found is not None
    return int(found[1]) / 1024


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.agent')
    parser.add_argument('--instances', type=int, default=100)
    parser.add_argument('--cycles', type=int, default=20)
    return parser.parse_args(arguments)


if __name__ == '__main__':
    main()
