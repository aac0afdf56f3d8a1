"""cloudkitty-metrics explain: how a price is made, step by step."""

import subprocess
import sys
from pathlib import Path

import pytest

from cloudkitty.tests.functional import worker_run


@pytest.fixture
def explain(database, tmp_path, prometheus):
    """Return what explains a resource of the tests' history, with worker_run's rules."""
    worker_run.clear(database)
    conf = worker_run.write_conf(
        tmp_path,
        connection=f'sqlite:///{database.engine.url.database}',
        prometheus_url=prometheus.url,
    )

    def _explain(*, scope, resource, period):
        return subprocess.run(
            [
                Path(sys.executable).parent / 'cloudkitty-metrics',
                *('--config-file', conf, 'explain', '--scope', scope),
                *('--resource', resource, '--period', period),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )

    return _explain


def test_samples_quantity_rules_and_price_are_shown(explain):
    result = explain(scope='alpha', resource='db', period='2024-05-01')

    assert result.stdout.splitlines() == [
        "Resource 'db' of scope 'alpha', from 2024-05-01T00:00:00+00:00 to "
        '2024-05-01T01:00:00+00:00, by the rules that are valid then',
        'test_vcpus',
        '  series: flavor=m1.large, project_id=alpha, resource=db',
        '    00:01:00 to 01:00:00: 4, samples: 60',
        '  quantity: 4.0 vcpu (resource=db, project_id=alpha)',
        '  hashmap: service test_vcpus: flat 0.0123',
        '  hashmap: field flavor = m1.large: rate 1.5',
        '  hashmap: 0.0123 * 1.5 * 4.0 = 0.0738',
        '  hashmap: price 0.0738',
        '  price: 0.0738',
    ]
    assert result.returncode == 0


def test_a_change_of_the_value_is_shown(explain):
    result = explain(scope='beta', resource='job', period='2024-05-01T02:30')

    lines = result.stdout.splitlines()
    assert lines[2:6] == [
        '  series: flavor=m1.small, project_id=beta, resource=job',
        '    02:31:00 to 02:59:00: 1, samples: 29',
        '    03:00:00 to 03:30:00: 2, samples: 31',
        '  quantity: 2.0 vcpu (resource=job, project_id=beta)',
    ]
    # Its counter of cpu time began again: the growth of the whole would be below 0.
    assert not any(line.startswith('cpu') for line in lines)


def test_a_resource_that_used_nothing_is_told(explain):
    result = explain(scope='alpha', resource='job', period='2024-05-01')

    assert result.stdout.endswith('\n  nothing was used\n')
    assert result.returncode == 1
