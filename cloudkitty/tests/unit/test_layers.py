"""The direction of imports, and what a machine can see of the style."""

import pathlib
import subprocess
import sys

from importlinter import cli

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_imports_go_down_the_layers(capsys):
    """A module imports its own layer or a lower one, and the core nothing that does I/O."""
    status = cli.lint_imports(config_filename=str(ROOT / '.importlinter'), no_cache=True,
                              no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_style():
    """Ruff has nothing to say."""
    checked = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise',
                              '--no-cache', '.'], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
