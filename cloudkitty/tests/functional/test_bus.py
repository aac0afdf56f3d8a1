"""Metering on the message bus, a real RabbitMQ: what is confirmed arrives, whatever happens."""

import contextlib
import json
import threading

import pytest

from cloudkitty import errors
from cloudkitty.clients import bus
from cloudkitty.tests import services
from cloudkitty.tests.rabbitmq import registered

pytestmark = pytest.mark.xdist_group('rabbitmq')

QUEUES = ('metering.sample', 'event.sample', 'notifications.info', 'billing')
SOON_S = 30
METERING = bus.Subscription((bus.EXCHANGE, 'ceilometer'), (bus.METERING,))


@pytest.fixture
def bus_conf(conf, broker):
    registered(conf)
    conf.set_override('transport_url', broker.url)
    broker.remove(*QUEUES)
    return conf


class Heap:
    """Keeps what is delivered, unless it is told to fail."""

    def __init__(self):
        self.deliveries = []
        self.failures = 0

    def take(self, deliveries):
        if self.failures:
            self.failures -= 1
            raise errors.DatabaseAway()
        self.deliveries.extend(deliveries)

    def wait_for(self, count):
        services.wait_until(
            lambda: len(self.deliveries) >= count, deadline_s=SOON_S, what=f'{count} deliveries'
        )
        return self.deliveries


@pytest.fixture
def heap():
    return Heap()


@pytest.fixture
def notifier(bus_conf):
    with contextlib.closing(bus.Notifier(bus_conf, 'agent:node-1')) as sender:
        yield sender


def envelope(**members):
    return json.dumps({'oslo.version': '2.0', 'oslo.message': json.dumps(members)}).encode()


def test_what_was_sent_before_anybody_listened_arrives(bus_conf, heap, notifier):
    notifier.send([{'counter_name': 'cpu', 'counter_volume': 2**70}])

    with bus.listening(bus_conf, METERING, heap.take):
        (delivery,) = heap.wait_for(1)

    assert delivery.event_type == 'metering'
    assert delivery.publisher_id == 'agent:node-1'
    assert delivery.payload == [{'counter_name': 'cpu', 'counter_volume': 2**70}]


def test_what_cannot_be_stored_is_delivered_again(bus_conf, heap, notifier, broker, caplog):
    heap.failures = 2
    with bus.listening(bus_conf, METERING, heap.take):
        notifier.send(['a'])

        assert [one.payload for one in heap.wait_for(1)] == [['a']]
    assert caplog.text.count('could not be stored') == 2
    assert broker.waiting('metering.sample') == 0


def test_what_is_not_acknowledged_is_there_for_the_next_listener(bus_conf, heap, notifier, broker):
    """As when the process ends in the middle of a batch."""
    reached = threading.Event()

    def fail(deliveries):
        reached.set()
        raise errors.DatabaseAway()

    notifier.send(['a'])
    with bus.listening(bus_conf, METERING, fail):
        assert reached.wait(SOON_S)

    with bus.listening(bus_conf, METERING, heap.take):
        assert [one.payload for one in heap.wait_for(1)] == [['a']]


def test_what_is_no_notification_is_delivered_as_that(bus_conf, heap, broker):
    """oslo.messaging alone would drop it, or ask for it again for ever."""
    bodies = {
        b'{"oslo.version": "2.0", "oslo.mess': 'DecodeError',
        b'\xff\xfe': 'DecodeError',
        b'[1, 2]': 'not an object',
        b'[' * 100_000: 'DecodeError',
        envelope(payload='x' * 2**21): 'more than 1048576',
        envelope()[:-3] + b'9': 'DecodeError',
        b'{"oslo.version": "9.0", "oslo.message": "{}"}': 'UnsupportedRpcEnvelopeVersion',
    }
    with bus.listening(bus_conf, METERING, heap.take):
        send_raw(bus_conf, broker, *bodies)
        *found, last = heap.wait_for(len(bodies) + 1)

    for delivery, reason in zip(found, bodies.values(), strict=True):
        assert reason in delivery.payload.reason
        assert 0 < len(delivery.payload.text) <= 65536
    assert last.payload == 'after'


def send_raw(conf, broker, *bodies):
    """Send *bodies* as they are, and then a message that can be read."""
    with contextlib.closing(bus.Notifier(conf, 'somebody')) as sender:
        # So that the exchange exists.
        sender.send('before', topic='other')
        for body in bodies:
            broker.publish(
                bus.EXCHANGE,
                'metering.sample',
                body,
                content_type='application/json',
                content_encoding='utf-8',
            )
        sender.send('after')


