"""How much each question and each order may hold: the largest that is taken, and one more."""

import pytest

from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import conftest, world

HASHMAP = '/v1/rating/module_config/hashmap'
PERIOD = {'begin': '2019-03-01T00:00:00', 'end': '2019-03-01T01:00:00'}


@pytest.fixture(scope='module')
def application(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('limits'), sqlite_template) as opened:
        conftest.rate_as(opened.conf)
        with opened.database.writer() as connection:
            scope_state.record_seen(
                connection,
                scope_state.Identity.of(opened.conf),
                ['p1'],
                now=conftest.BEGIN,
                initial_mark=conftest.BEGIN,
                final_mark=conftest.BEGIN,
            )
        yield opened.noauth()


def _point(**changes):
    return {
        'vol': {'unit': 'u', 'qty': 1},
        'groupby': {'project_id': 'p1'},
        'metadata': {},
        **changes,
    }


def _push(application, period=PERIOD, metric='m', **changes):
    frame = {'period': period, 'usage': {metric: [_point(**changes)]}}
    body = {'dataframes': [frame]}
    return world.call(application, '/v2/dataframes', 'POST', json=body).status_int


EDGES = {
    'metric': (lambda size: {'metric': 'x' * size}, 255),
    'unit': (lambda size: {'vol': {'unit': 'x' * size, 'qty': 1}}, 255),
    'name': (lambda size: {'metadata': {'x' * size: 1}}, 255),
    'scope': (lambda size: {'groupby': {'project_id': 'x' * size}}, 256),
    'quantity': (lambda size: {'vol': {'unit': 'u', 'qty': '9' * size}}, 20),
    'price': (lambda size: {'rating': {'price': '-' + '9' * size}}, 20),
}


@pytest.mark.parametrize('name', EDGES)
def test_a_point_may_be_as_large_as_this_and_no_larger(application, name):
    changed, size = EDGES[name]

    assert _push(application, **changed(size)) == 204
    assert _push(application, **changed(size + 1)) == 400


def test_the_attributes_of_a_point_have_a_size(application):
    """The largest that is taken is found by halving, and is within a little of 64 KiB."""
    taken, refused = 1, 70_000
    while refused - taken > 1:
        size = (taken + refused) // 2
        if _push(application, metadata={'x': 'x' * size}) == 204:
            taken = size
        else:
            refused = size

    assert 65535 - 100 < taken < 65535


@pytest.mark.parametrize(
    'begin, end, status',
    [
        ('2019-03-01T00:00:00', '2019-03-01T00:00:01', 204),
        ('2019-03-01T00:00:00', '2019-03-01T00:00:00', 400),
        ('2019-03-01T01:00:00', '2019-03-01T00:00:00', 400),
        ('1970-01-01T00:00:00', '1970-01-01T01:00:00', 204),
        ('1969-12-31T23:59:59', '1970-01-01T01:00:00', 400),
        ('2999-12-31T22:59:59', '2999-12-31T23:59:59', 204),
        ('2999-12-31T23:00:00', '3000-01-01T00:00:00', 400),
        ('2019-03-01T02:00:00+02:00', '2019-03-01T00:00:01Z', 204),
    ],
)
def test_a_period_has_a_length(application, begin, end, status):
    assert _push(application, {'begin': begin, 'end': end}, metric='edge') == status


def _names(count):
    return [f'a{number}' for number in range(count)]


@pytest.mark.parametrize(
    'path, taken',
    [
        ('/v2/summary?groupby={0}', 32),
        ('/v2/summary?filters={0}', 32),
        ('/v2/dataframes?filters={0}', 32),
    ],
)
def test_a_question_names_at_most_so_many_attributes(application, path, taken):
    def ask(count):
        names = [name + ':1' * ('filters' in path) for name in _names(count)]
        return world.call(application, path.format(','.join(names))).status_int

    assert ask(taken) in (200, 404)
    assert ask(taken + 1) == 400


@pytest.mark.parametrize(
    'path, taken',
    [
        ('/v2/scope?scope_id={0}', 10_000),
        ('/v2/task/reprocesses?scope_ids={0}', 10_000),
        ('/v2/audit?object_id={0}', 10_000),
    ],
)
def test_a_question_has_at_most_so_many_values(application, path, taken):
    assert world.call(application, path.format(','.join('a' * taken))).status_int in (200, 404)
    assert world.call(application, path.format(','.join('a' * (taken + 1)))).status_int == 400


NEW = {'last_processed_timestamp': '2019-01-01'}
ORDER = {
    'scope_ids': 'p1',
    'start_reprocess_time': '2018-12-01',
    'end_reprocess_time': '2018-12-01',
}


@pytest.mark.parametrize(
    'path, body, name, size',
    [
        ('/v2/scope', NEW | {'scope_key': 'k'}, 'scope_id', 256),
        ('/v2/scope', NEW | {'scope_id': 'by-key'}, 'scope_key', 40),
        ('/v2/scope', NEW | {'scope_id': 'by-fetcher'}, 'fetcher', 40),
        ('/v2/scope', NEW | {'scope_id': 'by-collector'}, 'collector', 40),
        ('/v2/task/reprocesses', ORDER, 'reason', 10_000),
        (f'{HASHMAP}/groups', {}, 'name', 255),
        (f'{HASHMAP}/services', {}, 'name', 255),
    ],
)
def test_a_text_has_a_length(application, path, body, name, size):
    """Counted in characters, the longest that the tables of all databases hold."""
    long = world.call(application, path, 'POST', json={**body, name: 'ä' * (size + 1)})
    fitting = world.call(application, path, 'POST', json={**body, name: 'ä' * size})

    assert long.status_int == 400, long.text
    assert fitting.status_int in (200, 201, 202), fitting.text


@pytest.mark.parametrize('reason', ['', ' ', '\t\n', None, 5, ['a', 'b']])
def test_an_order_needs_a_reason(application, reason):
    answer = world.call(
        application, '/v2/task/reprocesses', 'POST', json={**ORDER, 'reason': reason}
    )

    assert answer.status_int == 400, answer.text


@pytest.mark.parametrize('chosen', [[], ['ALL', 'p1'], 'p1,ALL', ['nope'], ['p1', 'nope'], ''])
def test_an_order_names_its_scopes(application, chosen):
    body = {**ORDER, 'reason': 'r', 'scope_ids': chosen}

    answer = world.call(application, '/v2/task/reprocesses', 'POST', json=body)

    assert answer.status_int == 400, answer.text
