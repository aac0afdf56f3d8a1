"""What the installation page tells to install, and its order; test_packages types its commands."""

import re

import pytest

from cloudkitty.tests import newcomer

ROOT = newcomer.ROOT
# A name that pip looks up in an index, with or without extras; `cloudkitty.git` or a path is none.
FROM_AN_INDEX = re.compile(
    r'pip3? install[^\n]*[\s\'"`]cloudkitty(?=$|[\s\'"`\[=<>~!])', re.MULTILINE
)


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
    assert newcomer.PAGE in texts
    assert [path for path in texts if FROM_AN_INDEX.search(path.read_text())] == []


def test_what_is_installed_is_the_tree_or_a_wheel_of_it():
    """The first step names a path in each of its commands that install."""
    installing = [line for line in newcomer.commands(newcomer.steps()[0]) if 'pip install' in line]

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
        r'\$ rule ',
        r'\$ cloudkitty-processor',
        r'\$ cloudkitty summary get',
        r'cloudkitty-status doctor',
    )
    text = '\n#. '.join(newcomer.steps())

    places = [re.search(pattern, text).start() for pattern in order]

    assert places == sorted(places)
