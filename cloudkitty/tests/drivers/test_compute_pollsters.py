"""The pollsters of a node, with libvirt's own test driver, which runs in this process."""

import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import libvirt
import pytest

from cloudkitty import pollster
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core import timeframe
from cloudkitty.core.metering import facts, message
from cloudkitty.pollster import compute
from cloudkitty.pollster.compute import machine
from cloudkitty.tests import samples
from cloudkitty.usage.receiving import BUS, Received, Receiver

NODE = Path(__file__).parents[1] / 'fixtures' / 'libvirt' / 'node.xml'
ID = '6695eb01-f6a4-8304-79aa-97f2502e193f'
BORN = facts.to_us(message.timeframe.parse_exact('2024-11-29T12:00:00Z'))
# Resource, kind, and what is known of the quantity.
EXPECTED = {
    'cpu': (ID, facts.CUMULATIVE, None),
    'disk.device.capacity': (f'{ID}-vda', facts.GAUGE, 1099506450432),
    'disk.device.read.bytes': (f'{ID}-vda', facts.CUMULATIVE, None),
    'disk.device.read.requests': (f'{ID}-vda', facts.CUMULATIVE, None),
    'disk.device.write.bytes': (f'{ID}-vda', facts.CUMULATIVE, None),
    'disk.device.write.requests': (f'{ID}-vda', facts.CUMULATIVE, None),
    'disk.ephemeral.size': (ID, facts.STATE, 0),
    'disk.root.size': (ID, facts.STATE, 20),
    'instance': (ID, facts.STATE, 1),
    'memory': (ID, facts.STATE, 2048),
    'memory.usage': (ID, facts.GAUGE, 1024),
    'network.incoming.bytes': (f'instance-00000001-{ID}-tap0', facts.CUMULATIVE, None),
    'network.incoming.packets': (f'instance-00000001-{ID}-tap0', facts.CUMULATIVE, None),
    'network.outgoing.bytes': (f'instance-00000001-{ID}-tap0', facts.CUMULATIVE, None),
    'network.outgoing.packets': (f'instance-00000001-{ID}-tap0', facts.CUMULATIVE, None),
    'vcpus': (ID, facts.STATE, 2),
}


def now_us():
    return time.time_ns() // 1000


@pytest.fixture
def node(conf, tmp_path):
    """The name of a node of its own: one that is opened by the same name is the same."""
    path = tmp_path / 'node.xml'
    path.write_bytes(NODE.read_bytes())
    conf.register_opts(compute.LibvirtPollster.OPTS, group=compute.LibvirtPollster.GROUP)
    conf.set_override('uri', f'test://{path}', compute.LibvirtPollster.GROUP)
    return conf


def poll(pollsters):
    """Return the facts of all pollsters, by meter."""
    found = {}
    for _, one in pollsters:
        for counter in one.poll(one.discover().resources, now_us):
            assert counter.name in one.METERS
            assert (counter.name in one.STATES) == (counter.kind == facts.STATE)
            found[counter.name] = message.fact_of(message.check(message.build(counter)))
    return found


def test_a_machine_of_nova_is_measured(node):
    """Under the names that Ceilometer gives to resources; others on the node are nobody's."""
    pollsters = pollster.load(node, [pollster.COMPUTE])
    found = poll(pollsters)

    assert {
        meter: (fact.resource_id, fact.kind, EXPECTED[meter][2] and fact.quantity)
        for meter, fact in found.items()
    } == {
        meter: (one, kind, quantity and Decimal(quantity))
        for meter, (one, kind, quantity) in EXPECTED.items()
    }
    assert {fact.scope_id for fact in found.values()} == {'00000000-0000-4000-8000-0000000000bb'}
    assert {found[meter].born for meter in ('instance', 'memory', 'vcpus')} == {BORN}
    assert {meter for _, one in pollsters for meter in one.METERS} == EXPECTED.keys()
    assert found['instance'].attributes == {
        'display_name': 'web-1',
        'flavor_id': '8d2bd5b4-0000-4000-8000-000000000001',
        'flavor_name': 'm1.small',
        'image_ref': '00000000-0000-4000-8000-0000000000cc',
        'state': 'active',
    }
    assert not pollsters[0][1].discover().is_complete


