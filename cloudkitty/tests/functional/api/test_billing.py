"""Plans, accounts and drafts over HTTP."""

import sys
from datetime import UTC, datetime

import pytest

from cloudkitty.audit import trail
from cloudkitty.billing.documents import Documents
from cloudkitty.scopes import names
from cloudkitty.tests.functional.api import conftest, world

DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [
                {'name': 'vm', 'metric': 'instance', 'price': {'unit': '1.5'}},
                {'name': 'fee', 'price': {'flat': '5'}},
            ],
        }
    },
    'taxes': {'VAT': [{'from': '2018-01-01', 'rate': '20 %'}]},
    'accounts': {
        'acme': {
            'name': 'ACME',
            'scopes': ['p1', 'p2'],
            'plan': 'p',
            'owner': 'p1',
            'tax': {'standard': 'VAT'},
        }
    },
}
DRAFT = '/v2/statements/draft?account_id=acme&month=2019-01'


@pytest.fixture(scope='module')
def made(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('billing'), sqlite_template) as opened:
        for scope_id, frame in conftest.frames():
            opened.storage.push([frame], scope_id)
        opened.conf.set_override('enabled', True, 'billing')
        Documents(opened.database).apply(
            DOCUMENT, '2019-01', actor=trail.Actor('ann'), now=conftest.BEGIN
        )
        yield opened


@pytest.fixture(scope='module')
def admin(made):
    return made.noauth()


@pytest.fixture(scope='module')
def secured(made):
    application = made.behind_a_proxy({})
    made.conf.set_override('auth_strategy', 'noauth')
    return application


def caller(project, roles='reader'):
    return {'X_Roles': roles, 'X_User_Id': 'u', 'X_Project_Id': project}


def test_a_draft_says_what_is_owed_and_why(admin):
    answer = world.call(admin, DRAFT).json

    assert (answer['state'], answer['list'], answer['net'], answer['tax'], answer['total']) == (
        'draft',
        '1.6000000000000000000000000002',
        '14.10',
        '2.82',
        '16.92',
    )
    assert [(line['scope_id'], line['item'], line['amount']) for line in answer['lines']] == [
        ('p1', 'vm', '3.00'),
        ('p2', 'vm', '6.00'),
        (None, 'fee', '5.00'),
        ('p1', 'list', '0.10'),
    ]
    assert answer['lines'][0]['steps'] == [{'name': 'unit', 'operand': '6 x 1.5', 'result': '9'}]


def test_an_owner_sees_all_and_a_member_its_own(made, secured):
    made.conf.set_override('auth_strategy', 'keystone')
    owner, member, stranger = (
        world.call(secured, DRAFT, **caller(project)) for project in ('p1', 'p2', 'p3')
    )
    made.conf.set_override('auth_strategy', 'noauth')

    assert owner.json['total'] == '16.92'
    assert [line['scope_id'] for line in member.json['lines']] == ['p2']
    assert (member.json['net'], member.json['total'], member.json['taxes']) == ('6.00', None, [])
    assert stranger.status_int == 404
    assert 'acme' not in stranger.text


def test_accounts_are_those_of_the_caller(made, admin, secured):
    assert world.call(admin, '/v2/billing/accounts').json['total'] == 1
    made.conf.set_override('auth_strategy', 'keystone')
    found = {
        project: world.call(secured, '/v2/billing/accounts', **caller(project)).json['results']
        for project in ('p1', 'p2', 'p3')
    }
    single = world.call(secured, '/v2/billing/accounts/acme', **caller('p3'))
    made.conf.set_override('auth_strategy', 'noauth')

    assert [one['scopes'] for one in found['p1']] == [['p1', 'p2']]
    assert [one['scopes'] for one in found['p2']] == [['p2']]
    assert found['p3'] == []
    assert single.status_int == 404


def test_the_document_is_shown_as_it_was_applied(admin):
    versions = world.call(admin, '/v2/billing/versions').json
    shown = world.call(admin, '/v2/billing/document').json

    assert [(one['version'], one['from_month']) for one in versions['results']] == [(1, '2019-01')]
    assert shown == {'version': 1, 'document': DOCUMENT}
    earlier = world.call(admin, '/v2/billing/document?month=2018-12').json
    assert earlier == {'version': 0, 'document': {}}


