"""Which rule guards which route, and what the rules are by default.

Most rules have the same default, so that a route with the rule of another one looks right until an
operator changes one of them. Here one rule at a time is closed while all others are open.
"""

import re

import pytest

from cloudkitty import policies
from cloudkitty.api import root
from cloudkitty.tests.functional.api import conftest, world

ADMIN = 'role:admin'
READER_OR_ADMIN = 'rule:project_reader_or_admin'
MEMBER_OR_ADMIN = 'rule:project_member_or_admin'
CLOSED, OPEN = '!', '@'
OLD_CONFIG = '/v1/billing/module_config/'

# What operators' own rules are built on.
BASE = {
    'context_is_admin': 'role:admin',
    'admin_or_owner': 'is_admin:True or (role:admin and is_admin_project:True) or '
    'project_id:%(project_id)s',
    'default': '',
    'project_member_api': 'role:member and project_id:%(project_id)s',
    'project_reader_api': 'role:reader and project_id:%(project_id)s',
    'project_member_or_admin': 'rule:project_member_api or rule:context_is_admin',
    'project_reader_or_admin': 'rule:project_reader_api or rule:context_is_admin',
}
# By rule: the default, and the routes it guards; `*` stands for all that lies below.
RULES = {
    'audit:list': (ADMIN, ['GET /v2/audit']),
    'billing:get_document': (ADMIN, ['GET /v2/billing/document', 'GET /v2/billing/versions']),
    'billing:put_document': (ADMIN, ['PUT /v2/billing/document']),
    'billing:get_account': (
        READER_OR_ADMIN,
        ['GET /v2/billing/accounts', 'GET /v2/billing/accounts/x'],
    ),
    'billing:get_credits': (READER_OR_ADMIN, ['GET /v2/billing/accounts/x/credits']),
    'billing:manage_credits': (
        ADMIN,
        ['POST /v2/billing/accounts/x/credits', 'DELETE /v2/billing/accounts/x/credits/x'],
    ),
    'billing:preview': (ADMIN, ['POST /v2/billing/preview', 'POST /v2/whatif']),
    'budget:get': (READER_OR_ADMIN, ['GET /v2/budgets', 'GET /v2/budgets/x']),
    'budget:manage': (
        MEMBER_OR_ADMIN,
        ['POST /v2/budgets', 'PUT /v2/budgets/x', 'DELETE /v2/budgets/x'],
    ),
    'webhook:get': (READER_OR_ADMIN, ['GET /v2/webhooks']),
    'webhook:manage': (
        MEMBER_OR_ADMIN,
        ['POST /v2/webhooks', 'DELETE /v2/webhooks/x', 'POST /v2/webhooks/x/secret'],
    ),
    'statement:get': (
        READER_OR_ADMIN,
        [
            'GET /v2/statements',
            'GET /v2/statements/draft',
            'GET /v2/statements/forecast',
            'GET /v2/statements/explain',
            'GET /v2/statements/x',
            'GET /v2/statements/x/files/x',
        ],
    ),
    'statement:close': (ADMIN, ['POST /v2/statements']),
    'statement:void': (ADMIN, ['POST /v2/statements/x/void']),
    'collector:list_mappings': (ADMIN, ['GET /v1/collector/mappings']),
    'collector:get_mapping': (ADMIN, ['GET /v1/collector/mappings/x']),
    'collector:manage_mapping': (
        ADMIN,
        [
            'POST /v1/collector/mappings',
            'POST /v1/collector/mappings/x/x',
            'DELETE /v1/collector/mappings',
            'DELETE /v1/collector/mappings/x',
        ],
    ),
    'collector:get_state': (
        ADMIN,
        [
            'GET /v1/collector/states',
            'GET /v1/collector/states/x',
            'GET /v1/collector/x/states',
        ],
    ),
    'collector:update_state': (
        ADMIN,
        [
            'PUT /v1/collector/states',
            'PUT /v1/collector/states/x',
            'PUT /v1/collector/x/states',
        ],
    ),
    'completeness:get': (READER_OR_ADMIN, ['GET /v2/completeness']),
    'explain:get': (ADMIN, ['GET /v2/explain']),
    'explain:get_stored': (READER_OR_ADMIN, ['GET /v2/explain/stored']),
    'forecast:get': (READER_OR_ADMIN, ['GET /v2/forecast']),
    'info:list_metrics_info': ('', ['GET /v1/info/metrics', 'GET /v1/info/services']),
    'info:get_metric_info': ('', ['GET /v1/info/metrics/x', 'GET /v1/info/services/x']),
    # Two that nobody asks.
    'info:list_services_info': ('', []),
    'info:get_service_info': ('', []),
    'info:get_config': ('', ['GET /v1/info/config']),
    'me:get': ('', ['GET /v2/me']),
    'rating:list_modules': (ADMIN, ['GET /v1/rating/modules', 'GET /v1/billing/modules']),
    'rating:get_module': (ADMIN, ['GET /v1/rating/modules/x', 'GET /v1/billing/modules/x']),
    'rating:update_module': (
        ADMIN,
        [
            'PUT /v1/rating/modules',
            'PUT /v1/rating/modules/x',
            'PUT /v1/billing/modules',
            'PUT /v1/billing/modules/x',
        ],
    ),
    'rating:quote': ('', ['POST /v1/rating/quote', 'POST /v1/billing/quote']),
    'rating:module_config': (
        ADMIN,
        [
            'GET /v1/rating/reload_modules',
            'GET /v1/billing/reload_modules',
            *(
                f'{method} /v1/{name}/module_config/*'
                for method in ('GET', 'POST', 'PUT', 'DELETE')
                for name in ('rating', 'billing')
            ),
        ],
    ),
    'v2_rating:list_modules': (ADMIN, ['GET /v2/rating/modules']),
    'v2_rating:get_module': (ADMIN, ['GET /v2/rating/modules/x']),
    'v2_rating:list_rules': (READER_OR_ADMIN, ['GET /v2/rating/rules']),
    'v2_rating:preview': (ADMIN, ['POST /v2/rating/preview']),
    'v2_rating:update_module': (ADMIN, ['PUT /v2/rating/modules/x']),
    'report:list_tenants': (ADMIN, ['GET /v1/report/tenants']),
    'report:get_summary': (READER_OR_ADMIN, ['GET /v1/report/summary']),
    'report:get_total': (READER_OR_ADMIN, ['GET /v1/report/total']),
    'storage:list_data_frames': (READER_OR_ADMIN, ['GET /v1/storage/dataframes']),
    'dataframes:add': (ADMIN, ['POST /v2/dataframes']),
    'dataframes:delete': (ADMIN, ['DELETE /v2/dataframes']),
    'dataframes:get': (READER_OR_ADMIN, ['GET /v2/dataframes']),
    'scope:get_state': (ADMIN, ['GET /v2/scope']),
    'scope:reset_state': (ADMIN, ['PUT /v2/scope']),
    'scope:patch_state': (ADMIN, ['PATCH /v2/scope']),
    'scope:post_state': (ADMIN, ['POST /v2/scope']),
    'summary:get_summary': (READER_OR_ADMIN, ['GET /v2/summary']),
    'usage:push': (
        'rule:context_is_admin or role:metering',
        ['POST /v2/usage', 'POST /v2/samples', 'POST /v2/meters/x'],
    ),
    # Asked after usage:push: without it only the own project can be pushed.
    'usage:push_any_scope': (ADMIN, []),
    'usage:operate': (
        ADMIN,
        [
            'GET /v2/usage/rejects',
            'POST /v2/usage/rejects/x/retry',
            'GET /v2/usage/late',
            'GET /v2/usage/producers',
        ],
    ),
    'usage:delete': (ADMIN, ['DELETE /v2/usage']),
    'meters:get': (READER_OR_ADMIN, ['GET /v2/meters', 'GET /v2/meters/x/statistics']),
    'samples:get': (READER_OR_ADMIN, ['GET /v2/samples', 'GET /v2/samples/x']),
    'resources:get': (READER_OR_ADMIN, ['GET /v2/resources', 'GET /v2/resources/x']),
    'schedule:task_reprocesses': (ADMIN, ['POST /v2/task/reprocesses']),
    'schedule:get_task_reprocesses': (
        ADMIN,
        ['GET /v2/task/reprocesses', 'GET /v2/task/reprocesses/x'],
    ),
}
# Public, or with nothing to guard.
WITHOUT_RULE = {
    'GET /',
    'GET /v1',
    'GET /v2',
    'GET /openapi.json',
    'GET /healthcheck',
    'GET /metrics',
    'GET /v1/collector',
}
CALLER = {'X_Roles': 'auditor', 'X_Project_Id': 'p1', 'X_User_Id': 'u1'}
TARGETED = {
    'report:get_summary': '/v1/report/summary',
    'report:get_total': '/v1/report/total',
    'storage:list_data_frames': '/v1/storage/dataframes',
}
JANUARY = 'begin=2019-01-01&end=2019-02-01'


