"""What is on each hypervisor must be small."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    'module, absent',
    [
        ('cloudkitty.cli.agent', 'docutils eventlet jinja2 sqlalchemy webob yaml'),
        ('cloudkitty.cli.processor', 'docutils eventlet jinja2 webob'),
    ],
)
def test_daemons_import_no_large_library_that_they_do_not_need(module, absent):
    """Each takes megabytes, and libraries between would import them."""
    code = f'import {module}, sys; print(*[one for one in sys.argv[1:] if one in sys.modules])'

    ended = subprocess.run(
        [sys.executable, '-c', code, *absent.split()], capture_output=True, text=True, timeout=60
    )

    assert (ended.stdout.split(), ended.stderr) == ([], '')
