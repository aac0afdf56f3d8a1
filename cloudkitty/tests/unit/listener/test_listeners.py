"""What listeners make of notifications that real services have sent."""

import pytest

from cloudkitty import errors, listener, plugins
from cloudkitty.core.metering import events, facts, message, notification
from cloudkitty.tests import samples

SIZES = ('instance', 'vcpus', 'memory', 'disk.root.size', 'disk.ephemeral.size')
# Nova's were recorded without their envelope.
LATER = '2026-11-29 12:55:00.000001'


@pytest.fixture
def listeners(conf):
    return listener.load(conf)


def told(one):
    if 'traits' in one:
        return events.read(events.check(one), 'telemetry')
    return notification.read(
        one['event_type'],
        one['publisher_id'] or '',
        one.get('message_id', ''),
        one.get('timestamp', LATER),
        one['payload'],
    )


def counters(listeners, recorded):
    """Return all counters; each is one whose message the intake takes."""
    found = []
    for one in recorded:
        read = told(one)
        if listeners.knows(read.event_type):
            found.extend(listeners.process(read))
    for counter in found:
        message.fact_of(message.check(message.build(counter, samples.SECRET)))
    return found


def shown(counter):
    at = facts.render_us(counter.at)[11:26]
    return counter.name, str(counter.volume), counter.life, counter.resource_id[:8], at


def machine(life, resource_id, *sizes, at='12:55:00.000001'):
    return [
        (meter, str(size), life, resource_id, at) for meter, size in zip(SIZES, sizes, strict=True)
    ]


TINY, SMALL = (1, 1, 512, 1, 0), (1, 1, 2048, 20, 0)
NOVA = [
    *machine('begin', '51a75d1a', *TINY),
    *machine('end', '51a75d1a', *TINY),
    *machine('seen', '9b10f138', *TINY),
    # Not those of `resize.end`, which still has the old flavor.
    *machine('change', '9b10f138', *SMALL),
]
EXPECTED = {
    'nova-unversioned': NOVA,
    'nova-versioned': NOVA,
    'cinder-notifications': [
        ('volume.size', '3', 'begin', '57b02d05', '12:42:07.581206'),
        ('volume.size', '5', 'change', '57b02d05', '12:42:12.858113'),
        ('volume.snapshot.size', '5', 'begin', '2f451ee0', '12:42:17.161439'),
        ('volume.snapshot.size', '5', 'end', '2f451ee0', '12:42:20.647090'),
        ('volume.size', '5', 'end', '57b02d05', '12:42:23.945305'),
    ],
    'glance-notifications': [
        ('image.size', '1048576', 'begin', 'f7a56cc5', '12:40:28.761884'),
        ('image.size', '1048576', 'change', 'f7a56cc5', '12:40:28.766832'),
        ('image.size', '1048576', 'change', 'f7a56cc5', '12:40:28.853262'),
        ('image.download', '1048576', None, 'f7a56cc5', '12:40:28.910973'),
        ('image.size', '1048576', 'change', 'f7a56cc5', '12:40:31.174910'),
        ('image.size', '1048576', 'end', 'f7a56cc5', '12:40:31.366561'),
    ],
    'neutron-notifications': [
        ('ip.floating', '1', 'begin', 'bb5ccb8b', '12:45:12.664884'),
        ('router', '1', 'begin', '2047db46', '12:45:13.380861'),
        ('ip.floating', '1', 'end', 'bb5ccb8b', '12:45:15.189080'),
    ],
    'swift-notifications': [
        ('storage.api.request', '1', None, 'pppppppp', '12:37:21.652256'),
        ('storage.objects.incoming.bytes', '2048', None, 'pppppppp', '12:37:21.652256'),
        ('storage.api.request', '1', None, 'pppppppp', '12:37:21.668464'),
        ('storage.objects.outgoing.bytes', '1000', None, 'pppppppp', '12:37:21.668464'),
    ],
    'octavia-doc': [('loadbalancer', '1', 'begin', '8d4c8f66', '23:02:15.717375')],
    'ceilometer-events': [
        ('volume.size', '3', 'begin', 'bc1d54d9', '12:40:39.364103'),
        ('volume.size', '5', 'change', 'bc1d54d9', '12:40:44.864628'),
        ('volume.size', '5', 'end', 'bc1d54d9', '12:40:56.654273'),
        ('image.size', '1048576', 'begin', 'f7a56cc5', '12:40:28.761884'),
        ('image.size', '1048576', 'end', 'f7a56cc5', '12:40:31.366561'),
        *machine('begin', '51a75d1a', *TINY, at='12:51:17.000000'),
        *machine('change', '9b10f138', *SMALL, at='12:53:02.000000'),
        *machine('end', '51a75d1a', *TINY, at='12:52:06.000000'),
    ],
}


@pytest.mark.parametrize('name', EXPECTED)
def test_each_begin_change_and_end_is_found(listeners, name):
    recorded = samples.read(name)
    found = counters(listeners, recorded if isinstance(recorded, list) else [recorded])

    assert [shown(counter) for counter in found] == EXPECTED[name]


