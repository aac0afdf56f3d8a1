"""The message bus, a real RabbitMQ: what it brings, and that nothing is lost without it."""

import contextlib
import signal
import threading
import time
from datetime import UTC, datetime

import pytest

from cloudkitty import errors, rpc
from cloudkitty.processor.endpoints import RatingEndpoint, ScopeEndpoint
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.rpc import oslo_messaging
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import services
from cloudkitty.tests.functional import worker_run
from cloudkitty.tests.functional.daemon import FINISHED, marks, seed
from cloudkitty.tests.history import BEGIN
from cloudkitty.tests.processors import Processor
from cloudkitty.tests.rabbitmq import registered

pytestmark = pytest.mark.xdist_group('rabbitmq')

IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
MARK = '2024-05-01T02:00:00+00:00'
SOON_S = 20
REMOTE_S = 20


@pytest.fixture
def bus_conf(conf, broker):
    """A configuration that names the broker, as an operator's file does."""
    registered(conf)
    conf.set_override('transport_url', broker.url)
    return conf


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Wait until the threads of a test have ended: they would go on calling a broker that left."""
    before = set(threading.enumerate())
    yield
    services.wait_until(
        lambda: before >= set(threading.enumerate()), deadline_s=60, what='the end of the threads'
    )


class Listener:
    """The endpoints of a worker; counts how often it is woken.

    :ivar remote: somebody who calls it.
    """

    def __init__(self, conf, database):
        self.conf = conf
        self.database = database
        self.remote: Remote | None = None
        self.woken = threading.Semaphore(0)

    def build(self):
        shared = {'wake': self.woken.release, 'clock': lambda: datetime.now(UTC)}
        return [
            ScopeEndpoint(database=self.database, **shared),
            RatingEndpoint(self.conf, modules=ModuleSet(self.conf, self.database), **shared),
        ]

    def is_woken(self):
        return self.woken.acquire(timeout=SOON_S)


@contextlib.contextmanager
def listening(conf, database):
    """Yield a listener that is there: a first call has come through."""
    listener = Listener(conf, database)
    with rpc.listening(conf, listener.build), Remote(conf) as remote:
        services.wait_until(remote.is_answered, deadline_s=60, what='an answer over RPC')
        listener.remote = remote
        yield listener


def opened(conf):
    """Return a context manager whose value is a bus."""
    return contextlib.closing(rpc.Bus(conf))


class Remote:
    """Calls as another release makes them."""

    def __init__(self, conf):
        # The exchange; a worker of this process sets it when its thread comes to it.
        oslo_messaging.set_transport_defaults('cloudkitty')
        self._host = conf.host
        self._transport = oslo_messaging.get_rpc_transport(conf)
        self._client = oslo_messaging.get_rpc_client(
            self._transport, oslo_messaging.Target(topic='cloudkitty'), timeout=REMOTE_S, retry=1
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._transport.cleanup()

    def quote(self, usage):
        return self._client.prepare(namespace='rating', version='1.0').call(
            {}, 'quote', res_data={'usage': usage}
        )

    def cast(self, method, version='1.0', namespace=None, fanout=False, **arguments):
        self._client.prepare(namespace=namespace, version=version, fanout=fanout).cast(
            {}, method, **arguments
        )

    def is_answered(self):
        """Return whether the worker of this host answers; another one may be there already."""
        with contextlib.suppress(
            oslo_messaging.MessagingTimeout, oslo_messaging.MessageDeliveryFailure
        ):
            return (
                self._client.prepare(
                    namespace='rating', version='1.0', server=self._host, timeout=1
                ).call({}, 'quote', res_data={'usage': {}})
                == '0.0'
            )
        return False


def add_scopes(database, *names):
    with database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, names, now=BEGIN, initial_mark=BEGIN, final_mark=BEGIN
        )


def ordered(database):
    with database.reader() as connection:
        return {
            order.scope_id: order.mark.isoformat()
            for order in resets.list_pending(connection, IDENTITY, limit=100)
        }


def test_an_order_wakes_every_worker(bus_conf, database):
    with opened(bus_conf) as bus, listening(bus_conf, database) as one:
        bus_conf.set_override('host', 'another-node')
        with listening(bus_conf, database) as another:
            bus.orders_changed()

            assert one.is_woken()
            assert another.is_woken()


@pytest.mark.parametrize('enabled', [True, False, None])
def test_news_of_a_module_wake_a_worker(bus_conf, database, enabled):
    with opened(bus_conf) as bus, listening(bus_conf, database) as listener:
        bus.module_changed('hashmap', enabled=enabled)

        assert listener.is_woken()


def test_a_reset_that_is_in_the_database_is_not_ordered_twice(bus_conf, database):
    add_scopes(database, 'a')
    with opened(bus_conf) as bus, listening(bus_conf, database) as listener:
        bus.scopes_reset([{'scope_id': 'a', **IDENTITY._asdict()}], MARK)

        assert listener.is_woken()
        assert ordered(database) == {}


def test_a_reset_of_an_older_api_is_written_first(bus_conf, database):
    """Such an API writes nothing; only the scope it means is set back."""
    add_scopes(database, 'a', 'b', "it's")
    with listening(bus_conf, database) as listener:
        listener.remote.cast(
            'reset_state',
            res_data={
                'scopes': [{'scope_id': name, **IDENTITY._asdict()} for name in ('a', "it's")],
                'last_processed_timestamp': MARK,
            },
        )

        assert listener.is_woken()
        assert ordered(database) == {'a': MARK, "it's": MARK}


@pytest.mark.parametrize(
    'garbage',
    [
        {},
        {'scopes': None},
        {'scopes': ['a'], 'last_processed_timestamp': MARK},
        {'scopes': [], 'last_processed_timestamp': 'soon'},
    ],
)
def test_an_order_that_nobody_understands_is_logged_and_left_out(
    bus_conf, database, garbage, caplog
):
    with listening(bus_conf, database) as listener:
        listener.remote.cast('reset_state', res_data=garbage)

        assert listener.is_woken()
    assert 'Ignored an invalid request' in caplog.text
    assert ordered(database) == {}


def test_the_call_of_a_later_version_is_taken(bus_conf, database):
    """Older releases send this one with version 1.1, to one worker only."""
    with listening(bus_conf, database) as listener:
        listener.remote.cast('reload_modules', version='1.1', namespace='rating')

        assert listener.is_woken()


def test_an_older_api_gets_its_quote(bus_conf, database):
    worker_run.clear(database)
    usage = {
        'test_vcpus': [
            {'desc': {'metadata': {'flavor': 'm1.large'}}, 'vol': {'unit': 'undef', 'qty': '3'}}
        ]
    }
    with listening(bus_conf, database) as listener:
        assert listener.remote.quote(usage) == '0.05535'


def test_a_quote_of_rubbish_is_an_error_of_the_caller(bus_conf, database):
    with listening(bus_conf, database) as listener:
        with pytest.raises(oslo_messaging.RemoteError, match='not usage that can be priced'):
            listener.remote.quote({'cpu': [{}]})


def test_helpers_cannot_be_called(bus_conf, database):
    with listening(bus_conf, database) as listener:
        with pytest.raises(oslo_messaging.RemoteError, match='Endpoint does not support'):
            listener.remote._client.call({}, '_record', res_data={})


def test_what_waits_is_sent_before_the_bus_is_closed(bus_conf, database):
    """As at the end of a process that has just written an order."""
    with listening(bus_conf, database) as listener:
        bus = rpc.Bus(bus_conf)
        bus.orders_changed()
        bus.close()

        assert listener.is_woken()
        # The next message opens it anew.
        bus.orders_changed()
        assert listener.is_woken()
        bus.close()
        bus.close()


def test_without_a_bus_nothing_is_sent_and_nothing_is_waited_for(conf, database):
    before = threading.active_count()
    with rpc.listening(conf, lambda: pytest.fail('there is no bus')):
        rpc.Bus(conf).orders_changed()

        assert threading.active_count() == before


def test_a_url_that_is_none_is_named_without_its_password(conf):
    rpc.has_bus(conf)
    conf.set_override('transport_url', 'secret')

    with pytest.raises(errors.ConfigurationError) as caught:
        rpc.has_bus(conf)

    assert '[DEFAULT]transport_url is no URL of a message bus' in str(caught.value)
    assert 'secret' not in str(caught.value)


def test_a_broker_that_went_is_no_trouble_and_is_used_again(bus_conf, database, broker, caplog):
    """One line when it goes, one when it is back, of each who calls; nobody waits for it."""
    caplog.set_level('INFO', 'cloudkitty')
    with (
        opened(bus_conf) as bus,
        opened(bus_conf) as starting,
        opened(bus_conf) as leaving,
        listening(bus_conf, database) as listener,
    ):
        for each in bus, leaving:
            each.orders_changed()
            assert listener.is_woken()

        broker.kill()
        began = time.monotonic()
        for _ in range(3):
            bus.orders_changed()
            starting.orders_changed()
        assert time.monotonic() - began < 1
        services.wait_until(
            lambda: caplog.text.count('does not answer') == 2,
            deadline_s=60,
            what='two lines in the log',
        )
        leaving.close()
        broker.start()

        for each in bus, starting:

            def is_woken_again(each=each):
                each.orders_changed()
                return listener.woken.acquire(timeout=1)

            services.wait_until(is_woken_again, deadline_s=60, what='a message after the restart')
    lines = [record.message for record in caplog.records if record.name == 'cloudkitty.rpc']
    assert [line.partition(' bus ')[2][:10] for line in lines] == [
        'does not a',
        'does not a',
        'answers ag',
        'answers ag',
    ]


def test_a_processor_carries_an_order_out_at_once(database, tmp_path, prometheus, broker):
    """Otherwise it would look after a minute. It takes leave of the broker when it stops."""
    path = worker_run.write_conf(
        tmp_path,
        prometheus_url=prometheus.url,
        transport_url=broker.url,
        max_workers=2,
        connection=f'sqlite:///{database.engine.url.database}',
    )
    seed(database)
    conf = registered(worker_run.load_conf(path))
    lost = broker.lost_connections
    with Processor(path, tmp_path / 'log') as processor, opened(conf) as bus:
        services.wait_until(
            lambda: marks(database) == FINISHED, deadline_s=60, what='the first turn'
        )
        with Remote(conf) as remote:
            services.wait_until(remote.is_answered, deadline_s=60, what='an answer over RPC')
        with database.reader() as connection:
            state_ids = [scope.id for scope in scope_state.list_scopes(connection)[1]]
        began = time.monotonic()
        database.write(
            lambda connection: resets.order(connection, state_ids, BEGIN, now=datetime.now(UTC))
        )
        bus.orders_changed()
        services.wait_until(
            lambda: not ordered(database) and marks(database) == FINISHED,
            deadline_s=SOON_S,
            what='the reset',
        )
        assert time.monotonic() - began < SOON_S
        assert processor.process.poll() is None
        assert processor.end(signal.SIGTERM) == 0
    assert broker.lost_connections == lost


class Heard:
    """An endpoint that keeps the notifications it gets."""

    def __init__(self):
        self.got = []
        self.is_there = threading.Event()

    def info(self, context, publisher, event, payload, metadata):
        self.got.append((publisher, event, payload, metadata['message_id']))
        self.is_there.set()


def test_notifications_are_heard_by_others(bus_conf):
    """In the form of oslo.messaging, with an id that stays; a bus that is away is told."""
    heard = Heard()
    transport = oslo_messaging.get_notification_transport(bus_conf)
    listener = oslo_messaging.get_notification_listener(
        transport, [oslo_messaging.Target(topic='notifications')], [heard], executor='threading'
    )
    listener.start()
    notifier = rpc.Notifier(bus_conf)
    try:
        told = notifier.emit('cloudkitty.budget.crossed', 'msg_1', {'amount': '1.5'}, BEGIN)
        assert (told, heard.is_there.wait(SOON_S)) == ('', True)
    finally:
        notifier.close()
        listener.stop()
        listener.wait()
        transport.cleanup()
    [(publisher, *rest)] = heard.got
    assert publisher == f'cloudkitty.{bus_conf.host}'
    assert rest == ['cloudkitty.budget.crossed', {'amount': '1.5'}, 'msg_1']

    bus_conf.set_override('transport_url', 'rabbit://nobody:x@127.0.0.1:9/')
    assert rpc.Notifier(bus_conf).emit('e', 'msg_2', {}, BEGIN) != ''
