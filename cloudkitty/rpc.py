"""The message bus. Messages are only wake-ups: every order is stored in the database first.

Without [DEFAULT]transport_url there is no bus; a worker then finds an order when it polls the
database. Names and arguments of the calls are those of older releases, so that both sides
understand each other during a rolling upgrade.

Source: doc/source/contributor/compatibility/service-edges.rst, "Message bus".
"""

import atexit
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from oslo_config import cfg

from cloudkitty import errors, no_eventlet

# A megabyte in each process, for a format that no message has.
with no_eventlet.hidden('yaml'):
    import kombu.serialization
with no_eventlet.hidden():
    from oslo_service import backend

    # Unless its backend is chosen before the first use, oslo.service (of oslo.messaging) uses
    # eventlet, which is incompatible with the threads here.
    with contextlib.suppress(backend.exceptions.BackendAlreadySelected):
        backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging
    from oslo_messaging import Target, exceptions

LOG = logging.getLogger(__name__)

TOPIC = 'cloudkitty'
VERSION = '1.0'
# Older releases send one of their calls with this version.
VERSION_SERVED = '1.1'
NAMESPACE_RATING = 'rating'
# Argument that marks the order of a message as stored already, so the receiver need not store it.
IS_RECORDED = 'is_recorded'
WAITING_MAX = 1000
SCOPES_MAX = 1000
SEND_S = 10
CONNECT_S = 5
# Names of the driver for RabbitMQ in the URL of the bus.
RABBIT = ('rabbit', 'kombu')
# Mostly it takes one.
STOP_S = 8
NOTIFICATIONS = 'notifications'


def has_bus(conf: cfg.ConfigOpts) -> bool:
    """Return whether a message bus is configured.

    :raises ConfigurationError: the URL is invalid.
    """
    try:
        # This also registers the option.
        oslo_messaging.TransportURL.parse(conf)
    except exceptions.MessagingException as exc:
        # An empty value counts as unset.
        if not conf.transport_url:
            return False
        raise errors.ConfigurationError(
            reason='[DEFAULT]transport_url is no URL of a message bus; allowed: one such as '
            'rabbit://USER:PASSWORD@HOST:5672/'
        ) from exc
    found = conf.get_location('transport_url')
    where = found and found.location
    return where not in (cfg.Locations.opt_default, cfg.Locations.set_default) and bool(
        conf.transport_url
    )


