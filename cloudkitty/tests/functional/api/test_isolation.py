"""Whose data each reading route shows to whom, however it is asked.

Two projects have usage of the same hours, scopes, failures and tasks. A reader sees the own project
and nothing else, even where an operator lets readers use routes that are the administrator's.
"""

import re

import pytest

from cloudkitty.api import root
from cloudkitty.tests.functional.api import tenants, world
from cloudkitty.tests.functional.api.tenants import ALL, SECRET

JANUARY = 'begin=2019-01-01&end=2019-02-01'


def _caller(roles, **headers):
    return {'X_Roles': roles, 'X_User_Id': 'u', **headers}


READER = _caller('reader', X_Project_Id='p1')
OTHER = _caller('reader,member', X_Project_Id='p2')
STRANGER = _caller('reader', X_Project_Id='p3')
MEMBER = _caller('member', X_Project_Id='p1')
NO_PROJECT = _caller('reader')
ADMIN = _caller('admin,member,reader', X_Project_Id='office')
SYSTEM = _caller('admin,reader', OpenStack_System_Scope='all')
DOMAIN = _caller('admin,reader', X_Domain_Id='d')


def _frames(answer):
    return {
        point['groupby']['project_id']
        for frame in answer['dataframes']
        for points in frame['usage'].values()
        for point in points
    }


def _groups(answer):
    place = answer['columns'].index('project_id') if answer['columns'] else 0
    return {row[place] for row in answer['results']}


def _objects(answer):
    return {row['project_id'] for row in answer['results']}


def _rates(answer):
    """Return whose sum it is: each project has one of its own."""
    return {
        None: set(),
        0.6: {'p1'},
        1.0: {'p2'},
        1.6: ALL,
    }[round(sum(row[3] for row in answer['results']), 5) or None]


def _tenants(answer):
    return {item['tenant_id'] for item in answer['summary']}


def _total(answer):
    known = {'0': set(), '0.6': {'p1'}, '1.0000000000000000000000000002': {'p2'}}
    return known[answer] if answer in known else ALL


def _points(answer):
    assert all(
        frame['tenant_id'] == resource['desc']['project_id']
        for frame in answer['dataframes']
        for resource in frame['resources']
    )
    return {frame['tenant_id'] for frame in answer['dataframes']}


def _scopes(answer):
    return {row['scope_id'] for row in answer['results']}


def _lines(answer):
    return {line['scope_id'] for line in answer['lines']}


def _rules(answer):
    """Return whose rules they are; general ones are everybody's."""
    return {rule['tenant_id'] for rule in answer['results']} - {None}


def _accounts(answer):
    return {row['account_id'] for row in answer['results']}