def test_a_machine_that_stops_meanwhile_is_passed_over(node):
    """Or moves to another node; it still exists, and its devices cannot be asked."""
    pollsters = pollster.load(node, [pollster.COMPUTE])
    # Pollsters only have rights to read, and another connection would be another node.
    writer = libvirt.open(node[compute.LibvirtPollster.GROUP].uri)
    pollsters[0][1]._hypervisor._connection = writer
    listed = {name: one.discover().resources for name, one in pollsters}
    domain = writer.lookupByName('instance-00000001')
    domain.suspend()
    assert poll(pollsters)['instance'].attributes['state'] == 'paused'
    domain.destroy()

    counters = [
        counter.name for name, one in pollsters for counter in one.poll(listed[name], now_us)
    ]
    assert {'instance', 'memory'} < set(counters)
    assert not [name for name in counters if name.startswith(('network.', 'disk.device.'))]
    found = poll(pollsters)
    assert found['instance'].attributes['state'] == 'stopped'
    assert {fact.kind for fact in found.values()} == {facts.STATE}


def test_without_libvirt_all_are_off_with_a_line(conf, caplog):
    """Each says why; the agent goes on with what is left."""
    caplog.set_level('INFO')
    conf.register_opts(compute.LibvirtPollster.OPTS, group=compute.LibvirtPollster.GROUP)
    conf.set_override('uri', 'qemu+unix:///system?socket=/nowhere', compute.LibvirtPollster.GROUP)
    assert pollster.load(conf, [pollster.COMPUTE]) == []
    lines = [one for one in caplog.messages if ' is off: ' in one]
    assert len(lines) == 8
    assert sum('/nowhere' in one for one in lines) == 7


def test_this_machine_is_measured(conf):
    """As /proc says, if somebody is to be charged; nothing goes back."""
    conf.set_override('host', 'node-1')
    conf.register_opts(machine.MachinePollster.OPTS, group=machine.MachinePollster.GROUP)
    conf.set_override('scope_id', 'alpha', machine.MachinePollster.GROUP)
    conf.set_override('hypervisor', 'none', 'agent')
    ((name, one),) = pollster.load(conf, [pollster.COMPUTE])
    assert name == 'machine'

    first, second = ({}, {})
    for found in (first, second):
        for counter in one.poll(one.discover().resources, now_us):
            fact = message.fact_of(message.check(message.build(counter)))
            found[fact.meter, fact.resource_id] = fact
    assert {meter for meter, _ in first} >= {'machine.cpu', 'machine.memory', 'machine.network.in'}
    assert {fact.scope_id for fact in first.values()} == {'alpha'}
    assert first.keys() == second.keys()
    assert first['machine.memory', 'node-1-memory'].quantity > 0
    assert all(
        first[key].quantity <= fact.quantity
        for key, fact in second.items()
        if fact.kind == facts.CUMULATIVE
    )


def test_what_ceilometer_measures_too_is_billed_once(node, database):
    """Both name the machine and its devices alike, so one of them counts in a period."""
    node.set_override('secrets', [samples.SECRET], 'metering')
    receiver = Receiver(node, database, lambda: datetime.now(UTC))
    pollsters = pollster.load(node, [pollster.COMPUTE])
    counters = [
        counter
        for _ in range(2)
        for _, one in pollsters
        for counter in one.poll(one.discover().resources, now_us)
    ]
    recorded = {
        (one['counter_name'], one['resource_id'], one['project_id'])
        for one in samples.read('ceilometer-metering-messages')
        if ID in one['resource_id'] and one['counter_name'] in EXPECTED
    }
    named = {(one.name, one.resource_id, one.scope_id) for one in counters}
    assert recorded <= named
    assert {name for name, *_ in recorded} >= {'cpu', 'memory', 'network.incoming.bytes'}
    own = [message.build(one, samples.SECRET) for one in counters]
    assert receiver.store([Received(one, 'agent') for one in own], BUS).accepted == len(own)
    end = timeframe.period_at(datetime.now(UTC), 3600).end
    period = timeframe.Period(end - timedelta(hours=2), end)
    alone = _collected(node, period)

    # It knows no states: sizes are gauges.
    theirs = [
        message.build(
            one._replace(
                at=one.at + facts.SECOND_US // 2,
                kind=facts.GAUGE if one.kind == facts.STATE else one.kind,
                life=None,
                born=None,
            ),
            samples.SECRET,
            source='openstack',
        )
        for one in counters
    ]
    stored = receiver.store([Received(one, 'ceilometer') for one in theirs], BUS)
    assert stored.accepted == len(theirs)

    assert alone.keys() == {(name, resource) for name, (resource, *_) in EXPECTED.items()}
    assert _collected(node, period) == alone


