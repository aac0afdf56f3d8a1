"""Samples are pushed as Ceilometer sends them; operators see what was refused."""

import base64
import json
from datetime import UTC, datetime, timedelta

import bcrypt
import pytest
import webob

from cloudkitty import errors
from cloudkitty.api import basic_auth
from cloudkitty.core.metering import facts, message, signature
from cloudkitty.db import usage_tables
from cloudkitty.tests import samples, usage
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.functional.api.test_usage import ADMIN, METERING
from cloudkitty.usage import rejects

SECRET = 'a-secret-of-this-test'


@pytest.fixture
def secured(tmp_path, sqlite_template):
    """A world whose application believes identity headers."""
    with world.opened(tmp_path, sqlite_template) as made:
        made.application = made.behind_a_proxy({})
        yield made


def recent(seconds=60):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def http_sample(**changes):
    """Return a sample as the http publisher sends it, of now."""
    (sent,) = json.loads(samples.read('ceilometer-http-publisher')['samples'][0]['body'])
    return {**sent, 'timestamp': recent(), 'project_id': 'p1', **changes}


def post(application, path, body, caller=ADMIN):
    request = webob.Request.blank(path, method='POST')
    request.headers.update({name.replace('_', '-'): value for name, value in caller.items()})
    request.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.content_type = 'application/json'
    return request.get_response(application)


def get(application, path, caller=ADMIN):
    request = webob.Request.blank(path)
    request.headers.update({name.replace('_', '-'): value for name, value in caller.items()})
    return request.get_response(application)


def counted(answer):
    form = answer.json
    return form['accepted'], form['duplicates'], len(form['rejected'])


def test_what_the_http_publisher_sends_is_stored_as_it_came(secured):
    sent = [http_sample(), http_sample(resource_id='r2')]

    assert counted(post(secured.application, '/v2/samples', sent)) == (2, 0, 0)
    assert counted(post(secured.application, '/v2/samples', sent)) == (0, 2, 0)

    found = get(secured.application, '/v2/samples').json['samples']
    shown = get(secured.application, f'/v2/samples/{found[0]["id"]}').json
    assert json.loads(shown['message']) in sent
    assert (shown['path'], shown['trust'], shown['verified']) == ('http', 'api', 'unsigned')


def test_the_same_sample_over_the_bus_and_over_http_is_one(secured):
    """So a site may try both at once."""
    form = message.normal(http_sample())

    assert counted(post(secured.application, '/v2/samples', form)) == (1, 0, 0)
    signed = {**form, 'message_id': 'x', signature.KEY: signature.sign(form, SECRET)}
    assert counted(post(secured.application, '/v2/samples', signed)) == (0, 1, 0)


def test_a_member_pushes_only_its_own_project_under_its_own_name(secured):
    own, other = http_sample(), http_sample(project_id='p2')

    assert counted(post(secured.application, '/v2/samples', [own, other], METERING)) == (1, 0, 1)
    assert post(secured.application, '/v2/samples', other, METERING).status_int == 400
    reader = {**METERING, 'X_Roles': 'reader'}
    assert post(secured.application, '/v2/samples', own, reader).status_int == 403
    sources = usage.rows(secured.database, usage_tables.series, 'source', 'scope_id')
    assert sources == [('p1:openstack', 'p1')]
    assert usage.rows(secured.database, usage_tables.rejects, 'reason') == []


def test_a_member_cannot_speak_for_an_agent(secured):
    form = {**message.normal(http_sample()), 'counter_name': 'cloudkitty.beacon'}

    assert post(secured.application, '/v2/samples', form, METERING).status_int == 400
    assert usage.rows(secured.database, usage_tables.producers, 'source') == []


@pytest.mark.parametrize(
    'body',
    [b'', b'{', b'\xff', b'[]', b'[NaN]', b'5', b'[' * 5000, b'[{}' + b',{}' * 1000 + b']'],
)
def test_bodies_that_are_refused(secured, body):
    assert post(secured.application, '/v2/samples', body).status_int == 400


def old_sample(**changes):
    return {
        'counter_name': 'apples',
        'counter_type': 'delta',
        'counter_unit': 'apple',
        'counter_volume': 3,
        'resource_id': 'tree',
        'project_id': 'p1',
        'timestamp': '2026-11-29T12:00:00',
        **changes,
    }


def test_old_scripts_push_samples_of_a_meter(secured):
    """A retry does not double them."""
    body = [old_sample(timestamp=recent(), project_id=None)]
    del body[0]['project_id']

    for expected in (1, 0, 0), (0, 1, 0):
        assert counted(post(secured.application, '/v2/meters/apples', body, METERING)) == expected

    assert usage.rows(secured.database, usage_tables.series, 'scope_id', 'meter') == [
        ('p1', 'apples')
    ]


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'message_id': 'x'}, 'message_id must not be given'),
        ({'timestamp': None}, 'timestamp is missing'),
        ({'counter_name': 'pears'}, "counter_name must be 'apples'"),
        ({'more': 1}, 'unknown keys'),
        ({'counter_volume': 'many'}, 'not a number'),
    ],
)
def test_old_samples_that_are_refused(secured, change, reason):
    answer = post(secured.application, '/v2/meters/apples', [old_sample(**change)])

    assert answer.status_int == 400
    assert reason in answer.text


