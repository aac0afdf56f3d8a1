"""The API while the database does not answer, or its connections die."""

import pytest
import sqlalchemy as sa
import webob

from cloudkitty import db
from cloudkitty.api import app
from cloudkitty.tests import conftest, services
from cloudkitty.tests.functional.api.described import Described

PATHS = ('/v2/scope', '/v1/rating/modules', '/v2/rating/modules', '/v1/report/total', '/v2/summary')
KILLS = {
    'postgresql': 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
    'WHERE datname = current_database() AND pid <> pg_backend_pid()',
    'mariadb': 'SELECT id FROM information_schema.processlist '
    'WHERE db = database() AND id <> connection_id()',
}


@pytest.fixture(params=KILLS)
def conf(request, conf, server_schemas):
    """The configuration, once with each kind of server."""
    with conftest.on_schema(request.param, conf, server_schemas) as configured:
        yield configured


def _call(application, path, method='GET'):
    return webob.Request.blank(path, method=method).get_response(application)


def _kill_sessions(conf):
    """End all sessions of the database, as an operator or a failover does."""
    engine = sa.create_engine(conf.database.connection)
    kind = 'postgresql' if engine.dialect.name == 'postgresql' else 'mariadb'
    with engine.connect() as connection:
        found = connection.execute(sa.text(KILLS[kind])).scalars().all()
        if kind == 'mariadb':
            for number in found:
                connection.execute(sa.text(f'KILL {int(number)}'))
    engine.dispose()


def test_a_question_that_meets_a_dead_connection_is_asked_again(noauth, conf):
    for path in PATHS:
        assert _call(noauth, path).status_int == 200
        _kill_sessions(conf)
        assert _call(noauth, path).status_int == 200, path


def test_without_a_database_the_answer_is_503(conf, noauth):
    """It says when to ask again, and the health check says it too."""
    url = sa.make_url(conf.database.connection).set(port=services.free_port())
    conf.set_override('connection', url.render_as_string(hide_password=False), 'database')
    application = Described(app.build(conf, database=db.Database(conf), storage=None))

    for path, name in (('/v2/scope', 'message'), ('/v1/rating/modules', 'faultstring')):
        answer = _call(application, path)
        assert answer.status_int == 503
        assert int(answer.headers['Retry-After']) > 0
        assert answer.json[name] == 'The database does not answer; try again later.'
    assert _call(noauth, '/healthcheck').status_int == 200
    assert _call(application, '/healthcheck').status_int == 503