def test_a_preview_changes_nothing(admin):
    """A month under other plans; numbers of JSON are exact."""
    other = {**DOCUMENT, 'taxes': {}, 'accounts': {'acme': {'scopes': ['p1'], 'plan': 'p'}}}
    body = {'account_id': 'acme', 'month': '2019-01', 'document': other}

    answer = world.call(admin, '/v2/billing/preview', 'POST', json=body)
    assert (answer.json['total'], answer.json['blockers']) == ('8.10', [])
    body['document'] = {'plans': {'p': {'coupon': 1.25, 'items': 7}}}
    answer = world.call(admin, '/v2/billing/preview', 'POST', json=body)
    assert answer.status_int == 400
    assert 'plans.p.items: must be a list' in answer.text
    assert world.call(admin, '/v2/billing/versions').json['total'] == 1


@pytest.mark.parametrize(
    'path, status',
    [
        ('/v2/statements/draft?month=2019-01', 400),
        ('/v2/statements/draft?month=2019-01&account_id=a&scope_id=b', 400),
        ('/v2/statements/draft?account_id=acme', 400),
        ('/v2/statements/draft?account_id=acme&month=2019-1', 400),
        ('/v2/statements/draft?account_id=acme&month=1066-01', 400),
        ('/v2/statements/draft?account_id=p1&month=2019-01', 404),
        ('/v2/billing/document?version=9', 404),
        ('/v2/billing/document?version=1&month=2019-01', 400),
    ],
)
def test_what_cannot_be_answered(admin, path, status):
    assert world.call(admin, path).status_int == status


def test_a_month_is_closed_and_opened_again(admin, made, secured):
    """Over HTTP, with the lines that a member may see."""
    answer = world.call(
        admin, '/v2/statements', 'POST', json={'account_id': 'acme', 'month': '2019-01'}
    )
    number = answer.json['number']
    path = f'/v2/statements/{number}'
    assert (answer.status_int, answer.json['total']) == (200, '16.92')
    assert world.call(admin, path).json == answer.json
    assert world.call(admin, DRAFT).status_int == 409
    [row] = world.call(admin, '/v2/statements?account_id=acme').json['results']
    assert (row['number'], row['state'], row['total']) == (number, 'closed', '16.92')
    assert world.call(admin, '/v2/statements?scope_id=p3').json['total'] == 0

    made.conf.set_override('auth_strategy', 'keystone')
    member = world.call(secured, path, **caller('p2')).json
    [seen] = world.call(secured, '/v2/statements', **caller('p2')).json['results']
    strange = world.call(secured, path, **caller('p3'))
    made.conf.set_override('auth_strategy', 'noauth')
    assert (member['net'], member['total'], seen['total']) == ('6.00', None, None)
    assert strange.status_int == 404

    back = world.call(admin, f'{path}/void', 'POST', json={'reason': 'wrong plan'}).json
    assert (back['state'], back['voids'], back['total']) == ('void', number, '-16.92')
    assert world.call(admin, DRAFT).json['total'] == '16.92'
    again = world.call(admin, f'{path}/void', 'POST', json={'reason': 'twice'})
    assert again.status_int == 409
    assert world.call(admin, '/v2/statements/CK-2026-999999').status_int == 404


def test_a_statement_as_a_file(admin, made, secured):
    """For the owner and an admin, with a tag that spares those who have it the rest."""
    world.call(admin, '/v2/statements', 'POST', json={'account_id': 'acme', 'month': '2019-03'})
    [row] = world.call(admin, '/v2/statements?month=2019-03').json['results']
    path = f'/v2/statements/{row["number"]}'
    made.conf.set_override('auth_strategy', 'keystone')
    asked = {
        project: {
            name: world.call(secured, f'{path}/files/{name}', **caller(project))
            for name in ('html', 'pdf', 'json')
        }
        for project in ('p1', 'p2', 'p3')
    }
    whole, share = (world.call(secured, path, **caller(project)) for project in ('p1', 'p2'))
    again = world.call(secured, path, If_None_Match=whole.headers['ETag'], **caller('p1'))
    stranger = world.call(secured, path, If_None_Match=whole.headers['ETag'], **caller('p3'))
    made.conf.set_override('auth_strategy', 'noauth')

    assert [answer.status_int for answer in asked['p1'].values()] == [200] * 3
    for project in ('p2', 'p3'):
        assert [answer.status_int for answer in asked[project].values()] == [404] * 3
    page = asked['p1']['html']
    assert (page.content_type, page.headers['X-Content-Type-Options']) == ('text/html', 'nosniff')
    assert page.headers['Content-Disposition'] == f'attachment; filename="{row["number"]}.html"'
    assert asked['p1']['pdf'].body.startswith(b'%PDF-')
    assert whole.headers['ETag'] == f'"{row["digest"]}"'
    assert (again.status_int, again.body) == (304, b'')
    assert (stranger.status_int, 'ETag' in stranger.headers) == (404, False)
    assert share.status_int == 404 or share.headers['ETag'] != whole.headers['ETag']
    german = world.call(admin, f'{path}/files/html?language=de')
    assert 'Gesamtbetrag' in german.text
    assert world.call(admin, f'{path}/files/html?language=de_').status_int == 400
    assert world.call(admin, f'{path}/files/focus').status_int == 404


