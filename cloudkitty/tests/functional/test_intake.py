"""Usage over a real RabbitMQ: metering messages, events of Ceilometer, notifications."""

import contextlib
import json
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import prometheus_client
import pytest

from cloudkitty.clients import bus
from cloudkitty.core.metering import facts, message, signature
from cloudkitty.core.metering.message import Counter
from cloudkitty.db import usage_tables
from cloudkitty.processor.intake import service
from cloudkitty.tests import ini, samples, services, usage
from cloudkitty.tests.processors import Processor
from cloudkitty.tests.rabbitmq import registered

pytestmark = pytest.mark.xdist_group('rabbitmq')

NOW = datetime(2026, 11, 29, 13, 30, tzinfo=UTC)
SOON_S = 30
QUEUES = (
    'metering.sample',
    'event.sample',
    'notifications.info',
    'notifications.sample',
    'versioned_notifications.info',
    'versioned_notifications.sample',
)
# Where the services of the recorded files send.
SENT_TO = {
    'nova-unversioned': ('nova', 'notifications.info'),
    'nova-versioned': ('nova', 'versioned_notifications.info'),
    'cinder-notifications': ('openstack', 'notifications.info'),
    'glance-notifications': ('glance', 'notifications.info'),
    'neutron-notifications': ('neutron', 'notifications.info'),
    'octavia-doc': ('octavia', 'notifications.info'),
    'swift-notifications': ('swift', 'notifications.info'),
}


# Of all recordings together; both formats of Nova tell the same.
FACTS = 80


class Cloud:
    """A broker, a database, and an intake between them.

    :param queues: those that it reads.
    """

    def __init__(self, conf, database, broker, queues=QUEUES, clock=lambda: NOW):
        self.conf, self.database, self.broker = conf, database, broker
        self.queues, self.clock = queues, clock
        self.registry = prometheus_client.CollectorRegistry()

    @contextlib.contextmanager
    def running(self):
        """Take what comes, from when every queue is read."""
        with service.running(self.conf, self.database, self.registry, self.clock) as beacons:
            beacons.send()
            self.wait(
                lambda: len(self.producers()) == len(self.queues), 'a beacon through each queue'
            )
            yield beacons

    def publish(self, exchange, routing_key, *bodies):
        for body in bodies:
            self.broker.publish(
                exchange,
                routing_key,
                body,
                content_type='application/json',
                content_encoding='utf-8',
            )

    def wait(self, is_done, what):
        services.wait_until(is_done, deadline_s=SOON_S, what=what)

    def wait_for_samples(self, count):
        self.wait(lambda: len(self.rows('samples', 'at')) >= count, f'{count} facts')

    def wait_until_all_is_read(self):
        self.wait(
            lambda: not any(self.broker.waiting(queue) for queue in self.queues), 'an empty queue'
        )

    def rows(self, table, *names):
        return usage.rows(self.database, getattr(usage_tables, table), *names)

    def producers(self):
        return {source for (source,) in self.rows('producers', 'source')}

    def rejects(self):
        return [reason for (reason,) in self.rows('rejects', 'reason')]

    def counted(self, outcome):
        return self.registry.get_sample_value(
            'cloudkitty_usage_messages_total', {'outcome': outcome}
        )


@pytest.fixture
def cloud(conf, database, broker):
    registered(conf)
    conf.set_override('transport_url', broker.url)
    conf.set_override('secrets', [samples.SECRET], 'metering')
    broker.remove(*QUEUES)
    return Cloud(conf, database, broker)


def envelope(payload, event_type='metering', priority='SAMPLE', **more):
    """Return the body of a message of the bus."""
    inner = {
        'message_id': 'm1',
        'publisher_id': 'telemetry.publisher.host',
        'event_type': event_type,
        'priority': priority,
        'payload': payload,
        'timestamp': '2026-11-29 12:55:00.000001',
        '_context_auth_token': 'gAAAA-token',
        **more,
    }
    return json.dumps({'oslo.version': '2.0', 'oslo.message': json.dumps(inner)}).encode()


def recorded(name):
    found = samples.read(name)
    for one in found if isinstance(found, list) else [found]:
        # The one that is no recording is years older.
        yield re.sub(rb'2022-04-22(.)23', rb'2026-11-29\g<1>12', envelope(**one))


