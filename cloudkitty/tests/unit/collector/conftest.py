"""A Prometheus collector whose server says what the test wants."""

import pytest

from cloudkitty.collector import prometheus
from cloudkitty.tests import faults

RANGE_S = 3600


@pytest.fixture
def server():
    with faults.FaultyServer(faults.vector()) as faulty:
        yield faulty


@pytest.fixture
def build(conf, server):
    """Return what builds a collector of one metric NAME, or of *metrics*, that asks *server*."""

    def build_collector(metrics=None, **definition):
        conf.register_opts(prometheus.PrometheusCollector.OPTS, 'collector_prometheus')
        conf.set_override('prometheus_url', server.url, 'collector_prometheus')
        conf.set_override('timeout', 5, 'collector_prometheus')
        return prometheus.PrometheusCollector(
            period=RANGE_S,
            service_conf=conf,
            conf={'metrics': metrics or {'NAME': {'unit': 'x', 'groupby': ['id'], **definition}}},
        )

    return build_collector
