"""Events and notifications are bounded before anything reads them."""

import pytest

from cloudkitty import errors
from cloudkitty.core.metering import events, notification

TRAIT = ['service', 1, 'volume.host']


def event(**changed):
    form = {
        'message_id': '1',
        'event_type': 'volume.create.end',
        'generated': '2026-11-28T00:00:00',
        'traits': [TRAIT],
        'raw': {},
        'message_signature': '',
    }
    return {**form, **changed}


def deep(levels):
    found = {}
    for _ in range(levels - 1):
        found = {'a': found}
    return found


def test_an_event_within_its_limits_is_taken_as_it_is():
    form = event(traits=[TRAIT] * events.TRAITS_MAX, raw=deep(events.DEPTH_MAX))

    assert events.check(form) is form


@pytest.mark.parametrize(
    'changed',
    [
        {'traits': [TRAIT] * (events.TRAITS_MAX + 1)},
        {'traits': {'service': 1}},
        {'traits': [TRAIT, ['service', 1]]},
        {'traits': [['service', '1', 'volume.host']]},
        {'traits': [['service', 1, ['volume.host']]]},
        {'raw': deep(events.DEPTH_MAX + 1)},
        {'raw': []},
        {'message_id': 1},
        {'more': ''},
    ],
)
def test_an_event_beyond_its_limits_is_refused(changed):
    with pytest.raises(errors.InvalidInput):
        events.check(event(**changed))


def test_objects_of_nova_are_read_as_their_data():
    """At any depth, and within lists."""
    payload = {
        'nova_object.name': 'InstancePayload',
        'nova_object.data': {
            'uuid': 'v1',
            'flavor': {'nova_object.data': {'vcpus': 2}},
            'ips': [{'nova_object.data': {'address': '10.0.0.1'}}],
        },
    }
    read = notification.read(
        'instance.create.end', 'nova', '1', '2026-11-28T00:00:00', payload
    ).payload

    assert read == {'uuid': 'v1', 'flavor': {'vcpus': 2}, 'ips': [{'address': '10.0.0.1'}]}


def test_a_notification_that_is_too_deep_is_refused():
    at = '2026-11-28T00:00:00'
    notification.read('x', 'y', '1', at, deep(notification.DEPTH_MAX))
    with pytest.raises(errors.InvalidInput, match='levels'):
        notification.read('x', 'y', '1', at, deep(notification.DEPTH_MAX + 1))
