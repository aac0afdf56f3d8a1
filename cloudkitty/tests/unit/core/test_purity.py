"""At run time the core needs nothing but the standard library and orjson."""

import pkgutil
import subprocess
import sys

import pytest

from cloudkitty import core

MODULES = sorted(found.name for found in pkgutil.walk_packages(core.__path__, f'{core.__name__}.'))
# In an interpreter of its own, since this one has imported everything.
WATCH = """
import sys
before = set(sys.modules)
import {module}
foreign = {{name.partition('.')[0] for name in set(sys.modules) - before}}
# The standard library's own, with the name of the platform in it.
foreign = {{name for name in foreign if not name.startswith('_sysconfigdata_')}}
print(*sorted(foreign - sys.stdlib_module_names - {{'cloudkitty', 'orjson'}}))
print(*sorted({{'logging.config', 'socket', 'sqlite3'}} & (set(sys.modules) - before)))
"""


@pytest.mark.parametrize('module', MODULES)
def test_module_of_the_core_brings_nothing_along(module):
    """A fresh interpreter that imports it loads no library, logging set-up, socket or database."""
    ended = subprocess.run(
        [sys.executable, '-c', WATCH.format(module=module)], capture_output=True, text=True
    )

    assert (ended.returncode, ended.stderr) == (0, '')
    assert ended.stdout.split() == []


def test_core_is_found():
    """The list is not empty, and knows the folders below."""
    assert {'cloudkitty.core.dataframe', 'cloudkitty.core.pricing.rules'} < set(MODULES)