def _collected(conf, period):
    """Return {(meter, resource): quantity} of a period of two hours."""
    conf.register_opts(MeteringCollector.OPTS, MeteringCollector.GROUP)
    driver = MeteringCollector(
        period=7200,
        service_conf=conf,
        conf={'metrics': {name: {'unit': 'u'} for name in EXPECTED}},
    )
    return {
        (name, point.groupby['id']): point.qty
        for name in EXPECTED
        for _, _, points in driver.collect(name, [period], ['00000000-0000-4000-8000-0000000000bb'])
        for point in points
    }


class Machine:
    """A machine of libvirt's whose counters begin at 0 when it starts, as those of QEMU.

    Those of the test driver are read from the clock.
    """

    def __init__(self, domain):
        self._domain = domain
        self._at_start = {}

    def __getattr__(self, name):
        return getattr(self._domain, name)

    def create(self):
        self._domain.create()
        xml = ET.fromstring(self._domain.XMLDesc())
        disks, interfaces = (
            [one.get('dev') for one in xml.findall(f'devices/{kind}/target')]
            for kind in ('disk', 'interface')
        )
        self._at_start = {
            'cpu': self._domain.info()[4:],
            **{disk: self._domain.blockStats(disk) for disk in disks},
            **{one: self._domain.interfaceStats(one) for one in interfaces},
        }

    def _since_start(self, name, counts):
        at_start = self._at_start.get(name, [0] * len(counts))
        return [count - begun for count, begun in zip(counts, at_start, strict=True)]

    def info(self):
        *others, time_ns = self._domain.info()
        return [*others, *self._since_start('cpu', [time_ns])]

    def blockStats(self, disk):  # noqa: N802
        return self._since_start(disk, self._domain.blockStats(disk))

    def interfaceStats(self, interface):  # noqa: N802
        return self._since_start(interface, self._domain.interfaceStats(interface))


class Connection:
    """A connection to libvirt with one machine."""

    def __init__(self, machine):
        self.machine = machine

    def isAlive(self):  # noqa: N802
        return True

    def listAllDomains(self):  # noqa: N802
        return [self.machine]


def test_counters_of_a_machine_that_restarts_add_up(node, database):
    """Each counts the last value minus the first, and what it has counted since the restart."""
    node.set_override('secrets', [samples.SECRET], 'metering')
    receiver = Receiver(node, database, lambda: datetime.now(UTC))
    pollsters = pollster.load(node, [pollster.COMPUTE])
    writer = libvirt.open(node[compute.LibvirtPollster.GROUP].uri)
    restarting = Machine(writer.lookupByName('instance-00000001'))
    pollsters[0][1]._hypervisor._connection = Connection(restarting)
    counts = defaultdict(list)

    def cycle():
        for _, one in pollsters:
            for counter in one.poll(one.discover().resources, now_us):
                form = message.build(counter, samples.SECRET)
                assert receiver.store([Received(form, 'agent')], BUS).accepted == 1
                if counter.kind == facts.CUMULATIVE:
                    counts[counter.name, counter.resource_id].append(Decimal(counter.volume))

    for _ in range(3):
        cycle()
    restarting.destroy()
    cycle()
    restarting.create()
    for _ in range(3):
        cycle()

    end = timeframe.period_at(datetime.now(UTC), 3600).end
    found = _collected(node, timeframe.Period(end - timedelta(hours=2), end))
    assert {meter for meter, _ in counts} == {
        meter for meter, (_, kind, _) in EXPECTED.items() if kind == facts.CUMULATIVE
    }
    for key, values in counts.items():
        assert len(values) == 6, key
        assert values[3] < values[2], key
        assert found[key] == values[2] - values[0] + values[5], key


@pytest.mark.parametrize('name', sorted({*pollster.plugins.names(pollster.namespace('compute'))}))
def test_every_pollster_can_be_disabled(node, name):
    """By its name."""
    node.set_override('disabled', [name], 'agent')
    assert name not in dict(pollster.load(node, [pollster.COMPUTE]))
