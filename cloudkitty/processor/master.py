"""The master process: starts the workers, and restarts them when the configuration changes."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import cotyledon
from cotyledon import oslo_config_glue
from cotyledon.types import ServiceId
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.processor import exporter, service, systemd
from cloudkitty.processor.child import ConfigGeneration
from cloudkitty.processor.intake import service as intake
from cloudkitty.processor.service import ProcessorService
from cloudkitty.processor.telemetry import Heartbeats

LOG = logging.getLogger(__name__)


class Reload:
    """Reloads the configuration from disk if it is valid.

    :param conf: the configuration of all processes that are forked afterwards.
    :param reread: returns the configuration on disk as an object of its own.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        reread: Callable[[], cfg.ConfigOpts],
        generation: ConfigGeneration,
    ):
        self._conf = conf
        self._reread = reread
        self._generation = generation

    def run(self) -> bool:
        """Read the files; return whether they are in use now. If not, nothing has changed."""
        try:
            fresh = self._reread()
            oslo_config_glue.register_opts(fresh)
            service.check(fresh)
            intake.check(fresh)
        # The master must survive whatever a third-party driver raises about its options.
        except Exception as exc:
            LOG.error(
                'The configuration was not reloaded, the previous one stays in use: %s',
                ' '.join(str(exc).split()),
                exc_info=None if isinstance(exc, (errors.ServiceError, cfg.Error)) else exc,
            )
            return False
        if not self._conf.reload_config_files():
            LOG.error(
                'The configuration was not reloaded, the previous one stays in use: the files '
                'changed while they were read'
            )
            return False
        configuration.set_up_logging(self._conf)
        self._generation.advance()
        LOG.info('The configuration was reloaded; the workers are restarted')
        return True


class Master:
    """Starts, restarts and stops the workers.

    :param notifier: sends messages to systemd.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, reread: Callable[[], cfg.ConfigOpts], notifier: systemd.Notifier
    ):
        self._conf = conf
        self._notifier = notifier
        self._generation = ConfigGeneration()
        self._heartbeats = Heartbeats()
        self._reload = Reload(conf, reread, self._generation)
        self._workers_id: ServiceId | None = None

    def run(self, folder: Path) -> None:
        """Run the workers until SIGTERM or SIGINT.

        :param folder: where they keep their metrics.
        """
        conf = self._conf
        self._manager = cotyledon.ServiceManager(
            graceful_shutdown_timeout=conf.graceful_shutdown_timeout
        )
        self._manager.register_hooks(on_reload=self._on_reload, on_terminate=self._on_terminate)
        workers = exporter.workers_of(conf)
        shares = conf.orchestrator.metrics_port is not None
        if workers:
            self._workers_id = self._manager.add(
                ProcessorService,
                workers=workers,
                args=(conf, self._heartbeats, folder if shares else None, self._generation),
            )
        if not conf.orchestrator.max_workers:
            LOG.warning('[orchestrator]max_workers is 0: nothing is rated on this node')
        if conf.metering.workers:
            self._manager.add(
                intake.IntakeService,
                workers=conf.metering.workers,
                args=(conf, folder if shares else None, self._generation),
            )
        if shares:
            self._manager.add(
                exporter.Exporter, args=(conf, folder, self._heartbeats, self._generation)
            )
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
                lambda: self._heartbeats.overdue_s(exporter.workers_of(self._conf)),
                lambda: self._conf.orchestrator.worker_silence_max,
            ).start(period_s)

    def _on_reload(self):
        self._notifier.reloading()
        if self._reload.run():
            self._adjust()
        self._notifier.send(systemd.READY)

    def _adjust(self):
        """Start or stop workers until there are as many as the configuration says."""
        workers = exporter.workers_of(self._conf)
        if self._workers_id and workers:
            self._manager.reconfigure(self._workers_id, workers)
        elif bool(self._workers_id) != bool(workers):
            LOG.warning(
                'No worker was started or stopped: changing max_workers from or to 0 '
                'needs a restart'
            )

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
    intake.check(conf)
    if conf.orchestrator.metrics_port is not None:
        exporter.check(conf)
    with tempfile.TemporaryDirectory(prefix='cloudkitty-') as folder:
        Master(conf, reread, notifier).run(Path(folder))
