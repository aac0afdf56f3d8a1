"""What the API tells the processors, and how many of them hear it: a transport in memory.

That a real broker carries it is in test_rpc.py.
"""

import contextlib
import importlib
import queue
import threading

import pytest

from cloudkitty import rpc
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import conftest, world

SOON_S = 30
MARK = '2018-12-01T00:00:00+00:00'
ALL, ONE = 2, 1


class Worker:
    """Hears everything, and keeps it as (method, arguments)."""

    def __init__(self, heard, namespace=None):
        self.target = rpc.Target(namespace=namespace, version=rpc.VERSION_SERVED)
        self.heard = heard

    def ping(self, ctxt):
        """Answer."""

    def reset_state(self, ctxt, **arguments):
        self.heard.put(('reset_state', arguments))

    def reload_modules(self, ctxt, **arguments):
        self.heard.put(('reload_modules', arguments))

    def reload_module(self, ctxt, **arguments):
        self.heard.put(('reload_module', arguments))

    def enable_module(self, ctxt, **arguments):
        self.heard.put(('enable_module', arguments))

    def disable_module(self, ctxt, **arguments):
        self.heard.put(('disable_module', arguments))


class Processors:
    """Two workers on two hosts.

    :ivar heard: what any of them heard.
    """

    def __init__(self):
        self.heard = queue.Queue()

    def next(self, count):
        """Return the next *count* things that were heard, each once for everybody who heard it."""
        return [self.heard.get(timeout=SOON_S) for _ in range(count)]


def _registered(conf):
    # Not at the top, where it would come before cloudkitty.rpc, which says what it runs on.
    importlib.import_module('oslo_messaging.conffixture').ConfFixture(conf)
    conf.set_override('transport_url', 'fake://')
    return conf


@contextlib.contextmanager
def _started(folder, template):
    """Yield a world whose API has a bus, and two processors that are there."""
    processors = Processors()
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(world.opened(folder, template))
        _registered(made.conf)
        # Where all releases look for messages.
        rpc.oslo_messaging.set_transport_defaults('cloudkitty')
        transport = rpc.oslo_messaging.get_rpc_transport(made.conf)
        for host in ('one', 'two'):
            server = rpc.oslo_messaging.get_rpc_server(
                transport,
                rpc.Target(topic=rpc.TOPIC, server=host),
                [Worker(processors.heard), Worker(processors.heard, rpc.NAMESPACE_RATING)],
                executor='threading',
            )
            server.start()
            stack.callback(server.wait)
            stack.callback(server.stop)
            client = rpc.oslo_messaging.get_rpc_client(
                transport, rpc.Target(topic=rpc.TOPIC, server=host), timeout=SOON_S
            )
            client.call({}, 'ping')
        yield made, processors


@pytest.fixture
def started(tmp_path, sqlite_template, monkeypatch):
    """A world, two processors, and a bus; every bus that is opened is closed at the end."""
    buses = []

    class Closed(rpc.Bus):
        def __init__(self, conf):
            super().__init__(conf)
            buses.append(self)

    monkeypatch.setattr(rpc, 'Bus', Closed)
    before = set(threading.enumerate())
    with _started(tmp_path, sqlite_template) as (made, processors):
        yield made, processors, rpc.Bus(made.conf)
        for bus in buses:
            bus.close()
        assert processors.heard.empty(), 'somebody heard more than the test expects'
    for thread in set(threading.enumerate()) - before:
        thread.join(SOON_S)


@pytest.mark.parametrize(
    'enabled, method',
    [(True, 'enable_module'), (False, 'disable_module'), (None, 'reload_module')],
)
def test_all_processors_hear_of_a_module(started, enabled, method):
    _, processors, bus = started

    bus.module_changed('hashmap', enabled=enabled)

    assert processors.next(ALL) == [(method, {'name': 'hashmap'})] * ALL