@pytest.fixture(scope='module')
def shared(tmp_path_factory, sqlite_template):
    """Usage of p1 and p2."""
    with world.opened(tmp_path_factory.mktemp('rules'), sqlite_template) as made:
        for scope_id, frame in conftest.frames():
            made.storage.push([frame], scope_id)
        yield made


@pytest.fixture(scope='module')
def routes():
    """Every route that the description names, each variable part written as x."""
    paths = root.RootController().description['paths']
    return sorted(
        f'{method.upper()} {re.sub(r"{[^}]*}", "x", path)}'
        for path, methods in paths.items()
        for method in methods
    )


def _answer(application, route):
    method, path = route.split(' ')
    body = None if method == 'GET' else {}
    return world.call(application, path, method, json=body, **CALLER)


def _policy(**changed):
    return dict.fromkeys(('context_is_admin', *RULES), OPEN) | changed


def _guarded(rule, routes):
    patterns = [re.escape(route).replace(r'\*', '.*') for route in RULES[rule][1]]
    return [route for route in routes if any(re.fullmatch(known, route) for known in patterns)]


def test_the_names_and_the_defaults_are_those_that_operators_know():
    rules = policies.list_rules()

    assert {rule.name: rule.check_str for rule in rules} == BASE | {
        name: default for name, (default, _) in RULES.items()
    }
    assert len(rules) == len(BASE) + len(RULES)


