"""Metering on the message bus: a notifier that knows what has arrived, and listeners in batches.

Source: doc/source/contributor/metering.rst, "The bus".
"""

import contextlib
import functools
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import dataframe, errors, rpc

# Only after rpc, which chooses what oslo.messaging runs on.
from cloudkitty.rpc import oslo_messaging  # isort: skip
from oslo_messaging import dispatcher as oslo_dispatcher
from oslo_messaging import opts as messaging_opts
from oslo_messaging._drivers.common import deserialize_msg
from oslo_messaging.notify import listener as oslo_listener

LOG = logging.getLogger(__name__)

EXCHANGE = 'cloudkitty'
METERING, EVENT = 'metering', 'event'
# Nobody else reads them, so their messages are never shared by a pool.
OWN_TOPICS = (METERING, EVENT)
# Notifications of samples have this priority, those of services mostly the other.
SAMPLE, INFO = 'sample', 'info'
# Most metering messages in a message of the bus.
MESSAGES_MAX = 50
SIZE_MAX = 2**20
# Most characters that are kept of a message that cannot be read.
KEPT_MAX = 65536
TEXT_MAX = 255
BATCH_SIZE = 200
BATCH_S = 0.5
SEND_S = 30
RETRIES = 1
STOP_S = 10
PAUSE_MAX_S = 30
_SECTION = 'oslo_messaging_notifications'
_UNIQUE_ID = '_unique_id'


class Unreadable(NamedTuple):
    """Payload of a delivery that is no notification.

    :ivar text: at most KEPT_MAX characters of what came.
    """

    reason: str
    text: str


class Delivery(NamedTuple):
    """A notification that the bus has delivered.

    :ivar publisher_id, message_id, timestamp: what it says of itself; '' if that is no short text.
        *timestamp* is UTC without a zone: when it was sent.
    :ivar payload: parsed JSON, or Unreadable.
    """

    event_type: str
    publisher_id: str
    message_id: str
    timestamp: str
    payload: Any


class Subscription(NamedTuple):
    """What a listener receives.

    :ivar pool: name of a queue of its own that gets all messages; '': it reads the default queues,
        whose messages it shares with every other reader without a pool.
    """

    exchanges: Sequence[str]
    topics: Sequence[str]
    priorities: Sequence[str] = (SAMPLE,)
    pool: str = ''


def has_bus(conf: cfg.ConfigOpts) -> bool:
    """Return whether a bus for notifications is configured.

    :raises ConfigurationError: its URL is invalid.
    """
    _url(conf)
    return bool(conf[_SECTION].transport_url) or rpc.has_bus(conf)


def _url(conf: cfg.ConfigOpts) -> Any:
    for section, options in messaging_opts.list_opts():
        if section == _SECTION:
            conf.register_opts(options, group=section)
    try:
        return oslo_messaging.TransportURL.parse(conf, conf[_SECTION].transport_url)
    except oslo_messaging.MessagingException as exc:
        raise errors.ConfigurationError(
            reason=f'[{_SECTION}]transport_url is no URL of a message bus; allowed: one such as '
            'rabbit://USER:PASSWORD@HOST:5672/'
        ) from exc


