"""The lists of mutants fit the product as it is."""

import pytest

from cloudkitty.tests import mutants

MUTANT = mutants.Mutant(
    name='name',
    harm='Somebody pays twice.',
    file='cloudkitty/tests/mutants.py',
    find='return found',
    replace='return found * 2',
    tests=('cloudkitty/tests/unit/test_mutants.py::test_lists_fit_the_product',),
)
SOURCE = """\
def price(qty):
    if qty:
        total = qty * 2
        return total
    return 0
"""


def changed(**fields):
    return mutants.dataclasses.replace(MUTANT, **fields)


def test_lists_fit_the_product():
    """Every entry changes one place of a file that it names, and its tests are there."""
    found = [mutant for path in mutants.paths() for mutant in mutants.load(path)]

    mutants.check(found)

    assert found


def test_lines_are_indented_from_the_first():
    """Text of several lines is found, and replaced, as deep as the code has it."""
    mutant = changed(find='total = qty * 2\nreturn total', replace='total = qty\nreturn total')

    assert mutant.applied_to(SOURCE) == SOURCE.replace('qty * 2', 'qty')


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'file': 'cloudkitty/missing.py'}, 'no file'),
        ({'find': 'nowhere to be found, ' * 2}, '0 times'),
        ({'find': 'def '}, 'times'),
        ({'replace': 'return found  # said'}, 'changes nothing'),
        ({'replace': 'return ('}, 'does not compile'),
        ({'tests': ()}, 'no test'),
        ({'tests': ('cloudkitty/tests/unit/test_missing.py',)}, 'no test'),
        ({'tests': ('cloudkitty/tests/unit/test_mutants.py::test_missing',)}, 'no test'),
    ],
)
def test_useless_entries_are_refused(fields, message):
    """An entry that changes nothing, or that no test could notice, is an error."""
    with pytest.raises(mutants.BadMutant, match=message):
        mutants.check([changed(**fields)])


def test_names_are_unique():
    """A name stands for one mutant."""
    with pytest.raises(mutants.BadMutant, match='two of this name'):
        mutants.check([MUTANT, changed(replace='return []')])


@pytest.mark.parametrize('extra', [{'harms': 'x'}, {}])
def test_fields_are_checked(tmp_path, extra):
    """A field too many, or one that is missing, is an error."""
    path = tmp_path / 'list.yml'
    path.write_text(mutants.yaml.safe_dump([{'name': 'name', 'tests': [], **extra}]))

    with pytest.raises(mutants.BadMutant, match='list.yml: name'):
        mutants.load(path)
