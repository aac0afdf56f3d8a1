"""The Prometheus drivers and a real server, which may go away or want credentials."""

import pytest
import trustme

from cloudkitty import errors
from cloudkitty.collector.prometheus import PrometheusCollector
from cloudkitty.fetcher.prometheus import PrometheusFetcher
from cloudkitty.tests import history, metric_stores, services

NAMES = ('alpha', 'beta', 'nobody')


def build(conf, server, *, timeout=60, name='test_vcpus', **definition):
    """Return a collector of one metric."""
    conf.register_opts(PrometheusCollector.OPTS, PrometheusCollector.GROUP)
    conf.set_override('prometheus_url', server.url, PrometheusCollector.GROUP)
    conf.set_override('timeout', timeout, PrometheusCollector.GROUP)
    return PrometheusCollector(
        period=3600,
        service_conf=conf,
        conf={'metrics': {name: {'unit': 'x', 'groupby': ['resource'], **definition}}},
    )


@pytest.mark.parametrize(
    'prefix, suffix',
    [
        ('', '* 2'),
        ('1 <', ''),
        ('', '>= bool 2'),
        ('clamp_max(', ', 3)'),
        ('topk(1, ', ')'),
        ('max(', ')'),
        ('', 'or vector(7)'),
        ('', '* on (resource) group_left (flavor) test_vcpus offset 5m'),
        ('label_replace(', ', "project_id", "beta", "", "")'),
        ('count_values("project_id", ', ')'),
        ('', '* scalar(max(test_vcpus @ end()))'),
    ],
)
def test_a_prefix_or_suffix_does_not_mix_scopes(conf, prometheus, prefix, suffix):
    """A batch gives what asking for each scope gives, also where labels are lost or changed."""
    driver = build(conf, prometheus, extra_args={'query_prefix': prefix, 'query_suffix': suffix})
    single = {
        (scope_id, period): sorted(map(repr, points))
        for scope_id in NAMES
        for period in history.PERIODS
        if (points := driver.fetch_all('test_vcpus', *period, scope_id))
    }

    found = driver.collect('test_vcpus', history.PERIODS, NAMES)

    assert single
    assert single == {
        (scope_id, period): sorted(map(repr, points)) for scope_id, period, points in found
    }


@pytest.mark.parametrize(
    'function, expected',
    [
        ('rate', ['0.25', '0.25']),
        ('delta', ['900', '900']),
        ('changes', ['60', '60']),
        ('deriv', None),
        ('idelta', ['15', '15']),
        ('irate', ['0.25', '0.25']),
    ],
)
def test_every_range_function_is_one_of_prometheus(conf, prometheus, function, expected):
    driver = build(
        conf, prometheus, name='test_cpu_seconds_total', extra_args={'range_function': function}
    )

    found = [
        points[0].qty
        for _, _, points in driver.collect('test_cpu_seconds_total', history.PERIODS[:2], ['beta'])
    ]

    assert len(found) == 2
    assert expected is None or list(map(str, found)) == expected


@pytest.mark.parametrize(
    'function', ['abs', 'ceil', 'exp', 'floor', 'ln', 'log2', 'log10', 'round', 'sqrt']
)
@pytest.mark.parametrize('method', ['avg', 'count', 'max', 'min', 'stddev', 'stdvar', 'sum'])
def test_every_function_is_one_of_prometheus(conf, prometheus, function, method):
    driver = build(
        conf, prometheus, extra_args={'query_function': function, 'aggregation_method': method}
    )

    # ln and log of 0, which is what the deviation of equal values is, are infinite; e to the power
    # of a sum over an hour is more than can be stored.
    assert len(driver.fetch_all('test_vcpus', *history.hour(0), 'alpha')) in (0, 1, 2)


def test_many_scopes_travel_in_the_body_of_the_request(conf, prometheus):
    driver = build(conf, prometheus)
    many = [f'{"x" * 200}{number}' for number in range(200)]

    found = list(driver.collect('test_vcpus', history.PERIODS, [*many, 'alpha', 'beta']))

    assert {scope_id for scope_id, *_ in found} == {'alpha', 'beta'}


def test_a_refused_query_is_told_from_a_silent_server(conf, prometheus):
    driver = build(conf, prometheus, extra_args={'query_suffix': 'nonsense ('})

    with pytest.raises(errors.CollectError, match='bad_data: invalid parameter "query"') as caught:
        driver.fetch_all('test_vcpus', *history.hour(0), 'alpha')

    assert not isinstance(caught.value, errors.SourceUnreachable)


def test_a_query_too_large_for_the_server_is_refused(conf, tmp_path):
    """So that a batch can be split."""
    with services.Prometheus(
        tmp_path, history=history.FAMILIES, options=['--query.max-samples=70']
    ) as server:
        driver = build(conf, server)

        with pytest.raises(errors.CollectError, match='too many samples') as caught:
            list(driver.collect('test_vcpus', history.PERIODS, NAMES))

        assert not isinstance(caught.value, errors.SourceUnreachable)
        assert build(conf, server).fetch_all('test_vcpus', *history.hour(4), 'beta')