class Notifier:
    """Sends to the exchange EXCHANGE; each message is confirmed by the broker, or an error.

    It is for one thread. After an error the message may have arrived all the same: send it again.

    :param publisher_id: who sends, at most TEXT_MAX characters.
    :param timeout_s: how long one message may take, seconds.
    """

    def __init__(self, conf: cfg.ConfigOpts, publisher_id: str, *, timeout_s: float = SEND_S):
        self._conf = conf
        self._publisher_id = publisher_id
        self._timeout_s = timeout_s
        self._transport: Any = None
        self._sending: threading.Thread | None = None

    def send(
        self,
        payload: Any,
        *,
        event_type: str = METERING,
        topic: str = METERING,
        priority: str = SAMPLE,
    ) -> None:
        """Return once the broker has taken a message.

        :param payload: anything that JSON can say; of metering messages a list of at most
            MESSAGES_MAX, signed.
        :raises BusUnavailable: it did not take it, or said nothing in time.
        """
        # A broker that is short of memory takes nothing and says nothing, and oslo.messaging waits
        # for ever.
        if self._sending is not None and self._sending.is_alive():
            raise errors.BusUnavailable(reason='it has not answered to the message before')
        ended: queue.Queue[Exception | None] = queue.Queue(1)
        message = {
            'message_id': str(uuid.uuid4()),
            'publisher_id': self._publisher_id,
            'event_type': event_type,
            'priority': priority.upper(),
            'payload': payload,
            'timestamp': str(datetime.now(UTC).replace(tzinfo=None)),
        }
        self._sending = threading.Thread(
            target=self._publish,
            args=(f'{topic}.{priority}', message, ended),
            name='notifier',
            daemon=True,
        )
        self._sending.start()
        try:
            failure = ended.get(timeout=self._timeout_s)
        except queue.Empty as exc:
            raise errors.BusUnavailable(
                reason=f'no confirmation within {self._timeout_s} s'
            ) from exc
        # It has nothing left to do; the next message must not find it alive.
        self._sending.join()
        if failure is not None:
            raise errors.BusUnavailable(reason=type(failure).__name__) from failure

    def _publish(
        self, topic: str, message: dict[str, Any], ended: queue.Queue[Exception | None]
    ) -> None:
        try:
            if self._transport is None:
                self._transport = oslo_messaging.get_notification_transport(
                    self._conf, url=_url(self._conf)
                )
            # Not oslo.messaging's Notifier: it logs errors and tells nobody.
            self._transport._send_notification(
                oslo_messaging.Target(exchange=EXCHANGE, topic=topic),
                {},
                message,
                version=2.0,
                retry=RETRIES,
            )
        # oslo.messaging passes through errors of the underlying libraries.
        except Exception as exc:
            ended.put(exc)
        else:
            ended.put(None)

    def close(self) -> None:
        """Disconnect."""
        if self._transport is not None and not (self._sending and self._sending.is_alive()):
            self._transport.cleanup()
            self._transport = None


@contextlib.contextmanager
def listening(
    conf: cfg.ConfigOpts,
    subscription: Subscription,
    handle: Callable[[Sequence[Delivery]], None],
) -> Iterator[Callable[[], None]]:
    """Hand batches of deliveries to *handle* in one background thread while the block runs.

    A batch is acknowledged when *handle* returns. If it raises, the batch is delivered again after
    a pause that grows to PAUSE_MAX_S seconds.

    :param handle: gets at most BATCH_SIZE deliveries; must not take longer than a minute.
    :returns: the value of the block is a function that ends it from any thread, before its end.
    :raises ConfigurationError: a pool is to share a topic that nobody else reads.
    """
    if subscription.pool and set(OWN_TOPICS) & set(subscription.topics):
        raise errors.ConfigurationError(
            reason=f'[listener]pool must be empty for the topics {", ".join(OWN_TOPICS)}'
        )
    stopping = threading.Event()
    dispatcher = _Dispatcher(subscription.priorities, handle, stopping)
    arguments = conf, subscription, dispatcher
    with rpc.serving('intake', _serve, arguments, stopping, STOP_S) as leave:
        yield leave


def _serve(
    conf: cfg.ConfigOpts,
    subscription: Subscription,
    dispatcher: '_Dispatcher',
    stopping: threading.Event,
) -> None:
    failures = 0
    while not stopping.is_set():
        try:
            with contextlib.ExitStack() as opened:
                server = _start(conf, subscription, dispatcher, opened)
                failures = 0
                stopping.wait()
                server.stop()
                server.wait()
        # A queue that exists with other properties, a login that is refused, and so on.
        except Exception as exc:
            failures += 1
            LOG.error(
                'The topics %s of the message bus cannot be read; next attempt within %d s: %s',
                ', '.join(subscription.topics),
                PAUSE_MAX_S,
                ' '.join(str(exc).split())[:300] or type(exc).__name__,
            )
            stopping.wait(_pause_s(failures))


