"""The stories in stories/: requests and answers, one file a resource.

`keystone-*.yaml` runs behind keystonemiddleware, with names of keystone.TOKENS as tokens; all
others run with noauth. Every story starts with the same data, see conftest.
"""

import pathlib
import unittest

import pytest
from gabbi import handlers, suitemaker, utils

STORIES = pathlib.Path(__file__).parent / 'stories'


@pytest.mark.parametrize('name', sorted(path.stem for path in STORIES.glob('*.yaml')))
def test_story(name, request):
    application = request.getfixturevalue(
        'authenticated' if name.startswith('keystone') else 'noauth')
    story = utils.load_yaml(yaml_file=str(STORIES / f'{name}.yaml'))
    suite = suitemaker.test_suite_from_dict(
        unittest.TestLoader(), name, story, str(STORIES), host='rating.example', port=None,
        fixture_module=None, intercept=lambda: application, test_loader_name=name,
        handlers=[handler() for handler in handlers.RESPONSE_HANDLERS])
    result = unittest.TestResult()

    suite.run(result)

    problems = [f'{test}\n{trace}' for test, trace in result.errors + result.failures]
    assert not problems, '\n'.join(problems)
    assert result.testsRun
