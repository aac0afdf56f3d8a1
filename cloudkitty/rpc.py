"""The message bus. It only says "look now": every order is a row in the database first.

Without [DEFAULT]transport_url there is no bus; a worker then finds an order at its next look. Names
and shapes of the calls are those of older releases, so that both sides understand each other during
a rolling upgrade.

Source: contract service-edges, section 11.
"""

import atexit
import contextlib
import logging
import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence

from oslo_config import cfg

from cloudkitty import errors

with warnings.catch_warnings():
    # futurist, below oslo.messaging, imports eventlet, which then complains on stderr.
    warnings.filterwarnings('ignore', r'\s*Eventlet is deprecated')
    from oslo_service import backend

    # Unless it is told before its first use, oslo.service below oslo.messaging takes eventlet,
    # which does not go together with the threads here.
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
# Says that the order which a message tells of is in the database: nothing is to be written.
IS_RECORDED = 'is_recorded'
WAITING_MAX = 1000
SCOPES_MAX = 1000
SEND_S = 10
# Mostly it takes one.
STOP_S = 8


def has_bus(conf: cfg.ConfigOpts) -> bool:
    """Say whether the operator named a message bus.

    :raises ConfigurationError: the URL is none.
    """
    try:
        # This registers the option too.
        oslo_messaging.TransportURL.parse(conf)
    except exceptions.MessagingException as exc:
        # Nothing behind the equals sign is the same as no line.
        if not conf.transport_url:
            return False
        raise errors.ConfigurationError(
            reason='[DEFAULT]transport_url is no URL of a message bus; allowed: one such as '
                   'rabbit://USER:PASSWORD@HOST:5672/') from exc
    where = conf.get_location('transport_url').location
    return where not in (cfg.Locations.opt_default, cfg.Locations.set_default) \
        and bool(conf.transport_url)


@contextlib.contextmanager
def _transport(conf):
    oslo_messaging.set_transport_defaults(TOPIC)
    transport = oslo_messaging.get_rpc_transport(conf)
    try:
        yield transport
    finally:
        transport.cleanup()


class Call:
    """One message: a method, its arguments, and who gets it."""

    def __init__(self, method: str, *, namespace: str | None = None, is_for_all: bool = False,
                 **arguments):
        self.method = method
        self.target = {'namespace': namespace, 'fanout': is_for_all, 'version': VERSION}
        self.arguments = arguments


class Bus:
    """Tells the processors of orders. It never waits and never fails: the order is in the database.

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
        """Tell that *scopes* are to be set back.

        :param scopes: scope_id, scope_key, fetcher and collector of each.
        :param mark: ISO 8601 with offset.
        """
        for begin in range(0, len(scopes), SCOPES_MAX):
            self._send(Call('reset_state', res_data={
                'scopes': scopes[begin:begin + SCOPES_MAX], 'last_processed_timestamp': mark,
                IS_RECORDED: True}))
        self.orders_changed()

    def orders_changed(self) -> None:
        """Tell that there is something new in the database."""
        self._tell_all('reload_modules')

    def module_changed(self, name: str, *, enabled: bool | None = None) -> None:
        """Tell that a module was switched, or, with None, that it has another priority."""
        method = {True: 'enable_module', False: 'disable_module', None: 'reload_module'}[enabled]
        self._tell_all(method, name=name)

    def _tell_all(self, method, **arguments):
        self._send(Call(method, namespace=NAMESPACE_RATING, is_for_all=True, **arguments))

    def _send(self, call):
        if not self._is_there:
            return
        with self._starting:
            # A thread does not come through a fork.
            if self._owner != os.getpid():
                self._owner = os.getpid()
                self._thread = threading.Thread(target=self._run, name='bus', daemon=True)
                self._thread.start()
                atexit.register(self.close)
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(call)

    def close(self) -> None:
        """Send what waits and leave the broker, unless that takes long; done at exit by itself."""
        with self._starting:
            if self._owner != os.getpid():
                return
            self._owner = None
            atexit.unregister(self.close)
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=STOP_S)
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
                    client = oslo_messaging.get_rpc_client(transport, Target(topic=TOPIC), retry=0,
                                                           timeout=SEND_S)
                client.prepare(**call.target).cast({}, call.method, **call.arguments)
            # oslo.messaging lets errors of whatever library is below it pass.
            except Exception as exc:
                if not is_away:
                    LOG.warning('The message bus does not answer; processors find orders by '
                                'themselves, within a minute: %s', type(exc).__name__)
                is_away = True
            else:
                if is_away:
                    LOG.info('The message bus answers again')
                is_away = False


@contextlib.contextmanager
def listening(conf: cfg.ConfigOpts, build_endpoints: Callable[[], Sequence[object]],
              ) -> Iterator[Callable[[], None]]:
    """Serve endpoints in the background while the block runs, if there is a bus.

    :param build_endpoints: returns objects as oslo.messaging wants them, each with a `target`.
    :returns: the value of the block is a function that ends it from any thread, before its end.
    """
    if not has_bus(conf):
        yield lambda: None
        return
    stopping = threading.Event()
    serving = threading.Thread(target=_serve, args=(conf, build_endpoints, stopping), name='rpc',
                               daemon=True)
    serving.start()

    def leave():
        stopping.set()
        # With a broker that is away, it takes as long as that lasts: the process ends without it.
        serving.join(STOP_S)

    try:
        yield leave
    finally:
        leave()


def _serve(conf, build_endpoints, stopping):
    with contextlib.ExitStack() as opened:
        try:
            transport = opened.enter_context(_transport(conf))
            server = oslo_messaging.get_rpc_server(
                transport, Target(topic=TOPIC, server=conf.host), build_endpoints(),
                executor='threading')
            server.start()
        except Exception as exc:
            LOG.error('The message bus cannot be used; orders are found in the database within a '
                      'minute: %s', type(exc).__name__)
            return
        stopping.wait()
        server.stop()
        # Only now it takes no more messages from those who go on.
        server.wait()