@pytest.mark.parametrize(
    'name, module, missing',
    [('html', 'jinja2', 'Jinja2'), ('pdf', 'typst', 'typst'), ('html', 'babel', 'Babel')],
)
def test_a_format_that_is_not_installed_is_named(admin, monkeypatch, name, module, missing):
    """With what installs it; the service itself is not at fault."""
    world.call(admin, '/v2/statements', 'POST', json={'account_id': 'acme', 'month': '2019-03'})
    [row] = world.call(admin, '/v2/statements?month=2019-03').json['results']
    monkeypatch.setitem(sys.modules, module, None)

    answer = world.call(admin, f'/v2/statements/{row["number"]}/files/{name}')

    assert answer.status_int == 501
    assert f'{missing}: install the extra "documents"' in answer.json['message']


def test_billing_is_off_by_default(noauth):
    """Nothing of it is answered."""
    for path in (DRAFT, '/v2/billing/accounts', '/v2/billing/document', '/v2/billing/versions'):
        answer = world.call(noauth, path)
        assert answer.status_int == 404
        assert 'Billing is off' in answer.text


CREDITS = '/v2/billing/accounts/acme/credits'


def test_credits_over_http(made, admin, secured):
    """An admin grants, the owner reads, a member and others do not."""
    body = {'amount': 10.5, 'currency': 'EUR', 'until': '2030-01-01', 'note': 'welcome'}
    granted = world.call(admin, CREDITS, 'POST', json=body)

    assert granted.status_int == 200, granted.text
    assert (granted.json['amount'], granted.json['balance']) == ('10.5', '10.5')
    draft = world.call(admin, DRAFT).json
    assert (draft['total'], draft['drawn'], draft['due']) == ('16.92', '10.50', '6.42')
    made.conf.set_override('auth_strategy', 'keystone')
    owner, member = (world.call(secured, CREDITS, **caller(project)) for project in ('p1', 'p2'))
    refused = world.call(secured, CREDITS, 'POST', json=body, **caller('p1'))
    seen = world.call(secured, DRAFT, **caller('p2')).json
    made.conf.set_override('auth_strategy', 'noauth')
    assert [one['note'] for one in owner.json['results']] == ['welcome']
    assert (member.status_int, refused.status_int) == (404, 403)
    assert (seen['credits'], seen['drawn'], seen['due']) == ([], None, None)

    path = f'{CREDITS}/{granted.json["id"]}'
    assert world.call(admin, path, 'DELETE').status_int == 204
    assert world.call(admin, path, 'DELETE').status_int == 404
    for wrong in (
        {'amount': '-1'},
        {'currency': 'eur'},
        {'currency': 'EU1'},
        {'until': '2030-1-1'},
        {'priority': -1},
    ):
        answer = world.call(admin, CREDITS, 'POST', json=body | wrong)
        assert answer.status_int == 400, answer.text


