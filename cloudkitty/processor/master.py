"""The master process: starts the workers, and starts them anew with another configuration."""

import logging
import multiprocessing
import multiprocessing.sharedctypes
import tempfile
from collections.abc import Callable
from pathlib import Path

import cotyledon
from cotyledon import oslo_config_glue
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.processor import exporter, service, systemd
from cloudkitty.processor.figures import Pulse
from cloudkitty.processor.service import ProcessorService

LOG = logging.getLogger(__name__)


class Edition:
    """Which edition of the configuration a process works with; made before the fork.

    A worker compares what it was forked with to what all processes share.
    """

    def __init__(self):
        self._mine = 0
        self._newest = multiprocessing.sharedctypes.RawValue('Q', 0)

    def renew(self) -> None:
        """In the master: the configuration is another one."""
        self._mine += 1
        self._newest.value = self._mine

    def is_old(self) -> bool:
        """In a worker: say whether it was forked before the configuration became another one."""
        return self._mine != self._newest.value


class Reload:
    """Takes over the configuration on disk, if it is right.

    :param conf: the configuration of all processes that are forked afterwards.
    :param reread: returns the configuration on disk as an object of its own.
    """

    def __init__(self, conf: cfg.ConfigOpts, reread: Callable[[], cfg.ConfigOpts],
                 edition: Edition):
        self._conf = conf
        self._reread = reread
        self._edition = edition

    def run(self) -> bool:
        """Read the files; say whether they are in use now. If not, nothing has changed."""
        try:
            fresh = self._reread()
            oslo_config_glue.register_opts(fresh)
            service.check(fresh)
        # The master must live, whatever a foreign driver thinks of its options.
        except Exception as exc:
            LOG.error('The configuration was not read again, the old one stays: %s',
                      ' '.join(str(exc).split()),
                      exc_info=None if isinstance(exc, (errors.ServiceError, cfg.Error)) else exc)
            return False
        if not self._conf.reload_config_files():
            LOG.error('The configuration was not read again, the old one stays: it has changed '
                      'meanwhile')
            return False
        configuration.set_up_logging(self._conf)
        self._edition.renew()
        LOG.info('The configuration was read again; the workers start anew')
        return True


class Master:
    """What happens around the workers' life.

    :param notifier: the way to systemd.
    """

    def __init__(self, conf: cfg.ConfigOpts, reread: Callable[[], cfg.ConfigOpts],
                 notifier: systemd.Notifier):
        self._conf = conf
        self._notifier = notifier
        self._edition = Edition()
        self._pulse = Pulse()
        self._reload = Reload(conf, reread, self._edition)
        self._workers_id = None

    def run(self, folder: Path) -> None:
        """Run the workers until SIGTERM or SIGINT.

        :param folder: where they count.
        """
        conf = self._conf
        self._manager = cotyledon.ServiceManager(
            graceful_shutdown_timeout=conf.graceful_shutdown_timeout)
        self._manager.register_hooks(on_reload=self._on_reload, on_terminate=self._on_terminate)
        workers = exporter.workers_of(conf)
        shares = conf.orchestrator.metrics_port is not None
        if workers:
            self._workers_id = self._manager.add(ProcessorService, workers=workers, args=(
                conf, self._pulse, folder if shares else None, self._edition))
        if not conf.orchestrator.max_workers:
            LOG.warning('[orchestrator]max_workers is 0: nothing is rated on this node')
        if shares:
            self._manager.add(exporter.Exporter, args=(conf, folder, self._pulse, self._edition))
        if conf.log_options:
            conf.log_opt_values(LOG, logging.DEBUG)
        self._watch()
        self._notifier.send(systemd.READY)
        self._manager.run()

    def _watch(self):
        period_s = systemd.watchdog_s()
        if period_s:
            systemd.Watchdog(
                self._notifier,
                lambda: self._pulse.silences(exporter.workers_of(self._conf)),
                lambda: self._conf.orchestrator.worker_silence_max).start(period_s)

    def _on_reload(self):
        self._notifier.reloading()
        if self._reload.run():
            self._adjust()
        self._notifier.send(systemd.READY)

    def _adjust(self):
        """Let there be as many workers as the configuration says now."""
        workers = exporter.workers_of(self._conf)
        if self._workers_id and workers:
            self._manager.reconfigure(self._workers_id, workers)
        elif bool(self._workers_id) != bool(workers):
            LOG.warning('The number of workers was or is 0: that changes with a new start only')

    def _on_terminate(self):
        self._notifier.send(systemd.STOPPING)


def serve(conf: cfg.ConfigOpts, reread: Callable[[], cfg.ConfigOpts]) -> None:
    """Run the workers until SIGTERM or SIGINT.

    :param reread: returns the configuration on disk as an object of its own, for SIGHUP.
    :raises ConfigurationError: something is missing or wrong.
    """
    oslo_config_glue.register_opts(conf)
    notifier = systemd.take_notifier()
    service.check(conf)
    if conf.orchestrator.metrics_port is not None:
        exporter.check(conf)
    with tempfile.TemporaryDirectory(prefix='cloudkitty-') as folder:
        Master(conf, reread, notifier).run(Path(folder))