# Path, and what reads from the answer whose data it is. A caller with one project sees that one,
# an administrator what is said here.
ROUTES = [
    (f'/v2/summary?{JANUARY}&groupby=project_id', _groups, ALL),
    (f'/v2/summary?{JANUARY}', _rates, ALL),
    (f'/v2/summary?{JANUARY}&groupby=project_id&groupby=time', _groups, ALL),
    (f'/v2/summary?{JANUARY}&groupby=type,project_id,id', _groups, ALL),
    (f'/v2/summary?{JANUARY}&groupby=project_id&filters=project_id:p2', _groups, {'p2'}),
    (f'/v2/summary?{JANUARY}&groupby=project_id&filters=project_id:p1,project_id:p2', _groups, ALL),
    (f'/v2/summary?{JANUARY}&groupby=project_id&filters=type:instance', _groups, ALL),
    (f'/v2/summary?{JANUARY}&groupby=project_id&filters=flavor_name:m1', _groups, ALL),
    (f'/v2/summary?{JANUARY}&groupby=project_id&response_format=object', _objects, ALL),
    (f'/v2/summary?{JANUARY}&custom_fields=SUM(qty)%20AS%20n,SUM(price)%20AS%20p', _rates, ALL),
    (f'/v2/dataframes?{JANUARY}', _frames, ALL),
    (f'/v2/dataframes?{JANUARY}&filters=project_id:p2', _frames, {'p2'}),
    (f'/v2/dataframes?{JANUARY}&filters=type:instance', _frames, ALL),
    ('/v2/scope', _scopes, ALL),
    ('/v2/scope?scope_id=p2', _scopes, {'p2'}),
    ('/v2/scope?scope_id=p2,p1&active=1&fetcher=keystone', _scopes, ALL),
    ('/v2/task/reprocesses', _scopes, ALL),
    ('/v2/task/reprocesses?scope_ids=p2', _scopes, {'p2'}),
    ('/v2/completeness?month=2019-01', _scopes, ALL),
    ('/v2/completeness?month=2019-01&scope_id=p2', _scopes, {'p2'}),
    ('/v2/statements/draft?account_id=both&month=2019-01', _lines, {*ALL, None}),
    ('/v2/statements/draft?scope_id=p2&month=2019-01', _lines, {*ALL, None}),
    ('/v2/statements', _accounts, ALL),
    ('/v2/statements?month=2018-11', _accounts, ALL),
    ('/v2/rating/rules', _rules, ALL),
    ('/v2/rating/rules?scope_id=p2', _rules, {'p2'}),
    (f'/v1/report/summary?{JANUARY}&groupby=tenant_id&tenant_id=', _tenants, set()),
    (f'/v1/report/summary?{JANUARY}&groupby=tenant_id,res_type', _tenants, set()),
    (f'/v1/report/total?{JANUARY}', _total, set()),
    (f'/v1/report/total?{JANUARY}&service=instance', lambda answer: answer, '0'),
    (f'/v1/report/tenants?{JANUARY}', set, ALL),
    (f'/v1/storage/dataframes?{JANUARY}', _points, ALL),
    (f'/v1/storage/dataframes?{JANUARY}&resource_type=instance', _points, ALL),
]
# The set-up of the operator and who changed it: no data of any project.
WITHOUT_USAGE = re.compile(
    '/|/v[12]|/(v[12]/(rating(?!/rules)|billing|collector|info|audit|me$)|openapi|health|m).*'
)
# v1 refuses what is not the caller's instead of leaving it out.
NAMED = [
    (f'/v1/report/summary?{JANUARY}&groupby=tenant_id', _tenants),
    (f'/v1/report/total?{JANUARY}', _total),
    (f'/v1/storage/dataframes?{JANUARY}', _points),
]
# Asked for by name, and found by nobody but its owner: the name stands in another attribute.
HIDDEN = [
    f'/v2/summary?{JANUARY}&filters=id:u2',
    f'/v2/summary?{JANUARY}&filters=PROJECT_ID:p2',
    f'/v2/dataframes?{JANUARY}&filters=id:u2',
]


@pytest.fixture(scope='module')
def application(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('isolation'), sqlite_template) as made:
        tenants.fill(made)
        yield made.behind_a_proxy(tenants.POLICY)


def _ask(application, path, caller):
    return world.call(application, path, **caller)


def test_every_route_that_shows_usage_is_asked():
    """A new one belongs into the table above."""
    described = {
        path
        for path, methods in root.RootController().description['paths'].items()
        if 'get' in methods and not WITHOUT_USAGE.fullmatch(path)
    }

    asked = {path.partition('?')[0] for path, _, _ in ROUTES}
    # The others are asked in test_explain.py and test_forecast.py.
    by_name = {
        '/v2/task/reprocesses/{scope_id}',
        '/v2/statements/{number}',
        '/v2/statements/{number}/files/{format}',
        '/v2/explain',
        # Of accounts: see test_billing.py.
        '/v2/statements/forecast',
        '/v2/statements/explain',
        '/v2/budgets',
        '/v2/budgets/{budget_id}',
        '/v2/webhooks',
        '/v2/explain/stored',
        '/v2/forecast',
    }
    # Usage that was pushed to the service itself: see test_meters.py, and test_samples.py for what
    # only operators see.
    metering = re.compile('/v2/(meters|resources|samples|usage)(/.*)?')
    assert {path for path in described if not metering.fullmatch(path)} == asked | by_name


@pytest.mark.parametrize('path, read, by_admin', ROUTES)
def test_an_administrator_sees_what_is_asked_for(application, path, read, by_admin):
    answer = _ask(application, path, ADMIN)

    assert answer.status_int == 200, answer.text
    assert read(answer.json) == by_admin


@pytest.mark.parametrize('path, read, _', [route for route in ROUTES if 'service=' not in route[0]])
def test_a_reader_sees_the_own_project_whatever_is_asked_for(application, path, read, _):
    for caller, project in ((READER, 'p1'), (OTHER, 'p2')):
        answer = _ask(application, path, caller)

        assert answer.status_int == 200, answer.text
        assert read(answer.json) == {project}


@pytest.mark.parametrize('path, read, _', ROUTES)
def test_a_project_without_data_sees_none(application, path, read, _):
    answer = _ask(application, path, STRANGER)

    if answer.status_int == 404:
        return
    assert answer.status_int == 200, answer.text
    assert not read(answer.json) or read(answer.json) == '0'


