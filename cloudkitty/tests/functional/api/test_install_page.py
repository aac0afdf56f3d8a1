"""The installation page, step by step, as somebody follows it who has never seen this service."""

import os
import pathlib
import re
import subprocess
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.tests.functional.api import conftest

ROOT = pathlib.Path(__file__).resolve().parents[4]
PAGE = ROOT / 'doc' / 'source' / 'install' / 'index.rst'
# A name that pip looks up in an index, with or without extras; `cloudkitty.git` or a path is none.
FROM_AN_INDEX = re.compile(
    r'pip3? install[^\n]*[\s\'"`]cloudkitty(?=$|[\s\'"`\[=<>~!])', re.MULTILINE
)


def _steps():
    return PAGE.read_text().partition('\nIn a container')[0].split('\n#. ')[1:]


def _commands(step):
    """Return the lines that a step has the reader type."""
    return re.findall(r'^ +\$ (.+)$', step, re.MULTILINE)


@pytest.mark.parametrize(
    'word', ['cloudkitty', "'cloudkitty[mysql]'", 'cloudkitty==1', '-U cloudkitty']
)
def test_a_name_that_an_index_answers_is_recognised(word):
    assert FROM_AN_INDEX.search(f'$ pip install {word}')


def test_nothing_tells_to_install_another_product():
    """No page, note or message installs what a public index has under the name `cloudkitty`."""
    texts = [
        *ROOT.glob('*.rst'),
        *(ROOT / 'doc' / 'source').rglob('*.rst'),
        *(ROOT / 'releasenotes' / 'notes').glob('*.yaml'),
        *(ROOT / 'etc').rglob('*.*'),
        *(path for path in (ROOT / 'cloudkitty').rglob('*.py') if 'tests' not in path.parts),
    ]
    assert PAGE in texts
    assert [path for path in texts if FROM_AN_INDEX.search(path.read_text())] == []


def test_what_is_installed_is_the_tree_or_a_wheel_of_it():
    """The first step names a path in each of its commands that install."""
    installing = [line for line in _commands(_steps()[0]) if 'pip install' in line]

    assert len(installing) == 2
    for line in installing:
        assert "'.[" in line or 'dist/cloudkitty-*.whl' in line
        assert '-c constraints.txt' in line


def test_prices_are_made_before_anything_is_rated():
    """Schema, a look at the source, the API, prices, the processor: in this order."""
    order = (
        r'cloudkitty-dbsync upgrade',
        r'cloudkitty-storage-init',
        r'cloudkitty-metrics try',
        r'\$ cloudkitty-api',
        r'cloudkitty module enable hashmap',
        r'cloudkitty hashmap service create',
        r'cloudkitty hashmap mapping create',
        r'cloudkitty-processor',
        r'cloudkitty-status doctor',
    )
    text = '\n#. '.join(_steps())

    places = [re.search(pattern, text).start() for pattern in order]

    assert places == sorted(places)


def test_the_commands_of_the_page_make_prices(server, conf, database, tmp_path):
    """What the step tells to type, typed, prices points as the page says."""
    (step,) = (step for step in _steps() if step.startswith('Make prices'))
    commands = [line for line in _commands(step) if 'pip install' not in line]
    script = 'set -e\n' + '\n'.join(commands).replace('http://127.0.0.1:8889', server)

    ended = subprocess.run(
        ['bash', '-c', script],
        env={**os.environ, 'PATH': f'{conftest.BIN}:{os.environ["PATH"]}'},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == 0, ended.stderr
    modules = ModuleSet(conf, database)
    assert [
        _price(modules, *point) for point in (('memory', 'a'), ('cpu', 'a'), ('cpu', 'istio-proxy'))
    ] == [
        Decimal('0.004'),
        Decimal('0.03'),
        Decimal('0.015'),
    ]


def _price(modules, service, container):
    point = DataPoint('unit', 1, 0, {'container': container}, {})
    begin = datetime.now(UTC) + conftest.HOUR
    rated = modules.quote(DataFrame(begin, begin + conftest.HOUR, {service: [point]}))
    return rated.usage[service][0].price
