"""What clients of the existing service send, and how one caller leaves room for others."""

import threading

import pytest

from cloudkitty.api.concurrency import CallLimiter
from cloudkitty.tests.functional.api import conftest, world

HASHMAP = '/v1/rating/module_config/hashmap'
JANUARY = 'begin=2019-01-01&end=2019-02-01'
SUMMARY = f'/v2/summary?{JANUARY}&custom_fields=MEDIAN(qty)'
CALLS = 32
DEADLINE_S = 30


@pytest.fixture(scope='module')
def made(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('clients'), sqlite_template) as opened:
        for scope_id, frame in conftest.frames():
            opened.storage.push([frame], scope_id)
        yield opened


@pytest.fixture(scope='module')
def application(made):
    return made.noauth()


@pytest.mark.parametrize('active', [0, 1, True, False])
def test_a_scope_is_switched_with_0_and_1_as_well(application, active):
    """When it is created, when it is changed, and when it is looked for."""
    new = {'scope_id': f'new-{active!r}', 'last_processed_timestamp': '2019-01-01'}
    created = world.call(application, '/v2/scope', 'POST', json={**new, 'active': active})
    path = f'/v2/scope?scope_id={new["scope_id"]}'

    assert created.json['active'] is bool(active)
    assert world.call(application, f'{path}&active={int(active)}').json['total'] == 1
    assert world.call(application, f'{path}&active={int(not active)}').status_int == 404
    changed = {'scope_id': new['scope_id'], 'active': int(not active)}
    assert world.call(application, '/v2/scope', 'PATCH', json=changed).json['active'] is not bool(
        active
    )


@pytest.mark.parametrize('active', [2, -1, '1', 'true', 0.0])
def test_a_scope_is_switched_with_nothing_else(application, active):
    body = {'scope_id': 'p9', 'last_processed_timestamp': '2019-01-01', 'active': active}

    assert world.call(application, '/v2/scope', 'POST', json=body).status_int == 400


@pytest.mark.parametrize(
    'unit, total', [('instance', 5), ('GiB', 0), ('GiB,unit:instance', 5), ('Instance', 0)]
)
def test_points_are_found_by_their_unit(application, unit, total):
    """Also where a unit has the name of a metric."""
    shown = world.call(application, f'/v2/summary?{JANUARY}&filters=unit:{unit}&groupby=unit')

    assert [row[4] for row in shown.json['results']] == ['instance'] * bool(total)
    if ',' not in unit:
        points = world.call(application, f'/v2/dataframes?{JANUARY}&filters=unit:{unit}')
        assert points.json.get('total', 0) == total


def test_a_cost_is_rounded_and_its_mapping_remembered_when_it_is_deleted(application):
    """The answer shows the cost that counts; a deleted mapping says so in a header."""
    service = world.call(application, f'{HASHMAP}/services', 'POST', json={'name': 'cpu'}).json
    body = {'service_id': service['service_id'], 'cost': '0.12345678901234567890123456785001'}
    mapping = world.call(application, f'{HASHMAP}/mappings', 'POST', json=body).json
    path = f'{HASHMAP}/mappings/{mapping["mapping_id"]}'

    assert mapping['cost'] == '0.1234567890123456789012345679'
    assert 'X-CloudKitty-Deleted' not in world.call(application, path).headers
    assert world.call(application, path, 'DELETE').status_int == 204
    assert world.call(application, path).headers['X-CloudKitty-Deleted'].startswith('20')


def test_slow_calls_of_a_project_leave_room_for_cheap_ones_and_for_others(made, monkeypatch):
    """One runs, and more of the same project are refused until it has ended."""
    monkeypatch.setattr(CallLimiter, 'wait_s', 0)
    application, total = made.noauth(), made.storage.total
    is_asked, may_answer = threading.Event(), threading.Event()

    def wait(**arguments):
        is_asked.set()
        assert may_answer.wait(DEADLINE_S)
        return total(**arguments)

    def ask(path, project):
        return world.call(application, path, X_Project_Id=project)

    monkeypatch.setattr(made.storage, 'total', wait)
    first = []
    running = threading.Thread(target=lambda: first.append(ask(SUMMARY, 'p1')))
    running.start()
    try:
        assert is_asked.wait(DEADLINE_S)
        refused = [ask(SUMMARY, 'p1') for _ in range(CALLS - 1)]
        cheap = [ask('/v1/rating/modules', project) for project in ('p1', 'p2')]
        other = ask(f'/v2/dataframes?{JANUARY}', 'p2')
    finally:
        may_answer.set()
        running.join()

    assert {answer.status_int for answer in refused} == {429}
    assert all(int(answer.headers['Retry-After']) > 0 for answer in refused)
    assert {answer.status_int for answer in [*cheap, other, *first]} == {200}
    assert ask(SUMMARY, 'p1').status_int == 200
