"""Every option, driver, route and policy is named in the documentation."""

import pathlib
import re

import pytest

from cloudkitty import (
    collector,
    conf,
    fetcher,
    listener,
    opts,
    plugins,
    policies,
    pollster,
    rating,
)
from cloudkitty.api.v2 import root
from cloudkitty.storage import v1, v2

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGES = ROOT / 'doc' / 'source'
TESTS = ROOT / 'cloudkitty' / 'tests'
NAMESPACES = (
    fetcher.NAMESPACE,
    collector.NAMESPACE,
    rating.NAMESPACE,
    v1.NAMESPACE,
    v2.NAMESPACE,
    listener.NAMESPACE,
    *map(pollster.namespace, pollster.NAMESPACES),
)
OURS = 'namespace = cloudkitty\n'


@pytest.mark.parametrize(
    'page, directive, generator',
    [
        ('options.rst', 'show-options', 'etc/oslo-config-generator/cloudkitty.conf'),
        ('policy.rst', 'show-policy', 'etc/oslo-policy-generator/cloudkitty.conf'),
    ],
)
def test_reference_is_generated(page, directive, generator):
    """The pages of options and policies are made from the code itself."""
    assert (
        f'.. {directive}::\n   :config-file: {generator}'
        in (PAGES / 'configuration' / page).read_text()
    )
    assert OURS in (ROOT / generator).read_text()


def test_every_option_is_in_the_reference():
    """The service's options and those of each installed driver are listed, each with a help."""
    listed = {}
    for group, options in opts.list_opts():
        listed.setdefault(group, []).extend(options)

    assert set(conf.GROUPS) <= set(listed)
    for namespace in NAMESPACES:
        for name, driver in plugins.load_all(namespace).items():
            assert isinstance(driver, type), (name, driver)
            assert not driver.OPTS or listed[driver.GROUP][: len(driver.OPTS)] == driver.OPTS, name
    for group, options in listed.items():
        for option in options:
            assert option.help, (group, option.name)


@pytest.mark.parametrize('namespace', NAMESPACES)
def test_every_driver_is_named(namespace):
    """The page of drivers names the family and each of its drivers."""
    page = (PAGES / 'configuration' / 'drivers.rst').read_text()

    assert f'``{namespace}``' in page
    for name in plugins.names(namespace):
        assert f'``{name}``' in page


def test_every_route_is_named():
    """Each route is named by the policy that guards it, which the page of policies shows."""
    named = {
        (operation['method'], operation['path'])
        for rule in policies.list_rules()
        for operation in getattr(rule, 'operations', ())
    }

    for path, endpoints in root.ROUTES.items():
        for method in endpoints:
            candidates = [known for known in named if _matches(known, method, path)]
            assert candidates, f'{method} /v2/{"/".join(path)}'


def _matches(known, method, path):
    known_method, known_path = known
    segments = known_path.split('/')[2:]
    return (
        known_method == method
        and known_path.startswith('/v2/')
        and len(segments) == len(path)
        and all(wanted in ('*', given) for wanted, given in zip(path, segments, strict=True))
    )


def test_every_policy_says_what_it_guards():
    """A rule has a description."""
    for rule in policies.list_rules():
        assert rule.description, rule.name


def test_every_command_is_named():
    """The page of commands has a section for each console script."""
    page = (PAGES / 'cli' / 'index.rst').read_text()
    for name in (*plugins.names('console_scripts'), 'cloudkitty-api'):
        if name.startswith('cloudkitty-'):
            assert f'\n{name}\n====' in page


def test_pages_are_in_one_sentence_a_line():
    """No line of prose holds two sentences."""
    for page in PAGES.rglob('*.rst'):
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if line[:1].isalpha() and ' ' * 3 not in line:
                assert '. ' not in line.replace('e.g. ', ''), f'{page}:{number}: {line}'


def test_every_fault_is_shown_to_be_absent():
    """The tests that the page of processing names for faults of the existing service exist."""
    page = (PAGES / 'contributor' / 'compatibility' / 'processing.rst').read_text()
    _, *tables = page.split('   * - Fault of the existing service\n')
    rows = [table.split('\n\n')[0] for table in tables]
    named = re.findall(r'- ``(\S+)(::|: )([^`]+)``', '\n'.join(rows))
    assert len(named) == sum(row.count('   * - ') for row in rows) > 40
    for path, kind, name in named:
        text = (TESTS / path).read_text()
        assert (f'def {name}(' if kind == '::' else f'- name: {name}\n') in text, f'{path} {name}'


def test_citations_name_pages_and_sections_that_exist():
    """Code and tests cite pages as PATH, "SECTION", and each of them is there."""
    cited = {
        (page, section)
        for path in _sources()
        for page, sections in _citations(path.read_text())
        for section in sections or [None]
    }

    assert len(cited) > 40
    for page, section in sorted(cited, key=str):
        titles = _titles((ROOT / page).read_text())
        assert section is None or section in titles, f'{page}, "{section}"'


def test_a_citation_is_read_over_the_ends_of_lines():
    """A docstring or comment may break a citation anywhere between its words."""
    text = """
    # Source: doc/source/a.rst, "One
    # thing" and
    # "another".  See doc/source/b.rst.
    """
    assert list(_citations(text)) == [
        ('doc/source/a.rst', ['One thing', 'another']),
        ('doc/source/b.rst', []),
    ]


def _sources():
    """Return the files whose citations are checked: all that is code, but this one."""
    return [
        path
        for folder in ('cloudkitty', 'benchmarks', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.yaml') and path.name != pathlib.Path(__file__).name
    ]


def _citations(text):
    """Yield (page, sections) for each page that *text* names."""
    words = re.sub(r'\s+(?:# )?\s*', ' ', text)
    for page, sections in re.findall(
        r'(doc/source/[\w/-]+\.rst)((?:,(?: and)? "[^"]+"| and "[^"]+")*)', words
    ):
        yield page, re.findall('"([^"]+)"', sections)


def _titles(text):
    """Return the titles of the sections of a page."""
    lines = text.splitlines()
    return {
        title
        for title, line in zip(lines, lines[1:], strict=False)
        if title and len(line) >= len(title) and set(line) in ({'='}, {'-'}, {'~'})
    }
