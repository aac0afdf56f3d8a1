"""What is refused before any controller sees it."""

import pytest
import webob
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.api import middleware


@pytest.fixture
def check():
    """The check of addresses around an application that answers everything."""
    return middleware.AddressCheck(webob.Response(text='reached'), cfg.ConfigOpts())


@pytest.mark.parametrize('path', ['/v1/__class__', '/v1/rating/__init__/x', '/__dict__'])
def test_attributes_of_python_are_no_resources(check, path):
    """Controllers of other packages are traversed with getattr()."""
    with pytest.raises(errors.NotFound):
        webob.Request.blank(path).get_response(check)


@pytest.mark.parametrize('path', ['/v1/_x', '/v1/x__', '/v1/__x', '/v1/a__b'])
def test_names_with_underscores_are_resources(check, path):
    assert webob.Request.blank(path).get_response(check).text == 'reached'
