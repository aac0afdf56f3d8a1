"""No request makes the API fail, take long or answer much; all is as the description says.

tools/fuzz sends more of them.
"""

import os

import pytest

from cloudkitty.tests import conftest
from cloudkitty.tests.functional.api.fuzz import Fuzz, Pool

REQUESTS = int(os.environ.get('CLOUDKITTY_TEST_FUZZ_REQUESTS', '600'))
SEED = int(os.environ.get('CLOUDKITTY_TEST_FUZZ_SEED', '1'))
DATABASE = os.environ.get('CLOUDKITTY_TEST_FUZZ_DATABASE', 'sqlite')
ADMIN = {'X-Auth-Token': 'admin'}
# In each price of p2, and in each sum that has one: 0.5000000000000000000000000001.
PRICES_OF_P2 = 20 * '0'


@pytest.fixture
def conf(conf, server_schemas):
    """The configuration with the database that is chosen."""
    with conftest.on_schema(DATABASE, conf, server_schemas) as configured:
        configured.set_override('enabled', True, 'billing')
        yield configured


@pytest.mark.timeout(max(300, REQUESTS // 2))
@pytest.mark.parametrize(
    'strategy, token, hidden',
    [
        ('noauth', None, ''),
        ('authenticated', 'admin', ''),
        ('authenticated', 'reader-p1', PRICES_OF_P2),
    ],
)
def test_no_request_makes_it_fail(strategy, token, hidden, request):
    """Nor shows what is another project's, whatever is asked."""
    application = request.getfixturevalue(strategy)
    headers = {'X-Auth-Token': token} if token else {}
    run = Fuzz(application, headers, Pool(application, ADMIN), hidden=hidden)

    run.run(-(-REQUESTS // 3), SEED)

    print(
        f'{strategy} {token}: {run.sent} requests, answers {dict(sorted(run.statuses.items()))}, '
        f'slowest {run.slowest_s:.2f} s, largest {run.largest_bytes} bytes'
    )
    assert not run.problems, '\n\n'.join(f'{key}: {text}' for key, text in run.problems.items())
    assert run.sent >= REQUESTS // 3