class TestBasicAuthentication:
    """Of publishers that know no Keystone."""

    @pytest.fixture
    def users(self, tmp_path):
        path = tmp_path / 'users'
        hashed = bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()
        path.write_text(f'ceilometer:{hashed}\n')
        return path

    @pytest.fixture
    def application(self, secured, users, conf):
        conf.set_override('http_users_file', str(users), 'metering')

        def refuse(environ, start_response):
            return webob.Response(status=401)(environ, start_response)

        # What is not let past goes to the token check.
        return basic_auth.BasicAuth(secured.application, refuse, conf)

    @staticmethod
    def credentials(user='ceilometer', password='right', **more):
        token = base64.b64encode(f'{user}:{password}'.encode()).decode()
        return {'Authorization': f'Basic {token}', **more}

    def test_a_publisher_pushes_every_scope_and_reads_nothing(self, application, secured):
        sent = [http_sample(), http_sample(project_id='p2')]
        caller = self.credentials()

        assert counted(post(application, '/v2/samples', sent, caller)) == (2, 0, 0)
        assert get(application, '/v2/samples', caller).status_int == 401
        assert get(application, '/v2/scope', caller).status_int == 401
        assert post(application, '/v2/meters/x', [old_sample()], caller).status_int == 401
        trust = usage.rows(secured.database, usage_tables.batches, 'publisher', 'trust')
        assert trust == [('ceilometer', 'password')]

    @pytest.mark.parametrize(
        'caller',
        [
            credentials(password='wrong'),
            credentials(user='nobody'),
            credentials(user=''),
            credentials(password='x' * 2000),
            {'Authorization': 'Basic ???'},
            {'Authorization': 'Basic '},
        ],
    )
    def test_nobody_else_does(self, application, secured, caller):
        answer = post(application, '/v2/samples', http_sample(), caller)

        assert answer.status_int == 401
        assert answer.headers['WWW-Authenticate'].startswith('Basic')
        assert usage.rows(secured.database, usage_tables.samples, 'at') == []

    def test_headers_of_an_identity_count_nothing(self, application):
        """Otherwise whoever knows a password could be the administrator."""
        caller = self.credentials(X_Roles='admin', X_Project_Id='p2', X_User_Id='root')
        seen = {}

        def look(environ, start_response):
            seen.update(environ)
            return webob.Response()(environ, start_response)

        application._application = look
        post(application, '/v2/samples', http_sample(), caller)

        assert seen['HTTP_X_ROLES'] == 'metering'
        assert 'HTTP_X_PROJECT_ID' not in seen
        assert 'HTTP_X_USER_ID' not in seen

    def test_a_password_that_was_changed_is_refused_at_once(self, application, users):
        assert post(application, '/v2/samples', http_sample(), self.credentials()).status_int == 200

        users.write_text('')

        assert post(application, '/v2/samples', http_sample(), self.credentials()).status_int == 401

    def test_a_file_that_is_missing_stops_the_start(self, conf, tmp_path):
        conf.set_override('http_users_file', str(tmp_path / 'none'), 'metering')

        with pytest.raises(errors.ConfigurationError, match='http_users_file'):
            basic_auth.BasicAuth(None, None, conf)


class TestOperators:
    """What only administrators see."""

    def refuse(self, secured, form):
        now_us = facts.to_us(datetime.now(UTC))
        with secured.database.writer() as connection:
            rejects.record(
                connection,
                [(json.dumps(form), 'untrusted: no known secret has signed this')],
                path='bus',
                publisher='telemetry',
                now_us=now_us,
            )

    def listed(self, secured, name):
        return get(secured.application, f'/v2/usage/{name}').json

    def test_a_reject_is_taken_again_once_its_secret_is_known(self, secured):
        unsigned = {**message.normal(http_sample()), 'message_id': 'x'}
        form = {**unsigned, signature.KEY: signature.sign(unsigned, SECRET)}
        self.refuse(secured, form)
        (one,) = self.listed(secured, 'rejects')['rejects']
        assert json.loads(one['body']) == form
        path = f'/v2/usage/rejects/{one["id"]}/retry'
        assert post(secured.application, path, b'').status_int == 409

        secured.conf.set_override('secrets', [SECRET], 'metering')
        application = secured.behind_a_proxy({})

        assert post(application, path, b'').json['accepted'] == 1
        assert self.listed(secured, 'rejects') == {'total': 0, 'rejects': []}
        assert post(application, path, b'').status_int == 404
        (sample,) = get(application, '/v2/samples').json['samples']
        assert get(application, f'/v2/samples/{sample["id"]}').json['verified'] == 'true'
        secured.conf.clear_override('secrets', 'metering')
        gone = secured.behind_a_proxy({})
        assert get(gone, f'/v2/samples/{sample["id"]}').json['verified'] == 'key gone'

    @pytest.mark.parametrize('reject_id', ['zz', 'ab', '00' * 16])
    def test_a_reject_that_is_not_there(self, secured, reject_id):
        path = f'/v2/usage/rejects/{reject_id}/retry'

        assert post(secured.application, path, b'').status_int == 404

    def test_late_usage_and_producers(self, secured):
        late = http_sample(timestamp=recent(3 * 86400))
        assert post(secured.application, '/v2/samples', [late]).json['late'] == 1

        (row,) = self.listed(secured, 'late')['late']
        assert row['scope_id'] == 'p1'
        assert self.listed(secured, 'producers') == {'total': 0, 'producers': []}

    @pytest.mark.parametrize('name', ['rejects', 'late', 'producers'])
    def test_others_see_none_of_it(self, secured, name):
        for roles in 'metering', 'reader', 'member':
            answer = get(secured.application, f'/v2/usage/{name}', {**METERING, 'X_Roles': roles})

            assert answer.status_int == 403
