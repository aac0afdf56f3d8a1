"""What the processes that the master forks have in common."""

import multiprocessing
import multiprocessing.sharedctypes
import threading

import cotyledon
from cotyledon.types import WorkerId
from oslo_config import cfg


class ConfigGeneration:
    """Generation counter of the configuration, shared by all processes; created before the fork.

    A process compares the generation it was forked with to the shared one.
    """

    def __init__(self) -> None:
        self._own = 0
        self._newest = multiprocessing.sharedctypes.RawValue('Q', 0)

    def advance(self) -> None:
        """Record that the configuration has changed; called in the master."""
        self._own += 1
        self._newest.value = self._own

    def is_outdated(self) -> bool:
        """Return whether this process was forked before the configuration changed."""
        return self._own != self._newest.value


class Child(cotyledon.Service):
    """A process that exits, to be restarted, when the configuration has changed.

    :param label: its name in JSON log lines.
    """

    def __init__(
        self, worker_id: WorkerId, label: str, conf: cfg.ConfigOpts, generation: ConfigGeneration
    ):
        super().__init__(worker_id)
        multiprocessing.current_process().name = label
        # The master's object still holds the configuration of its start.
        # Each instance of a service may have one, see cotyledon's glue for oslo.config.
        self.graceful_shutdown_timeout = conf.graceful_shutdown_timeout  # type: ignore[misc]
        self._conf = conf
        self._generation = generation
        self._stopping = threading.Event()

    def reload(self) -> None:
        """Exit, to be restarted, if the configuration has changed."""
        if self._generation.is_outdated():
            super().reload()

    def terminate(self) -> None:
        """Stop at the next opportunity."""
        self._stopping.set()