def test_one_processor_hears_of_a_reset_and_all_that_there_is_something(started):
    """Each scope once, a thousand in a message, as one that is written already."""
    _, processors, bus = started
    names = [{'scope_id': f's{number:04}'} for number in range(2001)]

    bus.scopes_reset(names, MARK)

    heard = processors.next(3 + ALL)
    told = [arguments['res_data'] for method, arguments in heard if method == 'reset_state']
    assert sorted(len(data['scopes']) for data in told) == [1, 1000, 1000]
    assert (
        sorted(
            (scope for data in told for scope in data['scopes']),
            key=lambda scope: scope['scope_id'],
        )
        == names
    )
    assert [(data['last_processed_timestamp'], data[rpc.IS_RECORDED]) for data in told] == [
        (MARK, True)
    ] * 3
    assert heard.count(('reload_modules', {})) == ALL


def test_a_bus_that_is_full_is_no_trouble(started):
    """Nobody sends, and nobody waits: the order is in the database."""
    made, _, _ = started
    leaving = threading.Event()

    class Stuck(rpc.Bus):
        def _run(self):
            leaving.wait(SOON_S)
            # Whoever closes it waits for room.
            while self._waiting.get() is not None:
                pass

    bus = Stuck(made.conf)
    for _ in range(rpc.WAITING_MAX + 10):
        bus.orders_changed()

    assert bus._waiting.full()
    leaving.set()


# Of the scopes that the configuration rates.
IDENTITY = scope_state.Identity('project_id', 'keystone', 'gnocchi')
RESET = {
    'scopes': [{'scope_id': 'p1', **IDENTITY._asdict()}],
    'last_processed_timestamp': MARK,
    rpc.IS_RECORDED: True,
}
NEWS = ('reload_modules', {})
ORDER = {
    'scope_ids': 'p1',
    'reason': 'r',
    'start_reprocess_time': '2018-12-31',
    'end_reprocess_time': '2019-01-01',
}
REQUESTS = [
    ('/v2/rating/modules/hashmap', 'PUT', {'enabled': True}, [('enable_module', 'hashmap')]),
    ('/v2/rating/modules/hashmap', 'PUT', {'enabled': False}, [('disable_module', 'hashmap')]),
    ('/v2/rating/modules/hashmap', 'PUT', {'priority': 7}, [('reload_module', 'hashmap')]),
    (
        '/v1/rating/modules/hashmap',
        'PUT',
        {'module_id': 'hashmap', 'enabled': True, 'priority': 7},
        [('enable_module', 'hashmap'), ('reload_module', 'hashmap')],
    ),
    ('/v1/rating/reload_modules', 'GET', None, [NEWS]),
    ('/v2/scope', 'POST', {'scope_id': 'new', 'last_processed_timestamp': '2019-01'}, [NEWS]),
    ('/v2/task/reprocesses', 'POST', ORDER, [NEWS]),
    ('/v2/scope', 'PUT', {'scope_id': 'p1', 'state': MARK}, [('reset_state', RESET), NEWS]),
    ('/v2/scope', 'PATCH', {'scope_id': 'p1', 'active': False}, [NEWS]),
]
REFUSED = [
    ('/v2/rating/modules/nope', 'PUT', {'enabled': True}),
    ('/v2/scope', 'POST', {'scope_id': 'p1', 'last_processed_timestamp': '2019-01'}),
    ('/v2/scope', 'PATCH', {'scope_id': 'nope', 'active': False}),
    ('/v2/scope', 'PUT', {'scope_id': 'nope', 'state': MARK}),
    ('/v2/task/reprocesses', 'POST', {**ORDER, 'scope_ids': 'nope'}),
]


def _heard(method, told):
    if method == 'reset_state':
        return [(method, {'res_data': told})] * ONE
    return [(method, {'name': told} if told else {})] * ALL


def test_what_was_written_is_told(started):
    """And what was refused is not."""
    made, processors, _ = started
    with made.database.writer() as connection:
        scope_state.record_seen(
            connection,
            IDENTITY,
            ['p1'],
            now=conftest.BEGIN,
            initial_mark=conftest.BEGIN,
            final_mark=conftest.BEGIN,
        )
    conftest.rate_as(made.conf, IDENTITY)
    application = made.noauth()

    for path, method, body in REFUSED:
        assert world.call(application, path, method, json=body).status_int in (400, 404, 409)
    for path, method, body, news in REQUESTS:
        answer = world.call(application, path, method, json=body)
        assert answer.status_int < 400, answer.text
        expected = [call for name, told in news for call in _heard(name, told)]
        heard = processors.next(len(expected))
        assert sorted(map(repr, heard)) == sorted(map(repr, expected)), path