def test_a_whole_message_of_the_bus_gives_what_its_notification_does(listeners):
    """The only one that was recorded raw announces an image without data."""
    assert counters(listeners, [samples.body('glance-raw-envelope')]) == []


def test_both_formats_of_nova_say_the_same(listeners):
    """So with notification_format = both each change counts once."""
    old, new = (
        [counter._replace(at=0, born=None) for counter in counters(listeners, samples.read(name))]
        for name in ('nova-unversioned', 'nova-versioned')
    )

    assert old == new
    assert old[0].attributes == {
        'display_name': 'vojnkhaxhkpkivgjmhue',
        'flavor_name': 'm1.tiny',
        'flavor_id': '1',
        'image_ref': '155d900f-4e14-4e4c-a73d-069cbf4541e6',
        'availability_zone': 'nova',
        'state': 'active',
    }


def test_a_machine_is_born_when_it_was_created_not_when_it_was_launched_again(listeners):
    """`launched_at` moves at a resize."""
    found = counters(listeners, samples.read('nova-unversioned'))

    resized = [counter for counter in found if counter.life == 'change']
    assert {facts.render_us(one.born) for one in resized} == {'2026-11-29T12:48:27.000000+00:00'}


def cinder(event_type, **payload):
    given = {'tenant_id': 'p1', 'volume_id': 'v1', 'size': 3, 'status': 'available'}
    return {
        'event_type': event_type,
        'publisher_id': 'volume.host',
        'message_id': 'm1',
        'timestamp': '2026-11-29 12:00:00',
        'payload': {**given, **payload},
    }


def test_a_transfer_ends_in_the_one_project_and_begins_in_the_other(listeners):
    """If it fails in between, the next notification takes the presumed end back."""
    gone, come = counters(
        listeners,
        [
            cinder('volume.transfer.accept.start'),
            cinder('volume.transfer.accept.end', tenant_id='p2'),
        ],
    )

    assert (gone.scope_id, gone.life) == ('p1', 'presumed_end')
    assert (come.scope_id, come.life) == ('p2', 'begin')


def test_a_volume_that_failed_is_not_charged(listeners):
    assert counters(listeners, [cinder('volume.create.end', status='error')]) == []


@pytest.mark.parametrize(
    'payload',
    [
        {'tenant_id': None},
        {'tenant_id': 5},
        {'volume_id': None},
        {'size': 'much'},
        {'size': float('nan')},
        {'created_at': 'soon'},
    ],
)
def test_what_the_service_would_not_send_is_refused(listeners, payload):
    with pytest.raises(errors.InvalidInput):
        counters(listeners, [cinder('volume.create.end', **payload)])


def test_a_bulk_request_of_neutron_is_each_of_its_addresses(listeners):
    items = [{'id': name, 'project_id': 'p1'} for name in ('a', 'b')]
    found = counters(
        listeners, [{**cinder('floatingip.create.end'), 'payload': {'floatingips': items}}]
    )

    assert [(one.resource_id, one.life) for one in found] == [('a', 'begin'), ('b', 'begin')]


def test_projects_of_keystone_begin_and_end(listeners):
    basic = {**cinder('identity.project.created'), 'payload': {'resource_info': 'p9'}}
    cadf = {
        **cinder('identity.project.deleted'),
        'payload': {'resource_info': 'p9', 'initiator': {'id': 'u1'}, 'target': {}},
    }
    found = counters(listeners, [basic, cadf])

    assert [(one.scope_id, one.life, one.user_id) for one in found] == [
        ('p9', 'begin', None),
        ('p9', 'end', 'u1'),
    ]


def test_a_request_to_swift_that_is_told_twice_counts_once(listeners):
    """Two requests in one microsecond are two; one that is delivered twice is one."""
    first = samples.read('swift-notifications')[0]
    another = {**first, 'message_id': 'another'}

    tags = [
        message.fact_of(message.build(counter)).tag
        for counter in counters(listeners, [first, first, another])
        if counter.name == 'storage.api.request'
    ]

    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize('name', plugins.names(listener.NAMESPACE))
def test_each_listener_can_be_disabled(conf, name):
    conf.set_override('disabled', [name], 'listener')

    assert listener.load(conf).names == [
        other for other in plugins.names(listener.NAMESPACE) if other != name
    ]


def test_a_name_that_nobody_has_is_an_error(conf):
    conf.set_override('disabled', ['nowa'], 'listener')

    with pytest.raises(errors.ConfigurationError, match=r"'nowa'; allowed: .*nova"):
        listener.load(conf)


@pytest.mark.parametrize(
    'change',
    [
        {'event_type': 5},
        {'more': 1},
        {'traits': {}},
        {'traits': [['size', 2]]},
        {'traits': [['size', 2, [1]]]},
        {'traits': [['size', 2, 1]] * 201},
        {'raw': []},
    ],
)
def test_an_event_of_another_shape_is_none_of_ceilometers(change):
    """The algorithm of the signature has no separators, so the form is checked first."""
    with pytest.raises(errors.InvalidInput):
        events.check({**samples.read('ceilometer-events')[0], **change})
