"""What a pushed event states, and what is refused."""

from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core.metering import cloudevents, facts

EVENT = {
    'specversion': '1.0',
    'type': 'volume.size',
    'source': 'cinder',
    'id': 'e-1',
    'subject': 'volume-1',
    'time': '2026-11-29T12:42:07.581206Z',
    'data': {'scope_id': 'p1', 'quantity': 3, 'unit': 'GiB'},
}
AT = 1795956127581206


def event(data=None, **changes):
    return {**EVENT, **changes, 'data': {**EVENT['data'], **(data or {})}}


def states(form):
    """Return (kind, stage, at, quantity, born) of each fact."""
    return [
        (fact.kind, fact.stage, fact.at, fact.quantity, fact.born)
        for fact in cloudevents.read(form).facts
    ]


@pytest.mark.parametrize(
    'data, expected',
    [
        ({}, [('delta', facts.SAMPLE, AT, 3, None)]),
        ({'kind': 'gauge'}, [('gauge', facts.SAMPLE, AT, 3, None)]),
        ({'kind': 'cumulative'}, [('cumulative', facts.SAMPLE, AT, 3, None)]),
        ({'quantity': '0.1'}, [('delta', facts.SAMPLE, AT, Decimal('0.1'), None)]),
        ({'action': 'start'}, [('state', facts.BEGIN, AT, 3, None)]),
        ({'action': 'change', 'kind': 'state'}, [('state', facts.CHANGE, AT, 3, None)]),
        ({'action': 'stop'}, [('state', facts.END, AT, None, None)]),
        (
            {'action': 'seen', 'begin': '2026-11-29T12:42:07Z'},
            [('state', facts.SEEN, AT, 3, AT - 581206)],
        ),
        (
            {'begin': '2026-11-29T12:42:00Z', 'end': '2026-11-29T12:42:07Z'},
            [
                ('state', facts.BEGIN, AT - 7581206, 3, None),
                ('state', facts.END, AT - 581206, None, None),
            ],
        ),
    ],
    ids=str,
)
def test_forms(data, expected):
    """A quantity, a stage of a life, or a whole life."""
    assert states(event(data)) == expected


def test_what_adds_up_is_told_apart_by_its_id():
    """A level has one value at an instant, whoever says it."""
    tags = {
        kind: {cloudevents.read(event({'kind': kind}, id=name)).facts[0].tag for name in 'ab'}
        for kind in cloudevents.KINDS
    }

    assert {kind: len(found) for kind, found in tags.items()} == {
        'gauge': 1,
        'cumulative': 1,
        'delta': 2,
    }


def test_attributes_are_flat_text():
    """Ignored ones are left out, and none is not the same as not stated."""
    form = event({'attributes': {'size': 3, 'is_boot': True, 'name': 'ä', 'progress': 7}})
    read = cloudevents.read(form, frozenset({'progress'}))

    assert read.facts[0].attributes == {'size': '3', 'is_boot': 'true', 'name': 'ä'}
    assert cloudevents.read(EVENT).facts[0].attributes is None


def test_completeness_is_an_event():
    """A source says that it has sent all of a meter up to an instant."""
    form = {**EVENT, 'type': cloudevents.COMPLETE, 'data': {'meter': 'volume.size'}}

    read = cloudevents.read(form)
    assert (read.meter, read.until, read.facts) == ('volume.size', AT, ())
    form['data']['until'] = '2026-11-29T12:42:00Z'
    assert cloudevents.read(form).until == AT - 7581206


@pytest.mark.parametrize(
    'form, named',
    [
        ([], 'JSON object'),
        (event(specversion='0.3'), 'specversion'),
        ({key: value for key, value in EVENT.items() if key != 'time'}, 'time'),
        (event(time='now'), 'time'),
        (event(id=''), 'id'),
        (event(id='x' * 256), 'id'),
        (event(id='\ud800'), 'id'),
        (event(subject=None), 'subject'),
        (event(source='a\nb'), 'source'),
        (event(ckrevision=-1), 'ckrevision'),
        (event(ckrevision=True), 'ckrevision'),
        (event(ckrevision=2**40), 'ckrevision'),
        (event(**{'Bad-Name': 1}), 'Bad-Name'),
        ({**EVENT, 'data': 'text'}, 'data'),
        (event({'scope_id': None}), 'scope_id'),
        (event({'scope_id': ''}), 'scope_id'),
        (event({'quantity': True}), 'number'),
        (event({'quantity': None}), 'quantity'),
        (event({'quantity': 'NaN'}), 'finite'),
        (event({'quantity': '1e30'}), 'digits'),
        (event({'quantity': '1.' + '1' * 28}), 'digits'),
        (event({'quantity': -1, 'kind': 'cumulative'}), 'below 0'),
        (event({'kind': 'state'}), 'action'),
        (event({'kind': ['gauge']}), 'kind'),
        (event({'action': 'pause'}), 'action'),
        (event({'action': ['start']}), 'action'),
        (event({'action': 'start', 'kind': 'gauge'}), 'kind'),
        (event({'action': 'start', 'begin': '2026-11-29'}), 'begin'),
        (event({'begin': '2026-11-29T13:00:00Z', 'end': '2026-11-29T12:00:00Z'}), 'begin'),
        (event({'begin': '2026-11-29T13:00:00Z'}), 'begin'),
        (event({'action': 'seen', 'begin': '2026-11-30'}), 'begin'),
        (event({'attributes': []}), 'attributes'),
        (event({'attributes': {'a': {}}}), 'flat'),
        (event({'attributes': {str(number): 1 for number in range(65)}}), 'attributes'),
        (event({'attributes': {'a': 'x' * 17000}}), 'bytes'),
        (event({'attributes': {'a': '\0'}}), 'stored'),
        (event({'color': 'red'}), 'color'),
        (
            event(
                time='2999-12-31T23:59:59Z',
                ckextension={'a': {'b': {'c': {'d': {'e': {'f': {'g': 1}}}}}}},
            ),
            'levels',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_is_refused(form, named):
    """The reason names what is wrong."""
    with pytest.raises(errors.InvalidInput, match=named):
        cloudevents.read(form)


@pytest.mark.parametrize(
    'text, expected',
    [
        ('[]', []),
        (' [ 1 , {"a": 1.50} ]\n', ['1', '{"a": 1.50}']),
        ('["]", ","]', ['"]"', '","']),
    ],
)
def test_a_list_is_split_into_texts(text, expected):
    """Each value stays as it was written."""
    assert [raw for raw, _ in cloudevents.split(text)] == expected


@pytest.mark.parametrize('text', ['', '{}', '[1', '[1 2]', '[1,]', '[1] 2', '[NaN]', '[,]'])
def test_what_is_no_list(text):
    """Whatever is malformed."""
    with pytest.raises(ValueError):
        list(cloudevents.split(text))
