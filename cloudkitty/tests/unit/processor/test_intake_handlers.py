"""Batches of the bus: what no listener foresaw is a reject, and never comes again for ever."""

import prometheus_client
import pytest

from cloudkitty import listener
from cloudkitty.clients.bus import Delivery
from cloudkitty.core.metering import events, signature
from cloudkitty.db import usage_tables
from cloudkitty.processor.intake.figures import OTHER, Figures
from cloudkitty.processor.intake.handlers import Intake
from cloudkitty.tests import samples, usage
from cloudkitty.tests.usage import NOW
from cloudkitty.usage.receiving import Receiver

TIME = '2024-11-29 12:55:00.000001'


class World:
    """An intake without a bus.

    :ivar sent: lists of messages that were sent on.
    """

    def __init__(self, conf, database, is_sent_on):
        conf.set_override('secrets', [samples.SECRET], 'metering')
        self.database = database
        self.registry = prometheus_client.CollectorRegistry()
        self.sent = []
        self.listeners = listener.load(conf)
        self.intake = Intake(
            receiver=Receiver(conf, database, lambda: NOW),
            listeners=self.listeners,
            beacons=NoBeacons(),
            figures=Figures(self.registry),
            send=self.sent.append if is_sent_on else None,
            clock=lambda: NOW,
        )

    def refused(self):
        return [reason for (reason,) in usage.rows(self.database, usage_tables.rejects, 'reason')]


class NoBeacons:
    """None comes back."""

    def record(self, found):
        assert not found

    forward = record


@pytest.fixture(params=[True, False], ids=['sent on', 'stored'])
def world(request, conf, database):
    return World(conf, database, request.param)


def volume(number, **more):
    payload = {
        'volume_id': f'v{number}',
        'tenant_id': 'p1',
        'size': 1,
        'status': 'available',
        'created_at': '2024-11-29T12:42:07.581206',
        **more,
    }
    return Delivery('volume.create.end', 'volume.host', f'm{number}', TIME, payload)


def test_a_name_that_cannot_be_signed_is_one_reject(world):
    """A tenant gives it; the others of the batch are stored or sent on."""
    world.intake.take_notifications([volume(1, display_name='\ud800'), volume(2)])

    assert len(world.refused()) == 1
    found = [one['resource_id'] for part in world.sent for one in part]
    if world.intake._send is None:
        found = [name for (name,) in usage.rows(world.database, usage_tables.series, 'resource_id')]
    assert found == ['v2']


def test_a_listener_that_fails_on_an_event_of_ceilometer(world, monkeypatch):
    """As on a notification."""
    form = {
        'message_id': 'm1',
        'event_type': 'volume.delete.end',
        'generated': '2024-11-29T12:42:07',
        'traits': [['resource_id', 1, 'v1']],
        'raw': {},
    }
    form[signature.KEY] = signature.sign(form, samples.SECRET)
    monkeypatch.setattr(world.listeners, 'process', lambda told: 1 // 0)
    assert world.listeners.knows(events.PREFIX + form['event_type'])

    world.intake.take_samples([Delivery('event', 'x', 'm', TIME, [form])])

    assert world.refused() == ['event: a listener failed: ZeroDivisionError']


@pytest.mark.parametrize('event_type', ['\ud800', 'a\0b', 'x' * 300])
def test_an_event_type_that_is_no_label_is_counted_under_another(event_type):
    """The metrics of the process can be read afterwards."""
    registry = prometheus_client.CollectorRegistry()
    figures = Figures(registry)

    figures.ignored(event_type)

    labels = {'event_type': OTHER}
    assert registry.get_sample_value('cloudkitty_usage_ignored_total', labels) == 1
    assert prometheus_client.generate_latest(registry)
