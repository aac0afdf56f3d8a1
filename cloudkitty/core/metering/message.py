"""Metering messages: Ceilometer's 15 keys, and the facts that they state. Pure.

What Ceilometer has no word for, the stages of a life, lies in `resource_metadata`.

Source: doc/source/contributor/metering.rst, "Messages".
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import bounds, timeframe
from cloudkitty.core.metering import facts, signature
from cloudkitty.core.metering.facts import Fact

STAGE_KEY = 'cloudkitty.life'
BORN_KEY = 'cloudkitty.born'
# What keeps amounts of one instant apart, and a repeat of one together.
ID_KEY = 'cloudkitty.id'
SOURCE = 'cloudkitty'
ID_SPACE = uuid.UUID('6f0c1c4e-6b1b-5a53-9a5f-3f2f2f6d1c5a').bytes
# The first of the digits that say which kind of UUID it is: of its four bits the first two are 10.
_VARIANT = {digit: '89ab'[int(digit, 16) % 4] for digit in '0123456789abcdef'}
DEPTH_MAX = 16
LEAVES_MAX = 1000
# Names that Ceilometer's definitions of resources give to nested metadata.
NESTED = {
    ('flavor', 'id'): 'flavor_id',
    ('flavor', 'name'): 'flavor_name',
    ('image', 'id'): 'image_ref',
    ('target', 'metadata', 'container'): 'container',
}
_NESTING = frozenset(path[0] for path in NESTED)
_TEXTS = ('source', 'counter_name', 'counter_type', 'resource_id', 'timestamp', 'message_id')
_OPTIONAL_TEXTS = (
    'counter_unit',
    'user_id',
    'user_name',
    'project_id',
    'project_name',
    signature.KEY,
)
KEYS = frozenset(
    (*_TEXTS, *_OPTIONAL_TEXTS, 'counter_volume', 'resource_metadata', 'monotonic_time')
)
REQUIRED = KEYS - {'user_name', 'project_name', 'monotonic_time', signature.KEY}
_TYPES = (facts.GAUGE, facts.CUMULATIVE, facts.DELTA)
_HTTP_NAMES = {
    'name': 'counter_name',
    'type': 'counter_type',
    'unit': 'counter_unit',
    'volume': 'counter_volume',
    'id': 'message_id',
}
_SORTED = json.JSONEncoder(sort_keys=True)
_SEALS = ('message_id', signature.KEY)


class Counter(NamedTuple):
    """What pollsters and listeners yield.

    :ivar kind: one of facts.KINDS.
    :ivar at: microseconds since the epoch.
    :ivar life: stage of a life, a name of facts.STAGES; None: a sample.
    :ivar born: when the life began, microseconds since the epoch; None: not known.
    :ivar id: of what is counted, for kind delta; None: equal amounts of one instant are one.
    """

    name: str
    kind: str
    unit: str
    volume: Decimal
    scope_id: str
    user_id: str | None
    resource_id: str
    at: int
    attributes: Mapping[str, Any]
    life: str | None = None
    born: int | None = None
    id: str | None = None


def build(counter: Counter, secret: str = '', source: str = SOURCE) -> dict[str, Any]:
    """Return the metering message of *counter*; its id is the same for an equal counter.

    :param secret: signs the message; '': it is not signed.
    """
    metadata = dict(counter.attributes)
    if counter.life is not None:
        metadata[STAGE_KEY] = counter.life
    if counter.born is not None:
        metadata[BORN_KEY] = facts.render_us(counter.born)
    if counter.id is not None:
        metadata[ID_KEY] = counter.id
    message: dict[str, Any] = {
        'source': source,
        'counter_name': counter.name,
        'counter_type': facts.GAUGE if counter.kind == facts.STATE else counter.kind,
        'counter_unit': counter.unit,
        'counter_volume': _plain(counter.volume),
        'user_id': counter.user_id,
        'user_name': None,
        'project_id': counter.scope_id,
        'project_name': None,
        'resource_id': counter.resource_id,
        'timestamp': facts.render_us(counter.at),
        'resource_metadata': metadata,
        'monotonic_time': None,
    }
    message['message_id'] = _id_of(message)
    message[signature.KEY] = signature.sign(message, secret) if secret else ''
    return message


def _id_of(message: Mapping[str, Any]) -> str:
    """Return the UUID of version 5 of the content; uuid.uuid5() takes four times as long."""
    text = _SORTED.encode(message).encode()
    made = hashlib.sha1(ID_SPACE + text, usedforsecurity=False).hexdigest()
    return f'{made[:8]}-{made[8:12]}-5{made[13:16]}-{_VARIANT[made[16]]}{made[17:20]}-{made[20:32]}'


def is_as_built(message: Mapping[str, Any]) -> bool:
    """Return whether the id of a message of SOURCE is that of its content.

    The signature has no separators, so text could be moved between the name and the value of an
    attribute. The id is signed, and a digest that has them.
    """
    content = dict(message)
    for seal in _SEALS:
        content.pop(seal, None)
    return bool(message['message_id'] == _id_of(content))


def completed(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without an id with one, which is the same for the same content."""
    return {**form, 'message_id': _id_of(form)}


