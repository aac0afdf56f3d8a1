"""The arithmetic of bills does no input and no output."""

import subprocess
import sys

# In a process of its own, which has imported nothing else.
SHOW = """
import importlib, pkgutil, sys
from cloudkitty.core import billing
for found in pkgutil.walk_packages(billing.__path__, billing.__name__ + '.'):
    importlib.import_module(found.name)
print(*sys.modules)
"""
# What reads files, asks others, or waits.
IMPURE = {
    'asyncio',
    'http.client',
    'logging',
    'oslo_config',
    'oslo_db',
    'requests',
    'socket',
    'sqlalchemy',
    'sqlite3',
    'stevedore',
    'subprocess',
    'tempfile',
    'urllib.request',
    'yaml',
}


def test_nothing_impure_is_imported():
    """Neither another room of ours, nor what does input and output."""
    run = subprocess.run([sys.executable, '-c', SHOW], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())

    assert 'cloudkitty.core.billing.statement' in loaded
    ours = {name for name in loaded if name.partition('.')[0] == 'cloudkitty'}
    others = {name for name in ours if not name.startswith('cloudkitty.core')}
    assert others == {'cloudkitty', 'cloudkitty.errors'}
    assert loaded & IMPURE == set()
