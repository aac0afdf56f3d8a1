"""Lists of mutants: changes of the product that harm a user, each of which a test must notice."""

import ast
import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterable, Iterator

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTS = ROOT / 'tools' / 'mutants'


class BadMutant(Exception):
    """An entry of a list that cannot be used; the text says why."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one file.

    :ivar name: tells it from all others, in all lists.
    :ivar harm: what a user would suffer.
    :ivar file: path below the root of the repository.
    :ivar find: text that the file has once. Its lines after the first are indented as in the file,
        or from the line on which the first begins.
    :ivar replace: what stands there instead, indented likewise.
    :ivar tests: what claims the place, as pytest names it: files, or `FILE::TEST[PARAMETER]`.
    :ivar equivalent: why nobody can notice the change, so that no test has to; '': somebody can.
    """

    name: str
    harm: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    equivalent: str = ''

    def applied_to(self, source: str) -> str:
        """Return *source* with the change.

        :raises BadMutant: the text to be replaced is missing, or there more than once.
        """
        places = list(_places(source, self.find))
        if len(places) != 1:
            raise BadMutant(
                f'{self.name}: {self.file} has the text {len(places)} times:\n{self.find}'
            )
        begin, end, indent = places[0]
        return source[:begin] + _indented(self.replace, indent) + source[end:]


def paths() -> list[pathlib.Path]:
    """Return the lists of the repository."""
    return sorted(LISTS.glob('*.yml'))


def load(path: pathlib.Path) -> list[Mutant]:
    """Return the mutants of a list.

    :raises BadMutant: an entry lacks a field, or has one too many.
    """
    found = []
    for entry in yaml.load(path.read_text(), yaml.CSafeLoader):
        try:
            found.append(Mutant(**{**entry, 'tests': tuple(entry['tests'])}))
        except (TypeError, KeyError) as exc:
            raise BadMutant(f'{path.name}: {entry.get("name", entry)}: {exc!r}') from exc
    return found


def check(mutants: Iterable[Mutant]) -> None:
    """Check that all can be used in the tree as it is.

    :raises BadMutant: one cannot.
    """
    names: set[str] = set()
    for mutant in mutants:
        if mutant.name in names:
            raise BadMutant(f'{mutant.name}: there are two of this name')
        names.add(mutant.name)
        _check(mutant)


def _check(mutant):
    path = ROOT / mutant.file
    if not path.is_file():
        raise BadMutant(f'{mutant.name}: there is no file {mutant.file}')
    source = path.read_text()
    try:
        changed = ast.dump(ast.parse(mutant.applied_to(source)))
    except SyntaxError as exc:
        raise BadMutant(f'{mutant.name}: it does not compile: {exc}') from exc
    if changed == _structure(source):
        raise BadMutant(f'{mutant.name}: it changes nothing')
    if not mutant.tests:
        raise BadMutant(f'{mutant.name}: no test claims the place')
    for test in mutant.tests:
        file, _, name = test.partition('[')[0].partition('::')
        path, name = ROOT / file, name.rpartition('::')[2]
        is_there = path.exists() and (
            not name or re.search(rf'^ *(def|class) {name}\(', path.read_text(), re.MULTILINE)
        )
        if not is_there:
            raise BadMutant(f'{mutant.name}: there is no test {test}')


@functools.cache
def _structure(source):
    return ast.dump(ast.parse(source))


def _places(source, text) -> Iterator[tuple[int, int, str]]:
    """Yield (begin, end, indentation of the line) of each occurrence of *text*."""
    first = text.partition('\n')[0]
    begin = source.find(first)
    while begin >= 0:
        line = source[source.rfind('\n', 0, begin) + 1 :]
        indent = line[: len(line) - len(line.lstrip(' '))]
        for added in dict.fromkeys((indent, '')):
            whole = _indented(text, added)
            if source.startswith(whole, begin):
                yield begin, begin + len(whole), added
                break
        begin = source.find(first, begin + 1)


def _indented(text, indent):
    first, *others = text.split('\n')
    return '\n'.join([first, *(indent + line if line else line for line in others)])