@pytest.mark.parametrize('republish', [True, False])
def test_everything_that_was_recorded(cloud, republish):
    """Each begin and end is found; nothing is refused; what is delivered twice counts once."""
    cloud.conf.set_override('republish', republish, 'listener')
    with cloud.running():
        for _ in range(2):
            for name, address in SENT_TO.items():
                cloud.publish(*address, *recorded(name))
            cloud.publish(
                'ceilometer',
                'metering.sample',
                envelope(samples.read('ceilometer-metering-messages')),
                envelope(samples.read('ceilometer-redelivered')),
                samples.read('ceilometer-notifier-envelope')['body'].encode(),
            )
            cloud.publish(
                'ceilometer',
                'notifications.sample',
                samples.read('ceilometer-polling-raw')['body'].encode(),
            )
            cloud.publish(
                'ceilometer', 'event.sample', envelope(samples.read('ceilometer-events'), 'event')
            )
            cloud.publish(*SENT_TO['glance-notifications'], raw_glance())
        cloud.wait_until_all_is_read()
        cloud.wait_for_samples(FACTS)
        cloud.wait_until_all_is_read()

    assert cloud.rejects() == []
    assert len(cloud.rows('samples', 'at')) == FACTS
    assert cloud.counted('duplicate') >= FACTS
    lives = usage.lives(cloud.database)
    volume = [life for life in lives if life[0] == at('12:42:07.581206') or life[1] == GONE]
    assert volume == [
        (at('12:42:07.581206'), at('12:42:12.858113'), Decimal(3), 'said'),
        (at('12:42:12.858113'), GONE, Decimal(5), 'said'),
    ]
    # Only what was not deleted is still there.
    assert {resource for resource, end in open_lives(cloud) if end is None} == {
        '9b10f138',
        '2047db46',
        '8d4c8f66',
    }


def raw_glance():
    return samples.read('glance-raw-envelope')['body'].encode()


def at(text):
    return facts.to_us(datetime.fromisoformat(f'2026-11-29T{text}+00:00'))


GONE = at('12:42:23.945305')


def open_lives(cloud):
    names = dict(cloud.rows('series', 'id', 'resource_id'))
    return [
        (names[series_id][:8], end) for series_id, end in cloud.rows('lives', 'series_id', 'end')
    ]


def counter(number=0):
    return Counter(
        'cpu',
        facts.CUMULATIVE,
        'ns',
        Decimal(number),
        'p1',
        None,
        f'i{number}',
        facts.to_us(NOW - timedelta(minutes=1)),
        {},
    )


def built(number=0, secret=samples.SECRET):
    return message.build(counter(number), secret)


def test_poison_is_one_reject_each_and_the_rest_is_stored(cloud):
    deep = '[' * 1000 + ']' * 1000
    huge = {**built(), 'counter_volume': 0}
    poison = {
        b'no json': 'no notification',
        b'"text"': 'no notification',
        envelope('x' * 2**21): 'more than 1048576',
        envelope({}): 'not a list of metering messages',
        envelope([{**built(), 'counter_volume': float('nan')}]): 'untrusted',
        envelope([huge]).replace(
            b'\\"counter_volume\\": 0', b'\\"counter_volume\\": 1e400'
        ): 'untrusted',
        envelope([{**built(), 'resource_metadata': {'x': '\ud800'}}]): 'untrusted',
        envelope(['DEEP']).replace(b'\\"DEEP\\"', deep.encode()): 'object',
        envelope([built(secret='another-secret-for-tests')]): 'untrusted: no known secret',
        envelope([built(secret='')]): 'untrusted: it is not signed',
        envelope([{'traits': []}], 'event'): 'event: it must have exactly the keys',
        envelope(
            [{**samples.read('ceilometer-events')[0], 'generated': '2026-11-29T12:00:00'}], 'event'
        ): 'event: untrusted',
        envelope({'queue': 'x', 'sent': 'now', signature.KEY: ''}, 'cloudkitty.queue'): 'beacon',
    }
    with cloud.running():
        for number, body in enumerate(poison):
            cloud.publish('cloudkitty', 'metering.sample', body, envelope([built(number)]))
        began = time.monotonic()
        cloud.wait_for_samples(len(poison))
        cloud.wait(lambda: len(cloud.rejects()) >= len(poison), 'the rejects')
        cloud.wait_until_all_is_read()
        assert time.monotonic() - began < SOON_S

    found = cloud.rejects()
    assert len(found) == len(poison)
    for reason in poison.values():
        assert any(reason in one for one in found), reason
    assert 'gAAAA' not in str(cloud.rows('rejects', 'body'))
    assert cloud.counted('rejected') == len(poison)