def normal(form: Any) -> Any:
    """Return a sample in the shape of Ceilometer's http publisher with the names of messages."""
    if not isinstance(form, dict) or 'counter_name' in form or 'name' not in form:
        return form
    return {_HTTP_NAMES.get(name, name): value for name, value in form.items()}


def _plain(volume: Decimal) -> int | float | str:
    """Return *volume* as JSON carries it exactly: text if a float would round it."""
    if volume == volume.to_integral_value():
        return int(volume)
    return float(volume) if Decimal(repr(float(volume))) == volume else format(volume, 'f')


def check(message: Any) -> Mapping[str, Any]:
    """Return *message* if it has exactly the keys and types of a metering message.

    :raises InvalidInput: the text says what is wrong.
    """
    if not isinstance(message, dict):
        raise errors.InvalidInput(reason='a metering message is an object')
    if message.keys() != KEYS:
        unknown, missing = message.keys() - KEYS, REQUIRED - message.keys()
        if unknown or missing:
            raise errors.InvalidInput(
                reason=f'unknown keys: {sorted(unknown)!s:.200}; '
                f'missing keys: {sorted(missing)!s:.200}'
            )
    _check_texts(message)
    volume = message['counter_volume']
    if isinstance(volume, bool) or not isinstance(volume, (int, float, Decimal, str)):
        raise errors.InvalidInput(reason='counter_volume is no number')
    clock = message.get('monotonic_time')
    if clock is not None and (isinstance(clock, bool) or not isinstance(clock, (int, float))):
        raise errors.InvalidInput(reason='monotonic_time is no number')
    if not isinstance(message['resource_metadata'], dict):
        raise errors.InvalidInput(reason='resource_metadata is no object')
    if bounds.is_deeper(message['resource_metadata'], DEPTH_MAX):
        raise errors.InvalidInput(reason=f'resource_metadata has more than {DEPTH_MAX} levels')
    return message


def _check_texts(message: Mapping[str, Any]) -> None:
    for key in _TEXTS:
        if not isinstance(message[key], str):
            raise errors.InvalidInput(reason=f'{key} is no text')
    for key in _OPTIONAL_TEXTS:
        value = message.get(key)
        if value is not None and not isinstance(value, str):
            raise errors.InvalidInput(reason=f'{key} is no text')


def fact_of(message: Mapping[str, Any], ignored: frozenset[str] = frozenset()) -> Fact:
    """Return the fact that a metering message states.

    :param message: one that check() has accepted.
    :param ignored: names of metadata that change all the time and are no attributes.
    :raises InvalidInput: a value is wrong or too long.
    """
    metadata = dict(message['resource_metadata'])
    stage_name, born = metadata.pop(STAGE_KEY, None), metadata.pop(BORN_KEY, None)
    given_id = metadata.pop(ID_KEY, None)
    stage = facts.SAMPLE if stage_name is None else facts.STAGES.get(str(stage_name))
    if stage is None:
        raise errors.InvalidInput(reason=f'{STAGE_KEY} must be one of {", ".join(facts.STAGES)}')
    kind = message['counter_type'] if stage == facts.SAMPLE else facts.STATE
    if message['counter_type'] not in _TYPES:
        raise errors.InvalidInput(reason=f'counter_type must be one of {", ".join(_TYPES)}')
    attributes = _attributes(metadata, ignored)
    quantity = bounds.to_decimal(message['counter_volume'])
    return facts.check(
        Fact(
            message['source'],
            message['project_id'] or '',
            message['counter_name'],
            message['resource_id'],
            kind,
            message['counter_unit'] or '',
            facts.to_us(timeframe.parse_exact(message['timestamp'])),
            stage,
            _tag(kind, given_id, quantity, attributes),
            None if stage in (facts.END, facts.PRESUMED_END) else quantity,
            attributes,
            None if born is None else facts.to_us(timeframe.parse_exact(born)),
        )
    )


def _tag(kind: str, given_id: Any, quantity: Decimal, attributes: facts.Attributes) -> int:
    """Return what keeps samples of one instant apart: those of kind delta add up.

    Not the id of the message: a notification that is delivered twice makes two messages.
    """
    if kind != facts.DELTA:
        return 0
    if isinstance(given_id, str):
        return facts.tag_of('id', given_id)
    return facts.tag_of(format(quantity, 'f'), _SORTED.encode(attributes))


def _attributes(metadata: Mapping[str, Any], ignored: frozenset[str]) -> facts.Attributes:
    """Return the flat values of *metadata*, and nested ones under the names that Gnocchi knows."""
    if metadata.keys().isdisjoint(_NESTING):
        return facts.flat_attributes(metadata, ignored)
    nested = {}
    for path, name in NESTED.items():
        value: Any = metadata
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            nested[name] = value
    return facts.flat_attributes({**metadata, **nested}, ignored)
