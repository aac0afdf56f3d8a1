"""Metering messages: their form, their signature, and the fact that each states."""

import json
import pathlib
import random
import uuid
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core.metering import facts, message, signature

# Messages of a real Ceilometer 27, signed with its own code.
REAL = json.loads(pathlib.Path(__file__).with_name('ceilometer.json').read_text())
SECRET = REAL['secret']
COUNTER = message.Counter(
    'volume.size',
    facts.STATE,
    'GiB',
    Decimal('3'),
    'project-1',
    None,
    'volume-1',
    1_700_000_000_123_456,
    {'volume_type': 'fast'},
    life='begin',
)


@pytest.mark.parametrize('one', REAL['messages'], ids=lambda one: one['counter_name'])
def test_messages_of_ceilometer_verify(one):
    """Also after they were stored as JSON; with a changed character they do not."""
    kept = json.loads(json.dumps(one))

    assert signature.verify(kept, [SECRET]) == 0
    assert signature.verify(kept, ['another-secret-of-ours', SECRET]) == 1
    assert signature.verify(kept, ['another-secret-of-ours']) is None
    for key, value in one.items():
        changed = value[:-1] + '~' if isinstance(value, str) and value else 'x'
        if key != 'resource_metadata':
            assert signature.verify({**kept, key: changed}, [SECRET]) is None, key


def test_a_number_is_signed_as_it_is_written():
    """1 and 1.0 are different texts, so a message must be kept as it was received."""
    one = {**REAL['messages'][0], 'counter_volume': 1}
    one[signature.KEY] = signature.sign(one, SECRET)

    assert signature.verify({**one, 'counter_volume': 1.0}, [SECRET]) is None


@pytest.mark.parametrize('given', [None, 7, '', 'ü' * 64, 'a' * 64])
def test_what_is_no_signature_verifies_nothing(given):
    """Whatever stands in its place."""
    assert signature.verify({**REAL['messages'][0], signature.KEY: given}, [SECRET]) is None


def test_the_name_of_a_key_tells_keys_apart():
    """And is short, and the same each time."""
    assert signature.key_name(SECRET) == signature.key_name(SECRET)
    assert signature.key_name(SECRET) != signature.key_name(SECRET + 'x')
    assert len(signature.key_name(SECRET)) == 8


@pytest.mark.parametrize('one', REAL['messages'], ids=lambda one: one['counter_name'])
def test_every_message_states_a_fact(one):
    """With the names that metric definitions of Gnocchi's resources use."""
    fact = message.fact_of(message.check(one))

    assert (fact.meter, fact.resource_id) == (one['counter_name'], one['resource_id'])
    assert fact.scope_id == one['project_id']
    assert fact.quantity == Decimal(repr(one['counter_volume']))
    if one['counter_name'] == 'power.state':
        assert fact.attributes['flavor_name'] == 'm1.small'
        assert fact.attributes['image_ref'] == '00000000-0000-4000-8000-0000000000cc'


def test_a_notification_that_came_twice_states_one_fact():
    """Ceilometer makes two messages of it, with different ids."""
    first, second = REAL['redelivered']

    assert first['message_id'] != second['message_id']
    assert message.fact_of(message.check(first)) == message.fact_of(message.check(second))


def test_deltas_of_one_instant_are_told_apart():
    """By what they say: two requests may have one microsecond."""
    one = next(one for one in REAL['messages'] if one['counter_type'] == 'delta')
    other = {**one, 'counter_volume': 4096}

    found = {message.fact_of(each).tag for each in (one, other)}
    assert len(found) == 2


@pytest.mark.parametrize(
    'change',
    [
        {'counter_volume': True},
        {'counter_volume': None},
        {'counter_name': 7},
        {'resource_metadata': []},
        {'resource_metadata': json.loads('{"a":' * 20 + '1' + '}' * 20)},
        {'extra': 1},
        {'counter_type': None},
    ],
    ids=str,
)
def test_another_form_is_refused(change):
    """Before the signature is looked at, because that has no separators."""
    with pytest.raises(errors.InvalidInput):
        message.check({**REAL['messages'][0], **change})


@pytest.mark.parametrize(
    'change',
    [
        {'counter_volume': float('nan')},
        {'counter_volume': '1e400'},
        {'counter_volume': 'many'},
        {'counter_type': 'sometimes'},
        {'timestamp': 'yesterday'},
        {'counter_name': 'x' * 256},
        {'resource_id': ''},
        {'project_id': None},
        {'resource_id': 'a\ud800'},
        {'resource_metadata': {'cloudkitty.life': 'rebirth'}},
    ],
    ids=str,
)
def test_wrong_values_are_refused(change):
    """The text of the error is for the dead letters."""
    with pytest.raises(errors.InvalidInput):
        message.fact_of(message.check({**REAL['messages'][0], **change}))


def test_ids_are_uuids_of_the_content():
    """Of version 5, as the library makes them: the same whatever release has sent a message."""
    choose = random.Random(5)
    for _ in range(200):
        made = message.build(COUNTER._replace(resource_id=f'ü{choose.random()}'))
        content = {
            name: value for name, value in made.items() if name not in ('message_id', signature.KEY)
        }
        space = uuid.UUID('6f0c1c4e-6b1b-5a53-9a5f-3f2f2f6d1c5a')
        expected = uuid.uuid5(space, json.dumps(content, sort_keys=True))
        assert made['message_id'] == str(expected)


def test_our_own_messages():
    """A counter becomes the same message each time, is signed, and states the fact."""
    made = message.build(COUNTER, SECRET)

    assert made == message.build(COUNTER, SECRET)
    assert signature.verify(json.loads(json.dumps(made)), [SECRET]) == 0
    assert message.fact_of(message.check(made)) == facts.Fact(
        'cloudkitty',
        'project-1',
        'volume.size',
        'volume-1',
        facts.STATE,
        'GiB',
        COUNTER.at,
        facts.BEGIN,
        quantity=Decimal(3),
        attributes=facts.Attributes(volume_type='fast'),
    )
    other = message.build(COUNTER._replace(volume=Decimal('0.1000000000000000000000001')))
    assert other['message_id'] != made['message_id']
    assert message.fact_of(other).quantity == Decimal('0.1000000000000000000000001')