def test_budgets_and_webhooks_belong_to_the_owner(made, secured):
    """A member of the account and others do not even learn that they exist."""
    made.conf.set_override('auth_strategy', 'keystone')

    def ask(project, path, method='GET', **body):
        extra = {'json': body} if method in ('POST', 'PUT') else {}
        return world.call(secured, path, method, **extra, **caller(project, 'reader,member'))

    try:
        budget = ask('p1', '/v2/budgets', 'POST', account_id='acme', amount=100)
        webhook = ask('p1', '/v2/webhooks', 'POST', account_id='acme', url='https://example.org/')
        assert (budget.status_int, webhook.status_int) == (200, 200), budget.text + webhook.text
        assert (budget.json['amount'], budget.json['thresholds']) == ('100', [50, 80, 100])
        assert webhook.json['secret'].startswith('whsec_')
        paths = [f'/v2/budgets/{budget.json["id"]}', '/v2/budgets?account_id=acme']
        paths.append('/v2/webhooks?account_id=acme')
        seen = [ask('p1', path) for path in paths]
        assert [one.status_int for one in seen] == [200] * 3
        assert webhook.json['secret'] not in ''.join(one.text for one in seen)
        for project in ('p2', 'p3'):
            for path in paths:
                assert ask(project, path).status_int == 404
            for path in (paths[0], f'/v2/webhooks/{webhook.json["id"]}'):
                assert ask(project, path, 'DELETE').status_int == 404
            for path in ('/v2/budgets', '/v2/webhooks'):
                refused = ask(project, path, 'POST', account_id='acme', amount=1, url='https://a')
                assert refused.status_int in (400, 404)
        changed = ask('p1', paths[0], 'PUT', amount='70.5', thresholds=[90])
        assert (changed.json['amount'], changed.json['thresholds']) == ('70.5', [90])
        assert ask('p1', paths[0]).json['alerts'] == []
        rotated = ask('p1', f'/v2/webhooks/{webhook.json["id"]}/secret', 'POST')
        assert rotated.json['secret'] != webhook.json['secret']
        reader = world.call(secured, paths[0], 'DELETE', **caller('p1'))
        assert reader.status_int == 403
        assert ask('p1', paths[0], 'DELETE').status_int == 204
        assert ask('p1', f'/v2/webhooks/{webhook.json["id"]}', 'DELETE').status_int == 204
    finally:
        made.conf.set_override('auth_strategy', 'noauth')


def test_a_forecast_is_of_the_current_month(made, admin, secured):
    now = datetime.now(UTC)
    path = '/v2/statements/forecast?account_id=acme&month='

    answer = world.call(admin, f'{path}{now:%Y-%m}')
    assert answer.status_int == 200, answer.text
    assert (answer.json['so_far'], answer.json['error']) == ('5', None)
    assert world.call(admin, f'{path}2019-01').status_int == 409
    made.conf.set_override('auth_strategy', 'keystone')
    member, stranger = (
        world.call(secured, f'{path}{now:%Y-%m}', **caller(project)) for project in ('p2', 'p3')
    )
    made.conf.set_override('auth_strategy', 'noauth')
    assert (member.json['so_far'], stranger.status_int) == ('0', 404)


EXPLAIN = '/v2/statements/explain?account_id=acme&month=2019-01&position='


def test_a_line_is_explained(made, admin, secured):
    """By the rule as it is written, and the usage; to a member, of its own lines."""
    answer = world.call(admin, f'{EXPLAIN}2')
    assert answer.status_int == 200, answer.text
    assert (answer.json['line']['scope_id'], answer.json['line']['amount']) == ('p2', '6.00')
    assert answer.json['item'] == DOCUMENT['plans']['p']['items'][0]
    assert (answer.json['current'], answer.json['others']) == (True, 0)
    assert {one['scope_id'] for one in answer.json['resources']} == {'p2'}
    # A fee, and what no item takes.
    assert world.call(admin, f'{EXPLAIN}3').json['resources'] == []
    assert world.call(admin, f'{EXPLAIN}4').json['item'] is None
    assert world.call(admin, f'{EXPLAIN}5').status_int == 404
    assert (
        world.call(admin, '/v2/statements/explain?number=x&month=2019-01&position=1').status_int
        == 400
    )

    made.conf.set_override('auth_strategy', 'keystone')
    member, beyond, stranger = (
        world.call(secured, f'{EXPLAIN}{position}', **caller(project))
        for project, position in (('p2', 1), ('p2', 2), ('p3', 1))
    )
    made.conf.set_override('auth_strategy', 'noauth')
    assert member.json['line']['scope_id'] == 'p2'
    assert (beyond.status_int, stranger.status_int) == (404, 404)


