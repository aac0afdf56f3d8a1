"""The intake process as a cotyledon service, and how its parts are built."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import prometheus_client
from cotyledon.types import WorkerId
from oslo_config import cfg

from cloudkitty import db, errors, listener
from cloudkitty.clients import bus
from cloudkitty.clients.bus import Subscription
from cloudkitty.processor.child import Child, ConfigGeneration
from cloudkitty.processor.intake.figures import Figures
from cloudkitty.processor.intake.handlers import Intake
from cloudkitty.processor.intake.queue_beacons import INTERVAL_S, Beacons, Queue
from cloudkitty.processor.telemetry import WORKERS_MAX
from cloudkitty.telemetry import shared_registry
from cloudkitty.usage.receiving import Keys, Receiver

LOG = logging.getLogger(__name__)


def check(conf: cfg.ConfigOpts) -> None:
    """Check what the intake needs, if it is configured.

    :raises ConfigurationError: something is missing or wrong.
    """
    if not conf.metering.workers:
        return
    if not bus.has_bus(conf):
        raise errors.ConfigurationError(
            reason='[metering]workers: there is no message bus to read; set '
            '[DEFAULT]transport_url or [oslo_messaging_notifications]transport_url'
        )
    keys = Keys(conf)
    if not keys.newest and conf.metering.unsigned == 'refuse':
        raise errors.ConfigurationError(
            reason='[metering]secrets: without a secret no message could be verified; set one, '
            'or unsigned to accept'
        )
    listener.load(conf)


def subscriptions(
    conf: cfg.ConfigOpts, listeners: listener.Listeners
) -> tuple[Subscription, Subscription | None]:
    """Return the subscriptions: metering messages and events, and notifications.

    The second is None if there is no listener or no topic.
    """
    own = Subscription(
        sorted({*conf.metering.exchanges, bus.EXCHANGE}), bus.OWN_TOPICS, (bus.SAMPLE,)
    )
    topics = [topic for topic in conf.listener.topics if topic not in bus.OWN_TOPICS]
    if not listeners.names or not topics:
        return own, None
    exchanges = sorted({*listeners.exchanges, *conf.metering.exchanges, bus.EXCHANGE})
    return own, Subscription(exchanges, topics, (bus.INFO, bus.SAMPLE), conf.listener.pool)


def queues(subscribed: Iterator[Subscription | None]) -> list[Queue]:
    """Return the queues of subscriptions."""
    return [
        Queue(one.pool or f'{topic}.{priority}', topic, priority)
        for one in subscribed
        if one is not None
        for topic in one.topics
        for priority in one.priorities
    ]


@contextlib.contextmanager
def running(
    conf: cfg.ConfigOpts,
    database: db.Database,
    registry: prometheus_client.CollectorRegistry,
    clock: Callable[[], datetime],
) -> Iterator[Beacons]:
    """Store usage from the bus while the block runs; yields the beacons to send."""
    receiver = Receiver(conf, database, clock)
    listeners = listener.load(conf)
    own, notified = subscriptions(conf, listeners)
    publisher_id = f'intake.{conf.host}'[: bus.TEXT_MAX]
    # A notifier is for one thread.
    with (
        contextlib.closing(bus.Notifier(conf, publisher_id)) as of_beacons,
        contextlib.closing(bus.Notifier(conf, publisher_id)) as of_listeners,
    ):

        def beacons(notifier: bus.Notifier) -> Beacons:
            return Beacons(
                database=database,
                notifier=notifier,
                keys=receiver.keys,
                queues=queues(iter((own, notified))),
                clock=clock,
            )

        intake = Intake(
            receiver=receiver,
            listeners=listeners,
            beacons=beacons(of_listeners),
            figures=Figures(registry),
            send=of_listeners.send if conf.listener.republish else None,
            clock=clock,
        )
        with contextlib.ExitStack() as opened:
            opened.enter_context(bus.listening(conf, own, intake.take_samples))
            if notified is not None:
                opened.enter_context(bus.listening(conf, notified, intake.take_notifications))
            LOG.info(
                'Usage is taken from the message bus; listeners: %s',
                ', '.join(listeners.names) or 'none',
            )
            yield beacons(of_beacons)


class IntakeService(Child):
    """Stores usage from the message bus. All it needs is opened here, after the fork.

    :param folder: where it keeps its Prometheus metrics; None: it keeps none.
    """

    name = 'intake'

    def __init__(
        self,
        worker_id: WorkerId,
        conf: cfg.ConfigOpts,
        folder: Path | None,
        generation: ConfigGeneration,
    ):
        super().__init__(worker_id, f'intake-{worker_id}', conf, generation)
        self._folder = folder
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            if self._folder is not None:
                # Workers have the numbers below.
                shared_registry.share(self._folder, lambda: WORKERS_MAX + self.worker_id)
            registry = prometheus_client.CollectorRegistry()
            database = db.Database(self._conf)
            with running(self._conf, database, registry, _now) as beacons:
                while not self._stopping.is_set():
                    beacons.send()
                    self._stopping.wait(INTERVAL_S)
        finally:
            self._ended.set()

    def terminate(self) -> None:
        """Finish the batch under way and leave the bus."""
        super().terminate()
        self._ended.wait(self.graceful_shutdown_timeout)


def _now() -> datetime:
    return datetime.now(UTC)
