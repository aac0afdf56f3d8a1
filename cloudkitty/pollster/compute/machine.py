"""The host on which the agent runs: for servers without a hypervisor."""

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from oslo_config import cfg

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import BasePollster, Clock, Listing

PROC = Path('/proc')
CPU_MODES = ('user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal')
_KIB = 1024


class MachinePollster(BasePollster):
    """CPU time, memory and traffic of this host, from /proc; and its file systems."""

    GROUP = 'pollster_machine'
    OPTS = [
        cfg.StrOpt(
            'scope_id',
            max_length=255,
            help='Scope that is to be charged for this machine. While it is empty, the machine '
            'itself is not measured.',
        ),
    ]
    METERS = (
        'machine.cpu',
        'machine.memory',
        'machine.disk',
        'machine.network.in',
        'machine.network.out',
    )

    def is_enabled(self) -> bool:
        """Return False unless a scope is configured that is charged."""
        self.reason = '[pollster_machine]scope_id is empty'
        return bool(self.options.scope_id)

    def discover(self) -> Listing:
        """Return nothing: there is only this host."""
        return Listing(())

    def poll(self, resources: Sequence[Any], now: Clock) -> Iterator[Counter]:
        yield from self._processors(now)
        yield self._counter('machine.memory', facts.GAUGE, 'B', _memory_bytes(), 'memory', now())
        yield from self._traffic(now)
        for device, (size, kind) in _file_systems().items():
            yield self._counter(
                'machine.disk',
                facts.GAUGE,
                'B',
                size,
                device,
                now(),
                {'device': device, 'fstype': kind},
            )

    def _processors(self, now: Clock) -> Iterator[Counter]:
        ticks_per_s = os.sysconf('SC_CLK_TCK')
        lines = (PROC / 'stat').read_text().splitlines()
        at = now()
        for name, *counts in map(str.split, lines):
            if not name.startswith('cpu') or name == 'cpu':
                continue
            for mode, ticks in zip(CPU_MODES, counts, strict=False):
                yield self._counter(
                    'machine.cpu',
                    facts.CUMULATIVE,
                    's',
                    Decimal(ticks) / ticks_per_s,
                    f'{name}-{mode}',
                    at,
                    {'cpu': name[3:], 'mode': mode},
                )

    def _traffic(self, now: Clock) -> Iterator[Counter]:
        rows = (PROC / 'net/dev').read_text().splitlines()
        at = now()
        for row in rows:
            device, colon, counts = row.partition(':')
            if not colon:
                continue
            device, values = device.strip(), counts.split()
            for meter, place in (('machine.network.in', 0), ('machine.network.out', 8)):
                yield self._counter(
                    meter, facts.CUMULATIVE, 'B', values[place], device, at, {'device': device}
                )

    def _counter(
        self,
        meter: str,
        kind: str,
        unit: str,
        volume: Any,
        resource: str,
        at: int,
        attributes: Mapping[str, Any] = {},  # noqa: B006 (it is not changed)
    ) -> Counter:
        host = self.conf.host
        return Counter(
            meter,
            kind,
            unit,
            Decimal(volume),
            self.options.scope_id,
            None,
            f'{host}-{resource}',
            at,
            {'host': host, **attributes},
        )


def _memory_bytes() -> int:
    """Return how much memory is in use."""
    found = {}
    for line in (PROC / 'meminfo').read_text().splitlines():
        name, _, value = line.partition(':')
        found[name] = int(value.split()[0]) * _KIB
    return found['MemTotal'] - found['MemAvailable']


def _file_systems() -> dict[str, tuple[int, str]]:
    """Return size in bytes and kind of the file systems, by device."""
    found: dict[str, tuple[int, str]] = {}
    for line in (PROC / 'mounts').read_text().splitlines():
        device, folder, kind = line.split()[:3]
        if device.startswith('/dev/') and os.path.isdir(folder):
            about = os.statvfs(folder)
            found.setdefault(device, (about.f_blocks * about.f_frsize, kind))
    return found