def test_members_of_other_types_harm_nobody(bus_conf, heap, broker):
    names = ('event_type', 'publisher_id', 'message_id', 'timestamp', 'priority')
    bodies = [
        envelope(**dict.fromkeys(names, value), payload='x')
        for value in (None, 5, [], {'a': 1}, 'x' * 300, '\ud800', 'a\0b')
    ]
    with bus.listening(bus_conf, METERING, heap.take):
        send_raw(bus_conf, broker, *bodies)
        *found, last = heap.wait_for(len(bodies) + 1)

    assert found == [bus.Delivery('', '', '', '', 'x')] * len(bodies)
    assert last.payload == 'after'


def test_one_delivered_twice_is_handed_on_twice(bus_conf, heap, broker):
    """Natural keys know it; the library would keep it unacknowledged for ever."""
    twice = envelope(payload='x', _unique_id='1')
    with bus.listening(bus_conf, METERING, heap.take):
        for _ in range(2):
            send_raw(bus_conf, broker, twice)
        payloads = [one.payload for one in heap.wait_for(4)]

    assert payloads == ['x', 'after', 'x', 'after']


def test_a_pool_takes_nothing_from_others(bus_conf, heap, notifier):
    other = Heap()
    pooled = bus.Subscription((bus.EXCHANGE,), ('notifications',), (bus.INFO,), 'billing')
    shared = pooled._replace(pool='')
    with (
        bus.listening(bus_conf, pooled, heap.take),
        bus.listening(bus_conf, shared, other.take),
    ):
        services.wait_until(
            lambda: is_known(notifier, heap, other), deadline_s=SOON_S, what='both queues'
        )
        for number in range(10):
            notifier.send(number, topic='notifications', priority=bus.INFO)

        for each in heap, other:
            services.wait_until(
                lambda each=each: set(range(10)) <= {one.payload for one in each.deliveries},
                deadline_s=SOON_S,
                what='all of them',
            )


def is_known(notifier, *heaps):
    notifier.send('there?', topic='notifications', priority=bus.INFO)
    return all(heap.deliveries for heap in heaps)


def test_no_pool_shares_what_only_this_service_reads(conf):
    with pytest.raises(errors.ConfigurationError, match='must be empty'):
        with bus.listening(conf, METERING._replace(pool='billing'), Heap().take):
            pass


def test_a_broker_that_says_nothing_is_an_error_in_time(bus_conf, broker, heap):
    """As one that is short of memory; whoever sends keeps the message, and sends it again."""
    with contextlib.closing(bus.Notifier(bus_conf, 'agent', timeout_s=1)) as sender:
        sender.send('first')
        broker.hold()
        try:
            with pytest.raises(errors.BusUnavailable, match='no confirmation within 1 s'):
                sender.send('second')
            with pytest.raises(errors.BusUnavailable, match='not answered to the message before'):
                sender.send('third')
        finally:
            broker.resume()
        services.wait_until(lambda: is_sent(sender, 'third'), deadline_s=SOON_S, what='the third')

    with bus.listening(bus_conf, METERING, heap.take):
        assert [one.payload for one in heap.wait_for(3)] == ['first', 'second', 'third']


def is_sent(sender, payload):
    try:
        sender.send(payload)
    except errors.BusUnavailable:
        return False
    return True


def test_a_restart_of_the_broker_is_survived_by_both_ends(bus_conf, broker, heap, notifier):
    with bus.listening(bus_conf, METERING, heap.take):
        notifier.send('before')
        heap.wait_for(1)
        broker.kill()
        with pytest.raises(errors.BusUnavailable):
            notifier.send('lost')
        broker.start()

        services.wait_until(lambda: is_sent(notifier, 'after'), deadline_s=60, what='a connection')
        services.wait_until(
            lambda: 'after' in [one.payload for one in heap.deliveries],
            deadline_s=60,
            what='a delivery after the restart',
        )


def test_urls_of_notifications_are_used_and_checked(conf):
    registered(conf)
    assert not bus.has_bus(conf)

    conf.set_override('transport_url', 'rabbit://a:secret@host/', 'oslo_messaging_notifications')
    assert bus.has_bus(conf)

    conf.set_override('transport_url', 'secret', 'oslo_messaging_notifications')
    with pytest.raises(errors.ConfigurationError) as caught:
        bus.has_bus(conf)
    assert 'secret' not in str(caught.value)
