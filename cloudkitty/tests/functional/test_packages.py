"""What packagers get: the sdist, a wheel that is made of it, and an installation of that."""

import configparser
import importlib
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.cli import samples
from cloudkitty.doctor import options
from cloudkitty.tests import conftest, newcomer, services

# They are built and installed once.
pytestmark = pytest.mark.xdist_group('packages')

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
VERSION = '26.0.0.dev7'
NOT_COPIED = ('.*', 'build', 'dist', '*.egg-info', '__pycache__')
# Every command that setup.cfg installs, with its module; the first is a script of its own.
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / 'setup.cfg')
PROGRAMS = {'cloudkitty-api': 'cloudkitty.cli.api'} | {
    name: place.partition(':')[0]
    for line in SETUP['entry_points']['console_scripts'].strip().splitlines()
    for name, place in [line.split(' = ')]
}
MANIFESTS = ROOT / 'etc' / 'kubernetes'


class Packages(NamedTuple):
    """The sdist, the wheel, and the prefix into which the wheel is installed."""

    sdist: Path
    wheel: Path
    prefix: Path


def _run(*command, cwd, **environment):
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, 'PBR_VERSION': VERSION, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """A sdist of the tree, a wheel of the sdist, and an installation of the wheel."""
    folder = tmp_path_factory.mktemp('packages')
    tree = folder / 'tree'
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    shutil.copy(ROOT / '.gitignore', tree)
    # The build asks git which files belong to the source.
    who = ('-c', 'user.name=test', '-c', 'user.email=test@example.org')
    for words in (('init', '-q'), ('add', '-A'), (*who, 'commit', '-q', '-m', 'The tree')):
        _run('git', *words, cwd=tree)
    build = f'from pbr import build; build.build_sdist({str(folder)!r})'
    _run(sys.executable, '-c', build, cwd=tree)
    pip = (sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check')
    sdist = folder / f'cloudkitty-{VERSION}.tar.gz'
    _run(*pip, 'wheel', '--no-deps', '--wheel-dir', folder, sdist, cwd=folder)
    wheel = folder / f'cloudkitty-{VERSION}-py3-none-any.whl'
    prefix = folder / 'prefix'
    # Without --ignore-installed, pip would remove the tree's own installation first.
    _run(*pip, 'install', '--ignore-installed', '--no-deps', '--prefix', prefix, wheel, cwd=folder)
    return Packages(sdist, wheel, prefix)


def _source_files(folder):
    return {
        f'{folder}/{path.relative_to(ROOT / folder).as_posix()}'
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and path.suffix not in ('.pyc', '.sample')
    }


def test_the_sdist_has_all_that_packagers_look_for(packages):
    """Samples, tests, documentation, notes, devstack, constraints; nothing of an editor."""
    with tarfile.open(packages.sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}

    for folder in ('etc', 'devstack', 'doc', 'releasenotes/notes', 'cloudkitty/tests'):
        built = {name for name in _source_files(folder) if '/build/' not in name}
        assert built <= names, folder
    assert {
        'constraints.txt',
        'requirements.txt',
        'README.rst',
        'LICENSE',
        'bin/cloudkitty-api',
    } <= names
    assert not any('.tools' in name or name.endswith('.pyc') for name in names)


def test_the_wheel_has_the_samples_and_no_tests(packages):
    """Only what authors of drivers test theirs with is there of the tests."""
    with zipfile.ZipFile(packages.wheel) as archive:
        names = set(archive.namelist())

    assert {name for name in names if 'tests' in name} == {
        'cloudkitty/tests/__init__.py',
        'cloudkitty/tests/conformance/__init__.py',
        'cloudkitty/tests/conformance/storage.py',
    }
    share = f'cloudkitty-{VERSION}.data/data/share/cloudkitty'
    assert {name.replace(share, 'etc') for name in names if name.startswith(share)} == (
        _source_files('etc')
    )
    modules = {name for name in _source_files('cloudkitty') if '/tests/' not in name}
    assert modules <= names


@pytest.fixture
def installed(packages, tmp_path):
    """Returns what runs an installed command, beside the libraries of this environment."""
    (site,) = packages.prefix.rglob('site-packages')

    def _call(program, *arguments):
        return _run(
            packages.prefix / 'bin' / program, *arguments, cwd=tmp_path, PYTHONPATH=str(site)
        )

    return _call


def test_installed_commands_work(installed, tmp_path):
    """They say their version, make a schema, and print the samples that are installed."""
    assert installed('cloudkitty-dbsync', '--version') == f'cloudkitty-dbsync {VERSION}\n'
    (tmp_path / 'ck.conf').write_text(f'[database]\nconnection = sqlite:///{tmp_path}/ck\n')
    installed('cloudkitty-dbsync', '--config-file', 'ck.conf', 'upgrade')
    listed = installed('cloudkitty-status', 'sample').split()
    assert set(listed) == {
        *(name.removeprefix('etc/').removeprefix('cloudkitty/') for name in _source_files('etc')),
        *samples.GENERATED,
    }
    unit = 'systemd/cloudkitty-api.service'
    assert installed('cloudkitty-status', 'sample', unit) == (ROOT / 'etc' / unit).read_text()


@pytest.mark.timeout(900)
def test_a_newcomer_has_a_price(packages, tmp_path):
    """The installation page, typed from the empty environment to the first bill; nothing else."""
    lines = [line for step in newcomer.steps() for line in newcomer.commands(step)]
    # The tree is the other way to install, and the wheel is built, see above.
    others = [line for line in lines if "'.[" in line or 'pip wheel ' in line]
    assert len(others) == 2
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(days=1)
    person = newcomer.Newcomer(tmp_path, packages.wheel)
    with (
        conftest.new_database('postgresql') as url,
        services.Prometheus(tmp_path / 'prometheus', history=newcomer.cluster(since)) as source,
    ):
        person.configure(database_url=url, prometheus_url=source.url, since=since)

        typed = [line for line in lines if line not in others]
        printed = person.type([*typed, *newcomer.bill_lines(lines)])

    newcomer.check_bill(printed)


def test_the_installed_package_serves_the_web_page(packages, tmp_path):
    """Each file that the page consists of, from the wheel and not from this tree."""
    (site,) = packages.prefix.rglob('site-packages')
    code = (
        'import sys, webob\n'
        'from cloudkitty import ui\n'
        'from cloudkitty.ui import login\n'
        'assert ui.__file__.startswith(sys.argv[1]), ui.__file__\n'
        'pages = ui.Pages(None, login.Keystone(None))\n'
        'index = webob.Request.blank("/ui/").get_response(pages).text\n'
        'base = index.partition(\'src="\')[2].partition("/app.js")[0]\n'
        'for name in sys.argv[2:]:\n'
        '    answer = webob.Request.blank(f"{base}/{name}").get_response(pages)\n'
        '    print(name, answer.status_int, len(answer.body))\n'
    )
    static = ROOT / 'cloudkitty' / 'ui' / 'static'
    sizes = {
        path.relative_to(static).as_posix(): path.stat().st_size
        for path in static.rglob('*')
        if path.is_file()
    }
    answers = _run(sys.executable, '-c', code, site, *sizes, cwd=tmp_path, PYTHONPATH=str(site))
    assert 'pages/pricelist.js' in sizes
    expected = [f'{name} 200 {size}' for name, size in sizes.items()]
    assert answers.splitlines() == expected


def test_the_configuration_is_printed_with_every_option(installed):
    """It and the policies are made from the code that is installed."""
    text = installed('cloudkitty-status', 'sample', 'cloudkitty.conf')
    for option in ('[collect]', '#wait_periods = 2', '#coordination_url', '[keystone_authtoken]'):
        assert option in text
    assert '"scope:get_state"' in installed('cloudkitty-status', 'sample', 'policy.yaml')


def _local(program, *arguments):
    # A command that is new in this tree may not be installed yet.
    code = f'import sys; sys.argv[0] = {program!r}; from {PROGRAMS[program]} import main; main()'
    command = [sys.executable, '-c', code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_sample_has_a_name_or_the_end_of_one():
    """Names near a wrong one are told."""
    assert (
        _local('cloudkitty-status', 'sample', 'cloudkitty.rules.yml').stdout
        == (ROOT / 'etc' / 'prometheus' / 'cloudkitty.rules.yml').read_text()
    )
    ended = _local('cloudkitty-status', 'sample', 'metric.yml')
    assert (ended.returncode, ended.stdout) == (255, '')
    assert "no sample is named 'metric.yml'; near: metrics.yml" in ended.stderr


@pytest.mark.parametrize('program', PROGRAMS)
def test_help_begins_with_purpose_commands_and_examples(program):
    """And names the options that everybody needs; all others are one step further."""
    for argument in ('--help', '-h'):
        ended = _local(program, argument)
        assert (ended.returncode, ended.stderr) == (0, '')
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f'usage: {program} [options]')
    assert lines[2].endswith('.') or lines[3].endswith('.')
    places = [ended.stdout.find(f'\n{title}') for title in ('commands:', 'examples:', 'common opt')]
    assert places[1:] == sorted(places[1:])
    assert places[0] < places[1]
    assert f'\n    {program}' in ended.stdout
    assert len(lines) < 70
    everything = _local(program, '--help-all')
    assert everything.returncode == 0
    assert '--log-date-format' in everything.stdout


def test_each_command_has_a_manual_page():
    """With its purpose in one line."""
    pages = runpy.run_path(str(ROOT / 'doc' / 'source' / 'conf.py'))['man_pages']

    assert [name for _, name, *_ in pages] == list(PROGRAMS)
    for _, name, text, _, _ in pages:
        manual = importlib.import_module(PROGRAMS[name]).MANUAL
        assert text[1:] in ' '.join(manual.purpose.split())
        assert len(text) < 100


def test_bash_completes_commands_and_options(tmp_path):
    """The script comes from the command itself; each command that is installed is completed."""
    script = _local('cloudkitty-dbsync', '--shell_completion', 'bash').stdout
    checked = subprocess.run(
        [BIN / 'shellcheck', '-'], input=script, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout
    for program in PROGRAMS:
        (tmp_path / program).symlink_to(BIN / 'cloudkitty-dbsync')
    script += 'complete -p | sed -n "s/.*-F _cloudkitty //p" | sort | xargs\n'
    asked = 'COMP_WORDS=({words}); COMP_CWORD={at}; _cloudkitty; echo "${{COMPREPLY[@]}}"\n'
    script += asked.format(words='cloudkitty-dbsync up', at=1)
    script += asked.format(words='cloudkitty-dbsync upgrade --d', at=2)
    ended = subprocess.run(
        ['bash', '-c', script],
        env={**os.environ, 'PATH': f'{tmp_path}:{BIN}:{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    listed, *completed = ended.stdout.splitlines()
    assert set(PROGRAMS) <= set(listed.split())
    assert completed == ['upgrade', '--dry-run']


def test_the_recipe_of_the_image_is_well_formed():
    """By hadolint; its files are in the tree."""
    recipe = ROOT / 'etc' / 'container' / 'Containerfile'
    ended = subprocess.run([BIN / 'hadolint', recipe], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, '')
    share = '/usr/local/share/cloudkitty/'
    named = [word.strip('"],') for word in recipe.read_text().split() if share in word]
    assert named
    for word in named:
        assert (ROOT / 'etc' / word.partition(share)[2]).is_file()


@pytest.mark.parametrize('name', ['schema.yaml', 'api.yaml', 'processor.yaml', 'access.yaml'])
def test_manifests_fit_the_schemas_of_kubernetes(name):
    ended = subprocess.run(
        [BIN / 'kubernetes-validate', '--strict', MANIFESTS / name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_what_kustomize_puts_together_is_there():
    """Each file of the folder is named once; what pods mount is generated."""
    wanted = yaml.safe_load((MANIFESTS / 'kustomization.yaml').read_text())
    made = [*wanted['configMapGenerator'], *wanted['secretGenerator']]
    files = [
        *wanted['resources'],
        *(name for one in made for name in (*one.get('files', ()), *one.get('envs', ()))),
    ]
    assert sorted([*files, 'kustomization.yaml']) == sorted(
        path.name for path in MANIFESTS.iterdir()
    )
    documents = [
        document
        for name in wanted['resources']
        for document in yaml.safe_load_all((MANIFESTS / name).read_text())
    ]
    pods = [one['spec']['template']['spec'] for one in documents if 'template' in one['spec']]
    assert len(pods) == 3
    names = {one['name'] for one in made}
    for pod in pods:
        (container,) = pod['containers']
        assert container['image'] in {image['name'] for image in wanted['images']}
        assert {source['secretRef']['name'] for source in container['envFrom']} <= names
        assert {
            volume['configMap']['name'] for volume in pod['volumes'] if 'configMap' in volume
        } <= names


def test_the_configuration_of_the_cluster_is_read():
    """Nothing in it is without effect, and its definitions are in the image."""
    conf = configuration.read([], files=[str(MANIFESTS / 'cloudkitty.conf')], conf=cfg.ConfigOpts())
    assert options.list_unread(conf) == []
    share = '/usr/local/share/cloudkitty/'
    assert conf.collect.metrics_conf.startswith(share)
    assert (ROOT / 'etc' / conf.collect.metrics_conf.removeprefix(share)).is_file()