def _start(
    conf: cfg.ConfigOpts,
    subscription: Subscription,
    dispatcher: '_Dispatcher',
    opened: contextlib.ExitStack,
) -> Any:
    oslo_messaging.set_transport_defaults(rpc.TOPIC)
    url = _url(conf)
    # Without a bound a worker fetches all that is in a queue, into its memory.
    url.query.setdefault('rabbit_qos_prefetch_count', str(BATCH_SIZE))
    transport = oslo_messaging.get_notification_transport(conf, url=url)
    opened.callback(transport.cleanup)
    targets = [
        oslo_messaging.Target(exchange=exchange, topic=topic)
        for exchange in subscription.exchanges
        for topic in subscription.topics
    ]
    server = _Server(
        transport,
        targets,
        dispatcher,
        executor='threading',
        pool=subscription.pool or None,
        batch_size=BATCH_SIZE,
        batch_timeout=BATCH_S,
    )
    # Batches are handled one by one.
    server.start(override_pool_size=1)
    return server


def _pause_s(failures: int) -> float:
    return min(PAUSE_MAX_S, 2 ** min(failures - 1, 10))


class _Dispatcher(oslo_dispatcher.DispatcherBase):
    """Hands batches on as they come, whatever is in them: oslo.messaging's own drops some."""

    def __init__(
        self,
        priorities: Sequence[str],
        handle: Callable[[Sequence[Delivery]], None],
        stopping: threading.Event,
    ):
        self.supported_priorities = list(priorities)
        self._handle = handle
        self._stopping = stopping
        self._failures = 0

    def dispatch(self, incoming: Sequence[Any]) -> set[Any]:
        """Return the messages that are to be delivered again."""
        if self._stopping.is_set():
            return set(incoming)
        try:
            self._handle([_delivery_of(one) for one in incoming])
        except Exception as exc:
            self._failures += 1
            pause_s = _pause_s(self._failures)
            LOG.warning(
                '%d messages could not be stored and are delivered again in %d s: %s',
                len(incoming),
                pause_s,
                errors.describe(exc),
            )
            self._stopping.wait(pause_s)
            return set(incoming)
        self._failures = 0
        return set()


def _delivery_of(incoming: Any) -> Delivery:
    message = incoming.message
    event_type, publisher_id, message_id, timestamp = (
        value if isinstance(value := message.get(name), str) and _is_short_text(value) else ''
        for name in ('event_type', 'publisher_id', 'message_id', 'timestamp')
    )
    # Not the context of the request, which may hold a token.
    return Delivery(event_type, publisher_id, message_id, timestamp, message.get('payload'))


def _is_short_text(value: str) -> bool:
    """Return whether *value* can be stored, and be the label of a metric."""
    return len(value) <= TEXT_MAX and dataframe.is_text(value)


class _Server(oslo_listener.BatchNotificationServer):
    """Loses nothing without a word: a message that RabbitMQ brings and that is no notification."""

    def _create_listener(self) -> Any:
        adapter = super()._create_listener()
        connection = getattr(adapter._poll_style_listener, 'conn', None)
        for consumer in getattr(connection, '_consumers', ()):
            # Nothing is received before the listener starts.
            consumer._callback = functools.partial(_receive, consumer)
        return adapter


def _receive(consumer: Any, raw: Any) -> None:
    # As oslo.messaging does it, which drops what it cannot parse.
    convert = getattr(consumer.queue.channel, 'message_to_python', None)
    consumer.callback(_Message(convert(raw) if convert else raw))


class _Message(dict[str, Any]):
    """A message of RabbitMQ; if it is none of oslo.messaging's, its payload is Unreadable."""

    def __init__(self, raw: Any):
        super().__init__(_read(raw))
        self._raw = raw

    def acknowledge(self) -> None:
        self._raw.ack()

    def requeue(self) -> None:
        self._raw.requeue()


def _read(raw: Any) -> dict[str, Any]:
    body = raw.body if isinstance(raw.body, bytes) else str(raw.body).encode()
    if len(body) > SIZE_MAX:
        return _unreadable(f'the message has {len(body)} bytes, more than {SIZE_MAX}', body)
    try:
        message = deserialize_msg(raw.payload)
    # Texts of other content types, JSON with too many levels, and so on.
    except Exception as exc:
        return _unreadable(f'no notification: {type(exc).__name__}', body)
    if not isinstance(message, dict):
        return _unreadable('no notification: not an object', body)
    # oslo.messaging remembers the last 16, and never acknowledges one that comes again.
    message.pop(_UNIQUE_ID, None)
    return message


def _unreadable(reason: str, body: bytes) -> dict[str, Any]:
    text = body[:KEPT_MAX].decode(errors='backslashreplace')
    return {'payload': Unreadable(reason, text)}
