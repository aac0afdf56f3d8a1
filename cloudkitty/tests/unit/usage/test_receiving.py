"""Metering messages: what is believed, stored, and refused with a reason."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.metering import facts, message, redaction, signature
from cloudkitty.core.metering.message import Counter
from cloudkitty.db import usage_tables
from cloudkitty.tests import samples, usage
from cloudkitty.usage import messages, receiving, verify
from cloudkitty.usage.receiving import BUS, Keys, Received, Receiver, Refused

NOW = datetime(2026, 11, 29, 13, 30, tzinfo=UTC)
OLD = 'an-older-secret-for-tests'


@pytest.fixture
def receive(conf, database):
    return receiver_of(conf, database)


def receiver_of(conf, database, secrets=(samples.SECRET,)):
    conf.set_override('secrets', list(secrets), 'metering')
    receiver = Receiver(conf, database, lambda: NOW)

    def store(*forms, trust=None):
        return receiver.store([Received(form, 'telemetry', trust) for form in forms], BUS)

    store.receiver = receiver
    return store


def counter(**more):
    given = {
        'name': 'cpu',
        'kind': facts.CUMULATIVE,
        'unit': 'ns',
        'volume': Decimal('12.5'),
        'scope_id': 'p1',
        'user_id': None,
        'resource_id': 'i1',
        'at': facts.to_us(NOW) - 5,
        'attributes': {'flavor_name': 'm1'},
    }
    return Counter(**{**given, **more})


def signed(**more):
    """Return a metering message with other members, signed again."""
    form = {**message.build(counter(), source='openstack'), **more}
    return {**form, signature.KEY: signature.sign(form, samples.SECRET)}


def refusals(database):
    return [reason for (reason,) in usage.rows(database, usage_tables.rejects, 'reason')]


def trusts(database):
    return [trust for (trust,) in usage.rows(database, usage_tables.batches, 'trust')]


def test_recorded_messages_of_ceilometer_are_stored_and_believed(receive, database):
    recorded = samples.read('ceilometer-metering-messages')

    outcome = receive(*recorded)

    assert (outcome.accepted, outcome.rejected) == (len(recorded), {})
    assert trusts(database) == [signature.key_name(samples.SECRET)]
    assert samples.SECRET not in str(trusts(database))


def test_a_notification_that_was_delivered_twice_is_one_fact(receive, database):
    """Ceilometer makes two messages of it, with different ids."""
    outcome = receive(*samples.read('ceilometer-redelivered'))

    assert (outcome.accepted, outcome.duplicates) == (1, 1)
    assert len(usage.rows(database, usage_tables.samples, 'at')) == 1


def test_messages_are_kept_as_their_signer_wrote_them(receive, database):
    """So that the signature can be checked at any later time."""
    recorded = samples.read('ceilometer-metering-messages')
    receive(*recorded)

    with database.reader() as connection:
        batch = receiving_batch(connection)
    forms = [json.loads(text) for text in batch.texts]
    assert forms == recorded
    keys = receive.receiver.keys
    assert {keys.verified(form, batch.trust) for form in forms} == {'true'}
    changed = {**forms[0], 'counter_volume': 1024.5}
    assert keys.verified(changed, batch.trust) == 'false'


def receiving_batch(connection):
    found = connection.execute(sa.select(usage_tables.batches.c.id)).scalar_one()
    return messages.read(connection, found)


def test_a_secret_is_changed_without_a_gap(conf, database):
    """What the old one has signed is taken while it is there, and told afterwards."""
    both = receiver_of(conf, database, [samples.SECRET, OLD])
    form = message.build(counter(), OLD)
    assert both(form).accepted == 1
    assert trusts(database) == [signature.key_name(OLD)]

    new = receiver_of(conf, database, [samples.SECRET])
    assert new.receiver.keys.verified(form, signature.key_name(OLD)) == 'key gone'
    late = message.build(counter(at=facts.to_us(NOW) - 9), OLD)
    assert new(late).rejected == {0: 'untrusted: no known secret has signed this'}


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'message_signature': ''}, 'untrusted: it is not signed'),
        ({'message_signature': None}, 'untrusted: it is not signed'),
        ({'message_signature': 'ab' * 32}, 'no known secret'),
        ({'message_signature': 5}, 'message_signature is no text'),
        ({'counter_volume': 13.5}, 'no known secret'),
        # The signature has no separators; it is still that of the content.
        ({'resource_metadata': {'flavor_nam': 'em1'}}, 'its id is not that of its content'),
    ],
)
def test_what_nobody_known_has_signed_is_refused(receive, database, change, reason):
    form = {**message.build(counter(), samples.SECRET), **change}

    assert reason in receive(form).rejected[0]
    assert refusals(database) == [receive(form).rejected[0]]
    assert usage.rows(database, usage_tables.samples, 'at') == []


def test_text_that_moves_between_a_name_and_its_value_is_noticed(receive):
    """`{x: bc}` and `{xb: c}` have one signature; the form of a message is fixed."""
    form = message.build(counter(), samples.SECRET)
    form['resource_idi'] = form.pop('resource_id')[1:]
    assert signature.verify(form, [samples.SECRET]) == 0

    assert 'unknown keys' in receive(form).rejected[0]


def test_unsigned_messages_are_taken_only_where_the_operator_says_so(conf, database):
    conf.set_override('unsigned', 'accept', 'metering')

    outcome = receiver_of(conf, database, [])(message.build(counter()))

    assert outcome.accepted == 1
    assert trusts(database) == ['unsigned']


@pytest.mark.parametrize('secret', ['short', 'change this for valid signing'])
def test_a_secret_that_can_be_guessed_is_refused(conf, secret):
    conf.set_override('secrets', [samples.SECRET, secret], 'metering')

    with pytest.raises(errors.ConfigurationError, match='secrets') as caught:
        Keys(conf)

    assert samples.SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'counter_volume': float('nan')}, 'a number is not finite'),
        ({'counter_volume': float('inf')}, 'a number is not finite'),
        ({'counter_volume': 10**30}, 'digits'),
        ({'counter_volume': True}, 'no number'),
        ({'resource_metadata': {'x': float('nan')}}, 'a number is not finite'),
        ({'resource_metadata': {str(number): 'x' for number in range(65)}}, '64 attributes'),
        ({'resource_metadata': {'x': 'y' * 20_000}}, 'bytes'),
        ({'resource_id': 'r' * 256}, '255'),
        ({'resource_id': 'a\0b'}, 'resource'),
        ({'project_id': None}, 'scope_id'),
        ({'timestamp': '2026-11-29T13:36:00'}, 'in the future'),
        ({'timestamp': '2026-10-24T13:29:59'}, 'in the past'),
        ({'timestamp': 'soon'}, 'ISO 8601'),
        ({'counter_type': 'other'}, 'counter_type'),
    ],
)
def test_one_that_says_too_much_leaves_the_others_alone(receive, database, change, reason):
    outcome = receive(signed(), signed(**change), signed(resource_id='i2'))

    assert outcome.accepted == 2
    assert list(outcome.rejected) == [1]
    assert reason in outcome.rejected[1]
    assert refusals(database) == [outcome.rejected[1]]


def test_half_of_a_character_cannot_be_signed(receive):
    form = {**signed(), 'resource_metadata': {'x': '\ud800'}}

    assert 'no known secret' in receive(form).rejected[0]
    assert 'no text that can be stored' in receive(form, trust=BUS).rejected[0]


def test_levels_without_end_are_refused(receive):
    deep: dict = {}
    for _ in range(1000):
        deep = {'x': deep}

    assert 'levels' in receive({**signed(), 'resource_metadata': deep}).rejected[0]
    assert 'object' in receive([deep]).rejected[0]


class Picky:
    """A database that refuses a resource for a reason nobody has foreseen."""

    def __init__(self, intake):
        self._intake = intake
        self.calls = 0

    def store(self, entries, origin):
        self.calls += 1
        if any(entry.facts[0].resource_id == 'i77' for entry in entries):
            raise ValueError('the driver cannot write this')
        return self._intake.store(entries, origin)


def test_what_only_the_database_refuses_is_found_by_halving(receive, database):
    picky = receive.receiver._intake = Picky(receive.receiver._intake)

    outcome = receive(*[signed(resource_id=f'i{number}') for number in range(100)])

    assert outcome.accepted == 99
    assert outcome.rejected == {77: 'the database refuses it: ValueError'}
    assert picky.calls < 20


def test_a_reject_is_kept_without_credentials(receive, database):
    nested = json.dumps({'oslo.message': json.dumps({'_context_auth_token': 'gAAAA-token'})})
    receive.receiver.refuse(
        [
            Refused(nested, 'no notification', 'nova'),
            Refused('{"password": "hunter2", "name": "x', 'no notification', 'nova'),
        ],
        BUS,
    )

    bodies = str(usage.rows(database, usage_tables.rejects, 'body'))
    assert 'gAAAA' not in bodies
    assert 'hunter2' not in bodies
    assert '_context_auth_token' in bodies
    assert 'name' in bodies


def test_redaction_leaves_other_members(receive):
    text = json.dumps({'name': 'a "quoted" word', 'note': 'password: x'})

    assert redaction.redact(text) == text


def test_a_repeated_reject_is_one_row(receive, database):
    for _ in range(3):
        receive(signed(timestamp='soon'))

    assert usage.rows(database, usage_tables.rejects, 'messages', 'publisher') == [(3, 'telemetry')]


def test_refusals_are_logged_once_a_minute(conf, database, caplog):
    now = [NOW]
    conf.set_override('secrets', [samples.SECRET], 'metering')
    receiver = Receiver(conf, database, lambda: now[0])
    for seconds in (0, 10, 70):
        now[0] = NOW + timedelta(seconds=seconds)
        receiver.store([Received({}, 'telemetry')], BUS)

    assert caplog.text.count('Messages are refused') == 2


def test_a_counter_with_an_id_differs_from_others_of_its_instant():
    one, same, other = (
        message.fact_of(message.build(counter(kind=facts.DELTA, id=given)))
        for given in ('a', 'a', 'b')
    )

    assert one.tag == same.tag != other.tag
    assert 'cloudkitty.id' not in one.attributes


def test_trust_of_ours_needs_no_signature(receive, database):
    assert receive(message.build(counter()), trust=receiving.BUS).accepted == 1
    assert trusts(database) == ['bus']


def test_a_number_of_any_length_hides_no_other_message(receive, database):
    """What JSON can say is read again, and checked, whatever stands beside it."""
    long = signed(resource_metadata={'x': {'y': 10**600}}, resource_id='long')

    assert receive(long, signed()).accepted == 2

    with database.reader() as connection:
        batch = receiving_batch(connection)
    assert [json.loads(text) for text in batch.texts] == [long, signed()]
    assert batch.is_intact
    assert list(verify.check(database, frozenset())) == []


@pytest.mark.parametrize('given', ['12', True, [], json.loads('[' * 50 + ']' * 50)])
def test_a_clock_is_a_number(receive, given):
    """Nothing else of a message may have any form."""
    assert receive(signed(monotonic_time=given)).rejected == {0: 'monotonic_time is no number'}