@pytest.mark.parametrize('path', [route[0] for route in ROUTES])
def test_others_see_nothing(application, path):
    """A member without the reader role, a token of the system or of a domain."""
    for caller in (MEMBER, SYSTEM, DOMAIN):
        assert _ask(application, path, caller).status_int == 403, caller


@pytest.mark.parametrize('path, read, _', ROUTES)
def test_a_caller_without_a_project_is_not_everybody(application, path, read, _):
    answer = _ask(application, path, NO_PROJECT)

    if answer.status_int in (403, 404):
        return
    assert answer.status_int == 200, answer.text
    assert not read(answer.json)


@pytest.mark.parametrize('path, read', NAMED)
def test_a_project_is_asked_for_by_its_name(application, path, read):
    for project in sorted(ALL):
        named = f'{path}&tenant_id={project}'
        assert read(_ask(application, named, ADMIN).json) == {project}
        for caller in (READER, OTHER):
            answer = _ask(application, named, caller)
            if caller['X_Project_Id'] == project:
                assert read(answer.json) == {project}
            else:
                assert answer.status_int == 403


@pytest.mark.parametrize('path, read', NAMED[:2])
def test_all_projects_are_the_administrators(application, path, read):
    """Whatever project is named beside."""
    for whose in ('', '&tenant_id=p1', '&tenant_id=p2'):
        path_of_all = f'{path}&all_tenants=true{whose}'
        assert read(_ask(application, path_of_all, ADMIN).json) == ALL
        for caller in (READER, OTHER, MEMBER, NO_PROJECT):
            assert _ask(application, path_of_all, caller).status_int == 403, whose


@pytest.mark.parametrize('path', HIDDEN)
def test_another_attribute_is_no_way_around(application, path):
    answer = _ask(application, path, READER)

    assert answer.status_int == 404 if '/dataframes' in path else answer.json['total'] == 0, (
        answer.text
    )


@pytest.mark.parametrize(
    'path, untold',
    [
        ('/v2/scope', 'Rating fails; the operator sees why.'),
        ('/v2/task/reprocesses', 'Rating fails; the operator sees why.'),
        ('/v2/completeness?month=2019-01', 'Rating fails; the operator sees why.'),
        # Rated, and to be rated again.
        ('/v2/completeness?month=2018-12', 'Periods are to be rated again.'),
    ],
)
def test_names_of_servers_are_the_administrators(application, path, untold):
    """A failure is told to everybody whose scope it is, its text only to the administrator."""
    assert SECRET in _ask(application, path, ADMIN).text
    told = _ask(application, path, READER).text
    assert SECRET not in told
    assert untold in told


def test_tasks_of_a_scope_are_found_by_its_path(application):
    """Those of another one are none."""
    for project in sorted(ALL):
        path = f'/v2/task/reprocesses/{project}'
        assert _scopes(_ask(application, path, ADMIN).json) == {project}
        for caller in (READER, OTHER, STRANGER, NO_PROJECT):
            answer = _ask(application, path, caller).json
            is_own = caller.get('X_Project_Id') == project
            assert (answer['total'], _scopes(answer)) == ((2, {project}) if is_own else (0, set()))


def test_nobody_is_priced_with_the_rules_of_another_project(application):
    """What a project pays is its own affair."""

    def quote(caller, *projects):
        resources = [
            {'service': 'cpu', 'volume': 1, 'desc': {'groupby': {'project_id': name}}}
            for name in projects
        ]
        return world.call(
            application, '/v1/rating/quote', 'POST', json={'resources': resources}, **caller
        ).status_int

    assert quote(READER, 'p1') == 200
    assert quote(READER, 'p2') == quote(READER, 'p1', 'p2') == quote(OTHER, 'p2', 'p1') == 403
    assert quote(NO_PROJECT, 'p1') == 403
    assert quote(ADMIN, 'p1', 'p2') == 200


def test_a_statement_is_found_by_its_number(application):
    """That of another project is none."""
    found = {
        row['account_id']: row['number']
        for row in _ask(application, '/v2/statements', ADMIN).json['results']
    }
    assert set(found) == ALL
    for project, number in found.items():
        path = f'/v2/statements/{number}'
        assert _lines(_ask(application, path, ADMIN).json) == {project}
        for caller in (READER, OTHER, STRANGER, NO_PROJECT):
            answer = _ask(application, path, caller)
            is_own = caller.get('X_Project_Id') == project
            assert answer.status_int == (200 if is_own else 404)
            assert is_own or project not in answer.text
            file = _ask(application, f'{path}/files/json', caller)
            assert file.status_int == (200 if is_own else 404)
            assert is_own or project not in file.text
        for caller in (MEMBER, SYSTEM, DOMAIN):
            assert _ask(application, path, caller).status_int == 403
