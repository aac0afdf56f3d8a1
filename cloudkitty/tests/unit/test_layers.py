"""The direction of imports, and what a machine can see of the style."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
# In a process of its own: it disables every logger that exists.
LINT_IMPORTS = ('import sys; from importlinter import cli; '
                'sys.exit(cli.lint_imports(no_cache=True, no_logo=True))')


def test_imports_go_down_the_layers():
    """A module imports its own layer or a lower one, and the core nothing that does I/O."""
    _run('-c', LINT_IMPORTS)


def test_style():
    """Ruff has nothing to say."""
    _run('-m', 'ruff', 'check', '--output-format', 'concise', '--no-cache', '.')


def _run(*arguments):
    ended = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
