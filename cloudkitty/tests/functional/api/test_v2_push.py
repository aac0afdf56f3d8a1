"""POST /v2/dataframes: what cannot be stored is refused, what two callers push at once is kept."""

import json
import threading
from datetime import UTC, datetime

import pytest
import webob

from cloudkitty.api import app
from cloudkitty.conf.options import BODY_SIZE_MAX
from cloudkitty.storage.v2 import sql

PERIOD = {'begin': '2019-03-01T00:00:00', 'end': '2019-03-01T01:00:00'}
PAST = '0001-01-01T00:00:00'
FUTURE = '9999-12-31T23:00:00'


def _point(**changes):
    return {
        'vol': {'unit': 'EUR', 'qty': 1},
        'groupby': {'project_id': 'p1'},
        'metadata': {},
        **changes,
    }


def _push(application, frames, body=None):
    body = json.dumps({'dataframes': frames}) if body is None else body
    return webob.Request.blank(
        '/v2/dataframes', method='POST', body=body.encode(), content_type='application/json'
    ).get_response(application)


def _nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


BAD_POINTS = {
    'text': 'point',
    'null': None,
    'a number': 1,
    'nothing': {},
    'no volume': {'groupby': {}, 'metadata': {}},
    'no metadata': {'vol': {'unit': 'EUR', 'qty': 1}, 'groupby': {}},
    'another member': _point(description='text'),
    'another member of the volume': _point(vol={'unit': 'EUR', 'qty': 1, 'x': 1}),
    'another member of the rating': _point(rating={'price': 1, 'x': 1}),
    'unit': _point(vol={'unit': 1, 'qty': 1}),
    'long unit': _point(vol={'unit': 'x' * 256, 'qty': 1}),
    **{
        f'quantity {value!r:.20}': _point(vol={'unit': 'EUR', 'qty': value})
        for value in (
            'NaN',
            '-inf',
            'sNaN',
            'much',
            '',
            None,
            True,
            [0, [1], 0],
            {},
            10**27,
            '1e28',
            '9' * 30,
            '1e999999999999',
        )
    },
    'price': _point(rating={'price': 'Infinity'}),
    'wide price': _point(rating={'price': '1e20'}),
    'groupby': _point(groupby='project_id'),
    'groupby of numbers': _point(groupby=[[1, 2]]),
    'attribute without a name': _point(groupby={'': 1}),
    'attribute with a long name': _point(metadata={'x' * 256: 1}),
    'wide attribute': _point(metadata={'x': 2**64}),
    'deep attribute': _point(metadata={'x': _nested(300)}),
    'large attribute': _point(metadata={'x': "'" * 70000}),
    'long scope id': _point(groupby={'project_id': 'x' * 257}),
}


@pytest.mark.parametrize('name', BAD_POINTS)
def test_a_point_that_cannot_be_stored_is_refused_with_all_others(noauth, storage, name):
    frames = [
        {'period': PERIOD, 'usage': {'credit': [_point()]}},
        {'period': PERIOD, 'usage': {'credit': [_point(), BAD_POINTS[name]]}},
    ]

    answer = _push(noauth, frames)

    assert answer.status_int == 400, answer.text
    assert len(answer.json['message']) < 1000
    assert (
        storage.total(
            metric_types='credit',
            begin=datetime(2019, 1, 1, tzinfo=UTC),
            end=datetime(2020, 1, 1, tzinfo=UTC),
        )['results']
        == []
    )


@pytest.mark.parametrize(
    'frame',
    [
        None,
        'frame',
        [],
        {},
        {'period': PERIOD},
        {'usage': {}},
        {'period': PERIOD, 'usage': {}, 'x': 1},
        {'period': {**PERIOD, 'x': 1}, 'usage': {}},
        {'period': PERIOD, 'usage': []},
        {'period': PERIOD, 'usage': {'credit': 'points'}},
        {'period': PERIOD, 'usage': {'credit': {}}},
        {'period': PERIOD, 'usage': {'credit': None}},
        {'period': PERIOD, 'usage': {'': [_point()]}},
        {'period': PERIOD, 'usage': {'x' * 256: [_point()]}},
        {'period': {'begin': PERIOD['end'], 'end': PERIOD['begin']}, 'usage': {}},
        {'period': {'begin': 1551398400, 'end': PERIOD['end']}, 'usage': {}},
        {'period': {'begin': 'today', 'end': PERIOD['end']}, 'usage': {}},
        {'period': {'begin': PAST, 'end': PERIOD['end']}, 'usage': {}},
        {'period': {'begin': PERIOD['begin'], 'end': FUTURE}, 'usage': {}},
    ],
)
def test_a_frame_that_is_none_is_refused(noauth, frame):
    assert _push(noauth, [frame]).status_int == 400


@pytest.mark.parametrize(
    'body',
    [
        '',
        '{',
        'null',
        '[]',
        '{"dataframes": {}}',
        '{"dataframes": "x"}',
        '{"dataframes": null}',
        '{"dataframes": [], "x": 1}',
        '{"dataframes": [{"period": {"begin": "2019-01", "end": "2019-02"}, "usage": {"c": [{"vol":'
        ' {"unit": "x", "qty": NaN}, "groupby": {}, "metadata": {}}]}}]}',
    ],
)
def test_a_body_that_is_none_is_refused(noauth, body):
    assert _push(noauth, None, body).status_int == 400


def test_a_body_of_some_megabytes_is_taken(noauth):
    """The bound fits files of ten thousand points; it is an option."""
    points = [_point(metadata={'n': str(number), 'x': 'x' * 150}) for number in range(4000)]

    assert _push(noauth, [{'period': PERIOD, 'usage': {'credit': points}}]).status_int == 204
    too_large = _push(noauth, None, ' ' * (BODY_SIZE_MAX + 1))
    assert too_large.status_int == 413


@pytest.mark.timeout(120)
def test_what_is_pushed_at_once_is_all_kept(any_conf, any_database):
    """Callers that add points to the same, new period of new scopes at the same time."""
    any_conf.set_override('auth_strategy', 'noauth')
    callers = 4
    stores = [sql.SQLStorage(any_conf) for _ in range(callers)]
    barrier = threading.Barrier(callers)
    statuses = []

    def call(number):
        application = app.build(any_conf, database=stores[number].database, storage=stores[number])
        for turn in range(3):
            points = [
                _point(groupby={'project_id': f'p{scope}'}, metadata={'by': f'{number}-{turn}'})
                for scope in range(3)
            ]
            barrier.wait(60)
            statuses.append(
                _push(application, [{'period': PERIOD, 'usage': {'credit': points}}]).status_int
            )

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [204] * 3 * callers
    window = {'begin': datetime(2019, 3, 1, tzinfo=UTC), 'end': datetime(2019, 4, 1, tzinfo=UTC)}
    assert stores[0].retrieve(**window)['total'] == 9 * callers
    assert [row['qty'] for row in stores[0].total(groupby=['project_id'], **window)['results']] == [
        3 * callers
    ] * 3
    for store in stores:
        store.database.engine.dispose()
