"""The stories in stories/: requests and answers, one file a resource.

`keystone-*.yaml` runs behind keystonemiddleware, with names of keystone.TOKENS as tokens; all
others run with noauth. Every story starts with the same data, see conftest, and is told once on
each kind of database.
"""

import pathlib
import unittest

import pytest
from gabbi import handlers, suitemaker, utils

from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import conftest
from cloudkitty.tests.functional.api import conftest as api

STORIES = pathlib.Path(__file__).parent / 'stories'
# Stories in which the scopes of the data are not those that are rated.
OTHERS_RATED = ('v2-completeness',)
OTHER = scope_state.Identity('project_id', 'keystone', 'gnocchi')


@pytest.fixture(params=conftest.KINDS)
def conf(request, conf, server_schemas):
    """The configuration, once with each kind of database."""
    with conftest.on_schema(request.param, conf, server_schemas) as configured:
        yield configured


@pytest.mark.parametrize('name', sorted(path.stem for path in STORIES.glob('*.yaml')))
def test_story(name, conf, request):
    application = request.getfixturevalue(
        'authenticated' if name.startswith('keystone') else 'noauth'
    )
    if name in OTHERS_RATED:
        api.rate_as(conf, OTHER)
    story = utils.load_yaml(yaml_file=str(STORIES / f'{name}.yaml'))
    suite = suitemaker.test_suite_from_dict(
        unittest.TestLoader(),
        name,
        story,
        str(STORIES),
        host='rating.example',
        port=None,
        fixture_module=None,
        intercept=lambda: application,
        test_loader_name=name,
        handlers=[handler() for handler in handlers.RESPONSE_HANDLERS],
    )
    result = unittest.TestResult()

    suite.run(result)

    problems = [f'{test}\n{trace}' for test, trace in result.errors + result.failures]
    assert not problems, '\n'.join(problems)
    assert result.testsRun
