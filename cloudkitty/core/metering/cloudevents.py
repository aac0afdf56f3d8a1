"""Facts from CloudEvents 1.0 that are pushed. Pure.

Source: doc/source/api/usage.rst, "Events".
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import bounds, dataframe, timeframe
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Fact

COMPLETE = 'org.cloudkitty.complete'
DEPTH_MAX = 6
EVENTS_MAX = 1000
REVISION_MAX = 2**31 - 1
ACTIONS = {
    'start': facts.BEGIN,
    'change': facts.CHANGE,
    'seen': facts.SEEN,
    'stop': facts.END,
}
KINDS = (facts.GAUGE, facts.CUMULATIVE, facts.DELTA)
_TEXTS = ('specversion', 'type', 'source', 'id', 'subject', 'time')
_OPTIONAL = ('datacontenttype', 'dataschema', 'ckrevision')
_DATA = ('scope_id', 'quantity', 'unit', 'kind', 'begin', 'end', 'action', 'attributes')


class Event(NamedTuple):
    """One pushed event.

    :ivar facts: what it states, with the *source* that was given; none: see *until*.
    :ivar revision: a higher one takes the place of a lower one with the same source and id.
    :ivar until: the source has sent all of *meter* up to this instant, microseconds since the
        epoch; None: it is an event of usage.
    """

    source: str
    id: str
    scope_id: str
    meter: str
    facts: tuple[Fact, ...]
    revision: int = 0
    until: int | None = None


def split(text: str, decoder: json.JSONDecoder | None = None) -> Iterator[tuple[str, Any]]:
    """Yield each value of the JSON list in *text*, as it was written and parsed.

    :param decoder: None: DECODER.
    :raises ValueError: it is no JSON list.
    :raises InvalidInput: a number is too long.
    """
    decoder = decoder or DECODER
    at = _skip(text, 0)
    if text[at : at + 1] != '[':
        raise ValueError('no list')
    at = _skip(text, at + 1)
    if text[at : at + 1] == ']':
        _check_end(text, at + 1)
        return
    while True:
        value, end = decoder.raw_decode(text, at)
        yield text[at:end], value
        at = _skip(text, end)
        if text[at : at + 1] == ']':
            _check_end(text, at + 1)
            return
        if text[at : at + 1] != ',':
            raise ValueError('no comma between values')
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (' ', '\t', '\n', '\r'):
        at += 1
    return at


def _check_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise ValueError('something follows the list')


def _integer(text: str) -> int:
    return int(bounds.to_decimal(text))


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f'{constant} is no JSON number')


# Numbers with a fraction or an exponent stay exact.
DECODER = json.JSONDecoder(
    parse_float=bounds.to_decimal, parse_int=_integer, parse_constant=_refuse_constant
)


def read(form: Any, ignored: frozenset[str] = frozenset()) -> Event:
    """Return the event that the parsed JSON object *form* is.

    :param ignored: names of attributes that are left out.
    :raises InvalidInput: the text says what is wrong.
    """
    if not isinstance(form, dict):
        raise errors.InvalidInput(reason='an event is a JSON object')
    if bounds.is_deeper(form, DEPTH_MAX):
        raise errors.InvalidInput(reason=f'an event has at most {DEPTH_MAX} levels')
    _check_members(form)
    if form['specversion'] != '1.0':
        raise errors.InvalidInput(reason='specversion must be 1.0')
    data = _data_of(form)
    at = _instant('time', form['time'])
    if form['type'] == COMPLETE:
        meter, until = data.get('meter'), data.get('until')
        facts.check_name('data.meter', meter)
        assert isinstance(meter, str)
        return Event(
            form['source'],
            form['id'],
            '',
            meter,
            (),
            _revision(form),
            at if until is None else _instant('data.until', until),
        )
    found = tuple(map(facts.check, _facts(form, data, at, ignored)))
    return Event(form['source'], form['id'], data['scope_id'], form['type'], found, _revision(form))


def _check_members(form: Mapping[str, Any]) -> None:
    required = _TEXTS if form.get('type') != COMPLETE else tuple(set(_TEXTS) - {'subject'})
    for name in required:
        value = form.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= facts.NAME_LENGTH_MAX:
            raise errors.InvalidInput(
                reason=f'{name} must be text of 1 to {facts.NAME_LENGTH_MAX} characters'
            )
        if not dataframe.is_text(value):
            raise errors.InvalidInput(reason=f'{name} has a character that cannot be stored')
    for name in form:
        # CloudEvents allows extensions: letters and digits.
        is_extension = isinstance(name, str) and name.isascii() and name.isalnum()
        if name not in (*_TEXTS, *_OPTIONAL, 'data') and not (is_extension and name.islower()):
            raise errors.InvalidInput(reason=f'{name!r:.50} is no attribute of an event')


def _data_of(form: Mapping[str, Any]) -> Mapping[str, Any]:
    data = form.get('data')
    if not isinstance(data, dict):
        raise errors.InvalidInput(reason='data must be a JSON object')
    allowed = ('meter', 'until') if form['type'] == COMPLETE else _DATA
    unknown = [name for name in data if name not in allowed]
    if unknown:
        raise errors.InvalidInput(
            # A name may hold characters that no answer can.
            reason=f'data has unknown members: {", ".join(map(repr, unknown)):.100}; '
            f'allowed: {", ".join(allowed)}'
        )
    return data


def _revision(form: Mapping[str, Any]) -> int:
    revision = form.get('ckrevision', 0)
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0:
        raise errors.InvalidInput(reason='ckrevision must be a whole number, 0 or more')
    if revision > REVISION_MAX:
        raise errors.InvalidInput(reason=f'ckrevision must be at most {REVISION_MAX}')
    return revision


def _facts(
    form: Mapping[str, Any], data: Mapping[str, Any], at: int, ignored: frozenset[str]
) -> Iterator[Fact]:
    """Yield what the event states; see the page for the four forms."""
    fact = Fact(
        form['source'],
        _text(data, 'scope_id'),
        form['type'],
        form['subject'],
        facts.STATE,
        _text(data, 'unit', ''),
        at,
        tag=facts.tag_of(form['source'], form['id']),
        quantity=_quantity(data),
        attributes=_attributes(data, ignored),
    )
    begin, end = (_bound(data, name) for name in ('begin', 'end'))
    action, kind = data.get('action'), data.get('kind')
    if action is not None:
        yield _of_action(fact, action, kind, begin, end)
    elif begin is not None or end is not None:
        if begin is None or end is None or begin >= end or kind not in (None, facts.STATE):
            raise errors.InvalidInput(
                reason='a closed life has data.begin before data.end, and no other kind'
            )
        yield fact._replace(at=begin, stage=facts.BEGIN)
        yield fact._replace(at=end, stage=facts.END, quantity=None, attributes=None)
    else:
        kind = facts.DELTA if kind is None else kind
        if kind not in KINDS:
            raise errors.InvalidInput(
                reason=f'data.kind must be one of {", ".join(KINDS)}; a state needs data.action, '
                'or data.begin and data.end'
            )
        # One value at an instant, unless values add up.
        yield fact._replace(kind=kind, tag=fact.tag if kind == facts.DELTA else 0)


def _of_action(fact: Fact, action: Any, kind: Any, begin: int | None, end: int | None) -> Fact:
    if not isinstance(action, str) or action not in ACTIONS:
        raise errors.InvalidInput(reason=f'data.action must be one of {", ".join(ACTIONS)}')
    if end is not None or kind not in (None, facts.STATE):
        raise errors.InvalidInput(reason='data.action allows neither data.end nor another kind')
    if begin is not None and action == 'start':
        raise errors.InvalidInput(reason='a start has its begin in time, not in data.begin')
    if action == 'stop':
        fact = fact._replace(quantity=fact.quantity if begin is not None else None)
    return fact._replace(stage=ACTIONS[action], born=begin)


def _quantity(data: Mapping[str, Any]) -> Decimal | None:
    value = data.get('quantity')
    return None if value is None else bounds.to_decimal(value)


def _attributes(data: Mapping[str, Any], ignored: frozenset[str]) -> facts.Attributes | None:
    given = data.get('attributes')
    if given is None:
        return None
    if not isinstance(given, dict):
        raise errors.InvalidInput(reason='data.attributes must be a JSON object')
    if any(isinstance(value, (dict, list)) for value in given.values()):
        raise errors.InvalidInput(reason='data.attributes must be flat')
    return facts.flat_attributes(given, ignored)


def _text(data: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = data.get(name, default)
    if not isinstance(value, str):
        raise errors.InvalidInput(reason=f'data.{name} must be text')
    return value


def _bound(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    return None if value is None else _instant(f'data.{name}', value)


def _instant(name: str, value: Any) -> int:
    try:
        instant: datetime = timeframe.parse_exact(value)
    except errors.InvalidInput as exc:
        raise errors.InvalidInput(reason=f'{name}: {str(exc):.200}') from exc
    return facts.to_us(instant)
