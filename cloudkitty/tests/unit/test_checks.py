"""What tools can check of the tree: style, imports, types, scripts, documentation."""

import os
import pathlib
import subprocess
import sys
from importlib import resources

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
# In a process of its own: it disables every logger that exists.
LINT_IMPORTS = (
    'import sys; from importlinter import cli; '
    'sys.exit(cli.lint_imports(no_cache=True, no_logo=True))'
)
SPHINX = ('-m', 'sphinx', '-q', '-W', '--keep-going')
# Pages and anchors of our own: nothing is asked of other hosts.
LINK_CHECK = ('-b', 'linkcheck', '-D', 'linkcheck_ignore=https?://.*')


def test_imports_go_down_the_layers():
    """A module imports its own layer or a lower one, and the core nothing that does I/O."""
    _run('-c', LINT_IMPORTS)


def test_style():
    """Ruff has nothing to say."""
    _run('-m', 'ruff', 'check', '--output-format', 'concise', '--no-cache', '.')
    _run('-m', 'ruff', 'format', '--check', '--no-cache', '.')


@pytest.mark.parametrize(
    'folder', ['agent', 'core/metering', 'listener', 'pollster', 'processor/intake', 'usage']
)
def test_modules_of_metering_are_short(folder):
    """At most 300 lines, so that each can be read at once."""
    lengths = {
        path: len(path.read_text().splitlines())
        for path in (ROOT / 'cloudkitty' / folder).rglob('*.py')
    }
    assert lengths
    assert {path.name: lines for path, lines in lengths.items() if lines > 300} == {}


def test_types():
    """Mypy finds no error: strict where plug-ins build on the code and where money goes through."""
    _run('-m', 'mypy', '--no-error-summary', '--cache-dir', os.devnull)


def test_types_are_shipped():
    """Who checks a plug-in with mypy gets the types of the installed package."""
    assert resources.files('cloudkitty').joinpath('py.typed').is_file()


def test_shell_scripts():
    """Shellcheck has nothing to say of the scripts in tools/ and .ci/."""
    scripts = [
        path
        for folder in ('tools', '.ci')
        for path in sorted((ROOT / folder).iterdir())
        if path.is_file() and b'sh' in path.read_bytes().partition(b'\n')[0]
    ]
    assert len(scripts) > 5
    checker = pathlib.Path(sys.executable).with_name('shellcheck')
    _check(checker, '-x', '-P', 'SCRIPTDIR', *scripts, *ROOT.glob('tools/*.sh'))


@pytest.mark.parametrize('name', ['fuzz', 'horizon', 'install'])
def test_tools_without_options_tell_their_purpose(name, tmp_path):
    """Before they set up or start anything."""
    ended = subprocess.run(
        ['bash', ROOT / 'tools' / name, '--help'], cwd=tmp_path, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stderr) == (0, '')
    assert f': tools/{name} [' in ended.stdout.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def doctrees(tmp_path_factory):
    """Where the pages are kept as read: the builds of one source share them."""
    return tmp_path_factory.mktemp('doctrees')


@pytest.mark.xdist_group('documentation')
@pytest.mark.parametrize(
    'source, build',
    [
        ('doc/source', ('-b', 'html')),
        ('doc/source', LINK_CHECK),
        ('doc/source', ('-b', 'man')),
        ('releasenotes/source', ('-b', 'html')),
    ],
)
def test_documentation_builds(source, build, tmp_path, doctrees):
    """Sphinx warns of nothing, and every link within the documentation leads somewhere."""
    _run(*SPHINX, *build, '-d', doctrees / source, source, tmp_path)


def test_release_notes():
    """Every release note is well formed."""
    _run('-m', 'reno.main', 'lint')


def _run(*arguments):
    _check(sys.executable, *arguments)


def _check(*command):
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
