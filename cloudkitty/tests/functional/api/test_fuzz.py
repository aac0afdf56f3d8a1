"""No request makes the API fail, and every answer is as the description says.

tools/fuzz sends more of them.
"""

import os

import pytest

from cloudkitty.tests.functional.api.fuzz import Fuzz, Pool

REQUESTS = int(os.environ.get('CLOUDKITTY_TEST_FUZZ_REQUESTS', '600'))
SEED = int(os.environ.get('CLOUDKITTY_TEST_FUZZ_SEED', '1'))
ADMIN = {'X-Auth-Token': 'admin'}


@pytest.mark.timeout(max(300, REQUESTS // 2))
@pytest.mark.parametrize('strategy, token', [
    ('noauth', None), ('authenticated', 'admin'), ('authenticated', 'reader-p1')])
def test_no_request_makes_it_fail(strategy, token, request):
    application = request.getfixturevalue(strategy)
    headers = {'X-Auth-Token': token} if token else {}
    run = Fuzz(application, headers, Pool(application, ADMIN))

    run.run(-(-REQUESTS // 3), SEED)

    print(f'{strategy} {token}: {run.sent} requests, answers {dict(sorted(run.statuses.items()))}')
    assert not run.problems, '\n\n'.join(f'{key}: {text}' for key, text in run.problems.items())
    assert run.sent >= REQUESTS // 3