def test_names_are_frozen_in_closed_statements(made, admin, secured):
    """A new name is in the next draft; a member learns its own."""

    def rename(**found):
        made.database.write(
            lambda connection: names.record(connection, made.conf.fetcher.backend, found)
        )

    rename(p1='production', p2='test')
    draft = world.call(admin, DRAFT.replace('2019-01', '2018-12')).json
    assert draft['names'] == {}
    assert world.call(admin, DRAFT).json['names'] == {'p1': 'production', 'p2': 'test'}
    made.conf.set_override('auth_strategy', 'keystone')
    member = world.call(secured, DRAFT, **caller('p2')).json
    made.conf.set_override('auth_strategy', 'noauth')
    assert member['names'] == {'p2': 'test'}

    number = world.call(
        admin, '/v2/statements', 'POST', json={'account_id': 'acme', 'month': '2019-01'}
    ).json['number']
    path = f'/v2/statements/{number}'
    before = world.call(admin, f'{path}/files/json').body
    assert 'production (p1)' in world.call(admin, f'{path}/files/html').text
    rename(p1='renamed')
    assert world.call(admin, f'{path}/files/json').body == before
    assert world.call(admin, path).json['names']['p1'] == 'production'
    world.call(admin, f'{path}/void', 'POST', json={'reason': 'names'})
    assert world.call(admin, DRAFT).json['names']['p1'] == 'renamed'


def quote(application, path='', volume=2, **headers):
    resource = {
        'service': 'instance',
        'desc': {'groupby': {'project_id': 'p2'}},
        'volume': volume,
    }
    return world.call(
        application,
        f'/v1/rating/quote{path}',
        'POST',
        json={'resources': [resource]},
        **headers,
    )


def test_a_quote_by_the_plan_is_what_the_month_gets_dearer(made, admin, secured, noauth):
    """Of the account of the scope; without the plan it is the list price."""
    assert quote(admin).json == '0'
    assert (quote(admin, '?plan=1').json, quote(admin, '?plan=true', 7).json) == ('3', '10.5')

    nobody = {'resources': [{'service': 'instance', 'volume': 1}]}
    refused = world.call(admin, '/v1/rating/quote?plan=1', 'POST', json=nobody)
    assert (refused.status_int, 'project_id in desc.groupby' in refused.text) == (400, True)
    made.conf.set_override('auth_strategy', 'keystone')
    own, other = (quote(secured, '?plan=1', **caller(project)) for project in ('p2', 'p3'))
    made.conf.set_override('auth_strategy', 'noauth')
    assert (own.json, other.status_int) == ('3', 403)
    assert quote(noauth, '?plan=1').status_int == 404


DOCUMENT_PATH = '/v2/billing/document'


def test_a_document_is_applied_over_http(made, admin, secured):
    """If it is still that of which the differences were told; numbers are stored as text."""
    plan = {'currency': 'EUR', 'coupon': 1.25, 'items': [], 'minimum': 3}
    changed = {**DOCUMENT, 'plans': {**DOCUMENT['plans'], 'q': plan}}
    body = {'document': changed, 'from_month': '2031-02'}

    told = world.call(admin, f'{DOCUMENT_PATH}?dry_run=true', 'PUT', json=body)
    assert told.status_int == 200, told.text
    assert told.json['version'] == 1
    assert told.json['differences'] == [
        '+ plans.q: {"coupon":"1.25","currency":"EUR","items":[],"minimum":"3"}'
    ]
    made.conf.set_override('auth_strategy', 'keystone')
    refused = world.call(secured, DOCUMENT_PATH, 'PUT', json=body, **caller('p1', 'member,reader'))
    made.conf.set_override('auth_strategy', 'noauth')
    assert refused.status_int == 403
    applied = world.call(admin, DOCUMENT_PATH, 'PUT', json=body | {'digest': told.json['digest']})
    assert (applied.json['version'], applied.json['from_month']) == (2, '2031-02')
    assert applied.json['differences'] == told.json['differences']

    stale = world.call(admin, DOCUMENT_PATH, 'PUT', json=body | {'digest': told.json['digest']})
    assert stale.status_int == 409
    assert world.call(admin, '/v2/billing/versions').json['total'] == 2
    kept = world.call(admin, DOCUMENT_PATH).json['document']
    assert kept['plans']['q'] == {**plan, 'coupon': '1.25', 'minimum': '3'}
    for wrong in ({'document': {'plan': {}}}, {'from_month': '2031-13'}, {'digest': 'x'}):
        answer = world.call(admin, DOCUMENT_PATH, 'PUT', json=body | wrong)
        assert answer.status_int == 400, answer.text
