"""The Aetos collector, a real Keystone, and a proxy that is real or faulty."""

from datetime import timedelta

import pytest

from cloudkitty import errors
from cloudkitty.collector.aetos import AetosCollector
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import aetos as peer
from cloudkitty.tests import faults, history

METRICS = {'metrics': {'test_vcpus': {'unit': 'x', 'groupby': ['resource']}}}
NAMES = ('alpha', 'beta', 'nobody')
REGION = 'faulty'
EMPTY = {'status': 'success', 'data': {'resultType': 'matrix', 'result': []}}

pytestmark = pytest.mark.xdist_group('keystone')


@pytest.fixture
def server(keystone):
    """A proxy that misbehaves, in a region of its own."""
    with faults.FaultyServer(faults.as_json(EMPTY)) as faulty:
        keystone.announce(
            f'http://{faulty.address}', name='aetos', kind='metric-storage', region=REGION
        )
        yield faulty


@pytest.fixture
def faulty_driver(conf, keystone, server):
    conf.register_opts(AetosCollector.OPTS, AetosCollector.GROUP)
    conf.set_override('timeout', 1, AetosCollector.GROUP)
    return peer.build(conf, keystone, METRICS, region=REGION)


def collect(driver, periods=history.PERIODS, names=NAMES):
    return sorted(
        (scope_id, period, sorted(map(repr, points)))
        for scope_id, period, points in driver.collect('test_vcpus', periods, names)
    )


def test_a_backlog_is_one_request_with_a_token(faulty_driver, server):
    """Though the proxy has no range queries."""
    assert collect(faulty_driver) == []

    (request,) = server.requests
    assert (request.method, request.path) == ('GET', '/api/v1/query')
    assert request.headers['X-Auth-Token']
    assert request.parameters == {
        'query': '(max(max_over_time(test_vcpus{project_id=~"alpha|beta|nobody"}[3600s])) by '
        '(resource, project_id))[18001s:3600s]',
        'time': '2024-05-01T06:00:00+00:00',
    }


def test_many_scopes_are_asked_for_in_few_requests(faulty_driver, server):
    """As a URL takes: the proxy reads no body."""
    names = [f'{number:032x}' for number in range(200)]

    assert collect(faulty_driver, names=names) == []

    assert len(server.requests) == 3
    assert (
        sum(name in request.parameters['query'] for name in names for request in server.requests)
        == 200
    )


def test_many_metrics_are_looked_for_in_urls_that_servers_take(conf, keystone, server):
    """One of 4 KiB ends the connection, and it would look as if the source were away."""
    driver = peer.build(
        conf,
        keystone,
        {'metrics': {f'openstack_metric_{number}': {'unit': 'x'} for number in range(60)}},
        region=REGION,
    )
    server.answer = faults.empty

    driver.newest(list(driver.conf), since=history.BEGIN, now=history.PERIODS[-1].end)

    # Several metrics in each, and five looks, four times as far back each.
    assert 5 < len(server.requests) < 25
    assert max(len(request.query) for request in server.requests) < 3000


def test_periods_on_odd_minutes_are_asked_for_one_by_one(conf, keystone, aetos, prometheus):
    half = timedelta(minutes=30)
    periods = [Period(begin + half, end + half) for begin, end in history.PERIODS]

    found = collect(peer.build(conf, keystone, METRICS), periods)

    assert [(scope_id, period.begin.hour, len(points)) for scope_id, period, points in found] == [
        *[('alpha', hour, 2 if hour < 3 else 1) for hour in range(6)],
        *[('beta', hour, 1) for hour in range(6)],
    ]


@pytest.mark.parametrize(
    'answer',
    [
        faults.text('<html>Internal error</html>', status=500),
        faults.text('<html>'),
        faults.text('', status=404),
        faults.text('', status=403),
        faults.truncated,
        faults.reset,
        faults.as_json({'status': 'success'}),
        faults.as_json([]),
        faults.hang,
        faults.drip,
        faults.drip_head,
    ],
)
def test_garbage_is_no_word_of_the_source(faulty_driver, server, answer):
    server.answer = answer

    with pytest.raises(errors.SourceUnreachable, match="Collector 'aetos': metric-storage: "):
        collect(faulty_driver)


def test_a_refused_query_is_told_with_the_words_of_the_proxy(conf, keystone, aetos):
    wrong = {'metrics': {'test_vcpus': {'unit': 'x', 'extra_args': {'query_suffix': 'nonsense ('}}}}

    with pytest.raises(errors.CollectError, match='query refused, .*parse error') as caught:
        peer.build(conf, keystone, wrong).fetch_all('test_vcpus', *history.hour(0), 'alpha')

    assert not isinstance(caught.value, errors.SourceUnreachable)


def test_a_token_that_was_revoked_is_replaced(conf, keystone, server, faulty_driver):
    collect(faulty_driver)
    server.answer = faults.in_turn(faults.text('', status=401), faults.as_json(EMPTY))
    keystone.revoke(server.requests[0].headers['X-Auth-Token'])

    assert collect(faulty_driver) == []
    assert len({request.headers['X-Auth-Token'] for request in server.requests}) == 2


def test_a_wrong_password_is_told_and_not_shown(conf, keystone, caplog):
    peer.build(conf, keystone, METRICS)
    conf.set_override('password', 'sesame', AetosCollector.GROUP)
    driver = AetosCollector(period=3600, conf=METRICS, service_conf=conf)

    with pytest.raises(errors.SourceUnreachable, match='401') as caught:
        collect(driver)

    assert 'sesame' not in str(caught.value) + caplog.text


def test_an_endpoint_that_is_not_in_the_catalog_is_told(conf, keystone):
    with pytest.raises(errors.SourceUnreachable, match='metric-storage.*nowhere'):
        collect(peer.build(conf, keystone, METRICS, region='nowhere'))
