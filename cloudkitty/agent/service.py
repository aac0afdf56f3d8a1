"""The daemon: runs a cycle at each instant of the grid, and sends the spool in between."""

import contextlib
import ctypes
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from oslo_config import cfg

from cloudkitty import errors, locks, pollster
from cloudkitty.agent.grid import Grid
from cloudkitty.agent.manager import Identity, Manager
from cloudkitty.agent.pool import Pool
from cloudkitty.agent.sender import Sender
from cloudkitty.agent.spool import Spool
from cloudkitty.clients import bus
from cloudkitty.core.metering import signature

LOG = logging.getLogger(__name__)

SEND_S = 10
# A central agent keeps the lock for at least so long, or half of the interval if that is less:
# clocks of hosts differ, and the others begin a bit later.
LEAD_S = 30
# Of the C library: how many pools of memory the threads of a process have at most.
_M_ARENA_MAX = -8


class Agent:
    """Measures until it is stopped.

    :param manager: runs a cycle.
    :param leader: whose lock lets one of several agents measure; None: this one always does.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        grid: Grid,
        sender: Sender,
        leader: tuple[locks.Locks, bytes] | None = None,
    ) -> None:
        self._manager = manager
        self._grid = grid
        self._sender = sender
        self._leader = leader
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Make run() end soon; callable from signal handlers and any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Measure at once, then at each instant of the grid, until stop() is called."""
        begun_s = int(time.time())
        while not self._stopping.is_set():
            self._lead(begun_s)
            now_s = time.time()
            skipped = self._grid.skipped(begun_s, now_s)
            if skipped:
                LOG.warning('%d cycles were skipped: the one before took too long', skipped)
                self._manager.skipped += skipped
            begun_s = self._grid.after(now_s)
            self._wait(begun_s)

    def _wait(self, until_s: float) -> None:
        """Wait, and send the messages in the spool as soon as possible."""
        while (left_s := until_s - time.time()) > 0 and not self._stopping.is_set():
            self._sender.retry()
            retry_in_s = self._sender.retry_in_s
            self._stopping.wait(left_s if retry_in_s is None else min(left_s, retry_in_s))

    def _lead(self, begun_s: int) -> None:
        if self._leader is None:
            self._cycle()
            return
        shared, name = self._leader
        with shared.hold(name) as is_mine:
            # Without a lock service each agent measures: duplicates are stored once.
            if is_mine or not shared.answers:
                self._cycle()
                self._wait(begun_s + min(LEAD_S, self._grid.interval_s // 2))
            else:
                self._manager.forget()

    def _cycle(self) -> None:
        try:
            self._manager.cycle(self._stopping.is_set)
        # The outer loop: whatever happens, it is logged, and the next cycle begins in time.
        except Exception:
            LOG.exception('A cycle failed')


@contextlib.contextmanager
def building(conf: cfg.ConfigOpts, namespace: str) -> Iterator[Agent]:
    """Yield the agent of a namespace; it is closed at the end.

    :raises ConfigurationError: something is missing or wrong.
    """
    options = conf.agent
    pollsters = pollster.load(conf, [namespace])
    if not pollsters:
        raise errors.ConfigurationError(
            reason=f'no pollster of the namespace {namespace} is enabled here, see the log'
        )
    if not bus.has_bus(conf):
        raise errors.ConfigurationError(
            reason='[DEFAULT]transport_url is missing: the agent sends to the message bus'
        )
    LOG.info('Pollsters: %s', ', '.join(name for name, _ in pollsters))
    is_central = namespace == pollster.CENTRAL
    producer = namespace if is_central else f'{namespace}@{conf.host}'
    with contextlib.ExitStack() as stack:
        spool = Spool(Path(options.spool_folder) / namespace, options.spool_max * 2**20)
        stack.callback(spool.close)
        notifier = bus.Notifier(conf, f'cloudkitty.agent@{conf.host}', timeout_s=SEND_S)
        stack.callback(notifier.close)
        sender = Sender(notifier.send, spool)
        manager = Manager(
            pollsters,
            pool=Pool(options.threads, _deadline_s(options), _now_us),
            sender=sender,
            identity=Identity(producer, _secret(conf)),
            interval_s=options.interval,
            now=_now_us,
        )
        leader = None
        if is_central:
            shared = locks.Locks(conf.orchestrator.coordination_url)
            stack.callback(shared.close)
            name = locks.name('agent', collector='', fetcher='', scope_key='')
            leader = shared, name
        yield Agent(
            manager,
            # All central agents have the same, so that one of them has the lock.
            grid=Grid.of(options.interval, namespace if is_central else conf.host),
            sender=sender,
            leader=leader,
        )


def serve(conf: cfg.ConfigOpts, namespace: str) -> None:
    """Measure until SIGTERM or SIGINT.

    :raises ConfigurationError: something is missing or wrong.
    """
    _share_memory()
    with building(conf, namespace) as agent:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        agent.run()


def _share_memory() -> None:
    """Let all threads allocate from one pool: each of its own keeps a megabyte that is unused."""
    # musl has none, and no such pools.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _deadline_s(options: cfg.ConfigOpts.GroupAttr) -> float:
    return min(options.deadline, options.interval)


def _secret(conf: cfg.ConfigOpts) -> str:
    secrets: Sequence[str] = conf.metering.secrets
    if not secrets or not signature.is_secret(secrets[0]):
        raise errors.ConfigurationError(
            reason='[metering]secrets: the agent signs with the first of them, which must have at '
            f"least {signature.SECRET_LENGTH_MIN} characters and not be Ceilometer's default"
        )
    return secrets[0]


def _now_us() -> int:
    return time.time_ns() // 1000