def test_notifications_that_make_no_sense_are_rejects_and_others_are_counted(cloud):
    with cloud.running():
        cloud.publish(
            'nova',
            'notifications.info',
            envelope({'tenant_id': 'p1'}, 'compute.instance.create.end', 'INFO'),
            envelope('text', 'compute.instance.create.end', 'INFO'),
            envelope({}, 'keypair.create.end', 'INFO'),
        )
        cloud.wait(lambda: len(cloud.rejects()) == 2, 'two rejects')
        cloud.wait_until_all_is_read()

    labels = {'event_type': 'keypair.create.end'}
    assert cloud.registry.get_sample_value('cloudkitty_usage_ignored_total', labels) == 1


def test_a_queue_is_fresh_up_to_its_beacon(cloud):
    """With notifications sent on, not before what was made of them is stored."""
    with cloud.running() as beacons:
        beacons.send()
        cloud.wait_until_all_is_read()

    until = facts.to_us(NOW - timedelta(seconds=60))
    assert cloud.rows('producers', 'source', 'meter', 'until') == [
        (f'bus:{queue}', '', until) for queue in sorted(QUEUES)
    ]


def test_a_restart_of_the_broker_loses_nothing_that_is_sent_again(cloud):
    """As an agent does, which keeps what was not confirmed; the listener is back within 30 s."""
    waiting = list(range(5))
    with (
        cloud.running(),
        contextlib.closing(bus.Notifier(cloud.conf, 'agent', timeout_s=5)) as notifier,
    ):

        def send():
            with contextlib.suppress(bus.errors.BusUnavailable):
                while waiting:
                    notifier.send([built(waiting[0])])
                    waiting.pop(0)
            return not waiting

        notifier.send([built(99)])
        cloud.broker.kill()
        assert not send()
        cloud.broker.start()
        services.wait_until(send, deadline_s=60, what='a connection')
        services.wait_until(
            lambda: len(cloud.rows('samples', 'at')) == 6, deadline_s=60, what='all six'
        )


def test_processes_that_are_killed_store_everything_once(cloud, broker, tmp_path):
    """Two of them, killed again and again while they work."""
    path = ini.write(
        tmp_path / 'cloudkitty.conf',
        {
            'DEFAULT': {'transport_url': broker.url},
            'database': {'connection': str(cloud.database.engine.url)},
            'collect': {'collector': 'metering', 'metrics_conf': metrics(tmp_path)},
            'fetcher': {'backend': 'metering'},
            'orchestrator': {'max_workers': 0, 'coordination_url': f'file://{tmp_path}/locks'},
            'metering': {'workers': 2, 'secrets': samples.SECRET, 'late_max': 366},
            'listener': {'disabled': 'swift'},
        },
    )
    now = facts.to_us(datetime.now(UTC)) - facts.SECOND_US
    with contextlib.closing(bus.Notifier(cloud.conf, 'agent')) as notifier:
        for start in range(0, 1000, 50):
            notifier.send(
                [
                    message.build(counter(number)._replace(at=now), samples.SECRET)
                    for number in range(start, start + 50)
                ]
            )
    for attempt in range(3):
        with Processor(path, tmp_path / 'log') as processor:
            cloud.wait(
                lambda least=300 * attempt: (
                    len(cloud.rows('samples', 'at')) > least or not processor.is_running
                ),
                'some of them',
            )
            processor.end(signal.SIGKILL)
    with Processor(path, tmp_path / 'log') as processor:
        cloud.wait(lambda: len(cloud.rows('samples', 'at')) == 1000, 'all of them')
        cloud.wait_until_all_is_read()
        assert processor.end(signal.SIGTERM) == 0

    assert cloud.rejects() == []
    assert 'listeners: ceilometer, cinder, glance' in (tmp_path / 'log').read_text()


def metrics(folder):
    path = folder / 'metrics.yml'
    path.write_text('metrics: {cpu: {unit: ns}}')
    return path