def list_unreachable(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield address and reason of each RabbitMQ that refuses a connection, or does not answer.

    :raises ConfigurationError: the URL is invalid.
    """
    if not has_bus(conf):
        return
    url = oslo_messaging.TransportURL.parse(conf)
    for host in url.hosts if url.transport in RABBIT else ():
        port = host.port or 5672
        try:
            with kombu.Connection(
                hostname=host.hostname,
                port=port,
                userid=host.username,
                password=host.password,
                virtual_host=url.virtual_host or '/',
                connect_timeout=CONNECT_S,
            ) as connection:
                connection.connect()
        # Errors of AMQP, of sockets and of TLS have no common base.
        except Exception as exc:
            yield f'{host.hostname}:{port}', ' '.join(str(exc).split()) or type(exc).__name__


@contextlib.contextmanager
def _transport(conf):
    oslo_messaging.set_transport_defaults(TOPIC)
    transport = oslo_messaging.get_rpc_transport(conf)
    try:
        yield transport
    finally:
        transport.cleanup()


class Notifier:
    """Emits notifications on the bus, in the form of other services of OpenStack.

    :param conf: [oslo_messaging_notifications]transport_url counts, too.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._transport: oslo_messaging.Transport | None = None

    def emit(self, event: str, message_id: str, payload: dict[str, Any], at: datetime) -> str:
        """Emit one notification; return why it failed, or ''. It does not wait for a bus."""
        body = {
            'message_id': message_id,
            'publisher_id': f'{TOPIC}.{self._conf.host}',
            'event_type': event,
            'priority': 'INFO',
            'payload': payload,
            'timestamp': str(at.replace(tzinfo=None)),
        }
        try:
            if self._transport is None:
                oslo_messaging.set_transport_defaults(TOPIC)
                self._transport = oslo_messaging.get_notification_transport(self._conf)
            # oslo.messaging's own Notifier logs what fails, payload included, and does not tell.
            self._transport._send_notification(
                Target(topic=f'{NOTIFICATIONS}.info'), {}, body, version=2.0, retry=0
            )
        # oslo.messaging passes through errors of the underlying libraries.
        except Exception as exc:
            return type(exc).__name__
        return ''

    def close(self) -> None:
        """Disconnect."""
        if self._transport is not None:
            self._transport.cleanup()
            self._transport = None


class Call:
    """One message: a method, its arguments, and its target."""

    def __init__(
        self, method: str, *, namespace: str | None = None, is_for_all: bool = False, **arguments
    ):
        self.method = method
        self.target = {'namespace': namespace, 'fanout': is_for_all, 'version': VERSION}
        self.arguments = arguments


class Bus:
    """Notifies the processors of orders. It never blocks or fails: orders are in the database.

    :param conf: read at the first message, since a server of the API may fork before.
    """

    def __init__(self, conf: cfg.ConfigOpts):
        self._conf = conf
        self._is_there = has_bus(conf)
        # None ends the thread.
        self._waiting: queue.Queue[Call | None] = queue.Queue(WAITING_MAX)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._owner: int | None = None

    def scopes_reset(self, scopes: Sequence[dict[str, str]], mark: str) -> None:
        """Announce that *scopes* are to be set back.

        :param scopes: scope_id, scope_key, fetcher and collector of each.
        :param mark: ISO 8601 with offset.
        """
        for begin in range(0, len(scopes), SCOPES_MAX):
            self._send(
                Call(
                    'reset_state',
                    res_data={
                        'scopes': scopes[begin : begin + SCOPES_MAX],
                        'last_processed_timestamp': mark,
                        IS_RECORDED: True,
                    },
                )
            )
        self.orders_changed()

    def orders_changed(self) -> None:
        """Announce a new order in the database."""
        self._tell_all('reload_modules')

    def module_changed(self, name: str, *, enabled: bool | None = None) -> None:
        """Announce that a module was switched on or off, or, with None, got another priority."""
        method = {True: 'enable_module', False: 'disable_module', None: 'reload_module'}[enabled]
        self._tell_all(method, name=name)

    def _tell_all(self, method, **arguments):
        self._send(Call(method, namespace=NAMESPACE_RATING, is_for_all=True, **arguments))

    def _send(self, call):
        if not self._is_there:
            return
        with self._starting:
            # Threads do not survive a fork.
            if self._owner != os.getpid():
                self._owner = os.getpid()
                self._thread = threading.Thread(target=self._run, name='bus', daemon=True)
                self._thread.start()
                atexit.register(self.close)
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(call)

    def close(self) -> None:
        """Send queued messages and disconnect, with a timeout; called automatically at exit."""
        with self._starting:
            if self._owner != os.getpid():
                return
            self._owner = None
            atexit.unregister(self.close)
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=STOP_S)
            if self._thread is not None:
                self._thread.join(STOP_S)

    def _run(self):
        with contextlib.ExitStack() as opened:
            self._send_each(opened)

    def _send_each(self, opened):
        is_away, client = False, None
        while (call := self._waiting.get()) is not None:
            try:
                if client is None:
                    transport = opened.enter_context(_transport(self._conf))
                    client = oslo_messaging.get_rpc_client(
                        transport, Target(topic=TOPIC), retry=0, timeout=SEND_S
                    )
                client.prepare(**call.target).cast({}, call.method, **call.arguments)
            # oslo.messaging passes through errors of the underlying libraries.
            except Exception as exc:
                if not is_away:
                    LOG.warning(
                        'The message bus does not answer; processors find orders by '
                        'themselves, within a minute: %s',
                        type(exc).__name__,
                    )
                is_away = True
            else:
                if is_away:
                    LOG.info('The message bus answers again')
                is_away = False


@contextlib.contextmanager
def listening(
    conf: cfg.ConfigOpts,
    build_endpoints: Callable[[], Sequence[object]],
) -> Iterator[Callable[[], None]]:
    """Serve endpoints in the background while the block runs, if there is a bus.

    :param build_endpoints: returns objects as oslo.messaging wants them, each with a `target`.
    :returns: the value of the block is a function that ends it from any thread, before its end.
    """
    if not has_bus(conf):
        yield lambda: None
        return
    stopping = threading.Event()
    with serving('rpc', _serve, (conf, build_endpoints), stopping, STOP_S) as leave:
        yield leave


@contextlib.contextmanager
def serving(
    name: str,
    serve: Callable[..., None],
    arguments: Sequence[object],
    stopping: threading.Event,
    stop_s: float,
) -> Iterator[Callable[[], None]]:
    """Run serve(*arguments, stopping) in a thread while the block runs.

    :param stopping: set when it is to return.
    :param stop_s: how long its end is waited for, seconds.
    :returns: the value of the block is a function that ends it from any thread, before its end.
    """
    thread = threading.Thread(target=serve, args=(*arguments, stopping), name=name, daemon=True)
    thread.start()

    def leave() -> None:
        stopping.set()
        # If the broker is down it blocks until that ends, so the process exits without waiting.
        thread.join(stop_s)

    try:
        yield leave
    finally:
        leave()


def _serve(conf, build_endpoints, stopping):
    with contextlib.ExitStack() as opened:
        try:
            transport = opened.enter_context(_transport(conf))
            server = oslo_messaging.get_rpc_server(
                transport,
                Target(topic=TOPIC, server=conf.host),
                build_endpoints(),
                executor='threading',
            )
            server.start()
        except Exception as exc:
            LOG.error(
                'The message bus cannot be used; orders are found in the database within a '
                'minute: %s',
                type(exc).__name__,
            )
            return
        stopping.wait()
        server.stop()
        # Only from here on it no longer takes messages from other consumers.
        server.wait()