def test_a_token_of_a_project_is_needed_for_every_rule_of_a_route():
    """A token of the system or of a domain is none of those."""
    scopes = {rule.name: rule.scope_types for rule in policies.list_rules()}

    assert scopes == dict.fromkeys(BASE, None) | dict.fromkeys(RULES, ['project'])


def test_policy_files_of_earlier_releases_still_count():
    """One that sets admin_or_owner changes the rules that took its place."""
    old = {
        rule.name: rule.deprecated_rule.name
        for rule in policies.list_rules()
        if rule.deprecated_rule
    }

    assert old == {
        f'project_{who}': 'admin_or_owner'
        for who in ('member_api', 'reader_api', 'member_or_admin', 'reader_or_admin')
    }


def test_every_route_has_one_rule(routes):
    """Apart from those that need none."""
    guarded = [route for rule in RULES for route in _guarded(rule, routes)]

    assert sorted([*guarded, *WITHOUT_RULE]) == routes


@pytest.mark.parametrize('rule', RULES)
def test_a_closed_rule_closes_its_routes_and_no_other(shared, routes, rule):
    application = shared.behind_a_proxy(_policy(**{rule: CLOSED}))
    text = f"Policy doesn't allow {rule} to be performed."
    guarded = _guarded(rule, routes)
    # The same objects are below /v1/billing and below /v1/rating.
    asked = [route for route in routes if route in guarded or OLD_CONFIG not in route]

    answers = {route: _answer(application, route) for route in asked}

    closed = {route: answer for route, answer in answers.items() if answer.status_int == 403}
    assert sorted(closed) == guarded
    for route, answer in closed.items():
        assert answer.json == (
            {'message': text}
            if ' /v2' in route
            else {'faultcode': 'Client', 'faultstring': text, 'debuginfo': None}
        )
    # A HEAD is a GET without a body.
    for route in closed:
        method, path = route.split(' ')
        if method == 'GET':
            assert world.call(application, path, 'HEAD', **CALLER).status_int == 403, path


def test_what_the_sample_policy_says_of_a_rule_is_true(shared, routes):
    """Each operation that a rule names is refused once the rule is closed."""
    for rule in policies.list_rules():
        if not RULES.get(rule.name, (None, []))[1]:
            continue
        application = shared.behind_a_proxy(_policy(**{rule.name: CLOSED}))
        for operation in rule.operations:
            path = re.sub(r'{[^}]*}', 'x', operation['path'])
            answer = _answer(application, f'{operation["method"]} {path}')
            assert answer.status_int == 403, (rule.name, operation)


@pytest.mark.parametrize('rule', TARGETED)
def test_a_rule_that_looks_at_the_project_looks_at_the_one_asked_for(shared, rule):
    """Only the rule of the route counts, and all projects together are nobody's."""
    path = f'{TARGETED[rule]}?{JANUARY}'
    own_only = {rule: 'project_id:%(project_id)s', 'context_is_admin': CLOSED}
    application = shared.behind_a_proxy(_policy(**own_only))

    assert world.call(application, path, **CALLER).status_int == 200
    assert world.call(application, f'{path}&tenant_id=p1', **CALLER).status_int == 200
    for asked in ('tenant_id=p2', 'tenant_id=P1', 'tenant_id=None'):
        assert world.call(application, f'{path}&{asked}', **CALLER).status_int == 403, asked
    for other in TARGETED.keys() - {rule}:
        path = f'{TARGETED[other]}?{JANUARY}&tenant_id=p2'
        assert world.call(application, path, **CALLER).status_int == 200, other


@pytest.mark.parametrize('rule', ['report:get_summary', 'report:get_total'])
def test_all_projects_at_once_are_of_no_project(shared, rule):
    own_only = {rule: 'project_id:%(project_id)s', 'context_is_admin': CLOSED}
    application = shared.behind_a_proxy(_policy(**own_only))

    for whose in ('', '&tenant_id=p1'):
        path = f'{TARGETED[rule]}?{JANUARY}&all_tenants=true{whose}'
        assert world.call(application, path, **CALLER).status_int == 403, path


def test_a_caller_is_told_the_rules_that_let_them_pass(shared):
    """Those of a reader by default, in one list."""
    application = shared.behind_a_proxy({})

    answer = world.call(application, '/v2/me', X_Roles='reader', X_Project_Id='p1', X_User_Id='u1')

    assert answer.json['permissions'] == sorted(
        name for name, (default, _) in RULES.items() if default in ('', READER_OR_ADMIN)
    )
    assert answer.json['is_admin'] is False