def test_collecting_goes_on_when_the_server_is_back(conf, tmp_path):
    with services.Prometheus(tmp_path, history=history.FAMILIES) as server:
        driver = build(conf, server, timeout=0.5)
        whole = list(driver.collect('test_vcpus', history.PERIODS, NAMES))

        server.kill()
        with pytest.raises(errors.SourceUnreachable):
            list(driver.collect('test_vcpus', history.PERIODS, NAMES))
        server.start()
        assert list(driver.collect('test_vcpus', history.PERIODS, NAMES)) == whole

        server.hold()
        with pytest.raises(errors.SourceUnreachable):
            list(driver.collect('test_vcpus', history.PERIODS, NAMES))
        server.resume()
        assert list(driver.collect('test_vcpus', history.PERIODS, NAMES)) == whole


# The hash of `rating`, bcrypt with the lowest cost: a login is checked with each request.
LOGINS = {'rating': '$2b$04$M7b8syC9BkVhx7ZdxCJF9e8kOYDrp54bxgD4IIryf1lDeT3Npvbie'}


@pytest.fixture(scope='module')
def authority():
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope='module')
def secure(tmp_path_factory, authority):
    """A real Prometheus behind TLS, client certificates and basic authentication."""
    with metric_stores.SecurePrometheus(
        tmp_path_factory.mktemp('secure'),
        authority=authority,
        logins=LOGINS,
        history=history.FAMILIES,
    ) as server:
        yield server


def configured(conf, server, driver_class, **options):
    """Return *conf* with all that *server* asks for in the driver's section, then *options*."""
    conf.register_opts(driver_class.OPTS, driver_class.GROUP)
    given = {
        'prometheus_url': server.url,
        'prometheus_user': 'rating',
        'timeout': 10,
        'prometheus_password': 'rating',
        'cafile': str(server.ca_path),
        'certfile': str(server.client_path),
        **options,
    }
    for name, value in given.items():
        conf.set_override(name, value, driver_class.GROUP)
    return conf


def collect_securely(conf, server, **options):
    driver = PrometheusCollector(
        period=3600,
        conf={'metrics': {'test_vcpus': {'unit': 'x'}}},
        service_conf=configured(conf, server, PrometheusCollector, **options),
    )
    return list(driver.collect('test_vcpus', history.PERIODS, NAMES))


def test_a_server_gets_login_and_client_certificate(conf, secure, prometheus):
    found = collect_securely(conf, secure)

    assert found
    assert found == list(
        build(conf, prometheus, groupby=[]).collect('test_vcpus', history.PERIODS, NAMES)
    )


def test_a_certificate_and_its_key_may_be_in_two_files(conf, secure, authority, tmp_path):
    issued = authority.issue_cert('rating@example.org')
    issued.cert_chain_pems[0].write_to_path(tmp_path / 'cert.pem')
    issued.private_key_pem.write_to_path(tmp_path / 'key.pem')

    assert collect_securely(
        conf, secure, certfile=str(tmp_path / 'cert.pem'), keyfile=str(tmp_path / 'key.pem')
    )


@pytest.mark.parametrize(
    'options, told',
    [
        ({'cafile': None}, 'certificate verify failed'),
        ({'certfile': None}, 'certificate|Connection'),
        ({'prometheus_password': 'wrong'}, 'HTTP status 401 .check prometheus_user'),
        ({'prometheus_user': None}, 'HTTP status 401'),
    ],
)
def test_a_credential_that_is_missing_or_wrong_is_told(conf, secure, options, told):
    with pytest.raises(errors.SourceUnreachable, match=told):
        collect_securely(conf, secure, **options)


def test_any_certificate_is_taken_when_told_so(conf, secure):
    assert collect_securely(conf, secure, cafile=None, insecure=True)


def test_the_fetcher_has_the_same_credentials(conf, secure):
    driver = PrometheusFetcher(configured(conf, secure, PrometheusFetcher, metric='up'))

    assert driver.get_tenants() == []


def test_a_proxy_gets_its_bearer_token(conf, prometheus, tmp_path):
    file = tmp_path / 'token'
    with metric_stores.VmAuth(
        tmp_path, token='right', target=f'http://{prometheus.address}'
    ) as proxy:
        conf.register_opts(PrometheusCollector.OPTS, PrometheusCollector.GROUP)
        conf.set_override('prometheus_token_file', str(file), PrometheusCollector.GROUP)
        driver = build(conf, proxy)
        file.write_text('right')
        whole = list(driver.collect('test_vcpus', history.PERIODS, NAMES))
        file.write_text('expired')

        with pytest.raises(errors.SourceUnreachable, match='HTTP status 40[01]'):
            list(driver.collect('test_vcpus', history.PERIODS, NAMES))
        file.write_text('right')

        assert whole
        assert list(driver.collect('test_vcpus', history.PERIODS, NAMES)) == whole
