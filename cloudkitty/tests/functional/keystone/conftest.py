"""A real Keystone and our API behind it, started once."""

import pathlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
import requests

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api.conftest import IDENTITY, METRICS
from cloudkitty.tests.keystone import Keystone
from cloudkitty.tests.rating_api import RatingApi

HERE = pathlib.Path(__file__).parent
HOUR = timedelta(hours=1)
BEGIN = datetime(2019, 1, 1, tzinfo=UTC)


def pytest_collection_modifyitems(items):
    """Keep these tests on one worker: the start takes longer than they do."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group('keystone'))


class Cloud(NamedTuple):
    """What runs.

    Rated are two hours: 0.25 an hour for an instance of alpha and 0.1 once for its address; 0.75
    an hour for an instance of beta. Project gamma has nothing.
    """

    keystone: Keystone
    api: RatingApi

    def get(self, path: str, token: str | None = None, **arguments) -> requests.Response:
        """Return the answer of the API; without a token, none is sent."""
        headers = {'X-Auth-Token': token} if token is not None else {}
        return requests.get(
            self.api.url + path,
            timeout=30,
            headers={**headers, **arguments.pop('headers', {})},
            **arguments,
        )


def _frames(alpha, beta):
    for hour in range(2):
        begin = BEGIN + hour * HOUR
        usage = {'instance': [_point(alpha, '0.25', id='u1')]}
        if hour == 0:
            usage['ip'] = [_point(alpha, '0.1', id='a1')]
        yield alpha, DataFrame(begin, begin + HOUR, usage)
        yield beta, DataFrame(begin, begin + HOUR, {'instance': [_point(beta, '0.75', id='u2')]})


def _point(project_id, price, **groupby):
    return DataPoint(
        'unit', '1', price, {'project_id': project_id, **groupby}, {'flavor_name': 'm1'}
    )


def _fill(storage, *projects):
    for scope_id, frame in _frames(*projects):
        storage.push([frame], scope_id)
    with storage.database.writer() as connection:
        scope_state.record_seen(
            connection,
            IDENTITY,
            projects,
            now=BEGIN,
            initial_mark=BEGIN + 2 * HOUR,
            final_mark=BEGIN + 2 * HOUR,
        )
    storage.database.engine.dispose()


@pytest.fixture(scope='session')
def cloud(tmp_path_factory, keystone):
    """The services, see Cloud; users are those of tests/keystone.py."""
    server = RatingApi(tmp_path_factory.mktemp('api'), keystone=keystone, metrics=METRICS)
    server.port = keystone.page_port
    with server as api:
        _fill(api.open_storage(), *map(keystone.project_id, ('alpha', 'beta')))
        yield Cloud(keystone, api)
