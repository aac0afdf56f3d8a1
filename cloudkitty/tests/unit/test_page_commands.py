"""Commands and options that the pages name are there."""

import argparse
import pathlib
import re
import shlex

import pytest

from cloudkitty import opts
from cloudkitty.cli import billing, dbsync, metrics, status, storage, usage, writer

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / 'doc' / 'source').rglob('*.rst'))
COMMANDS = {
    'cloudkitty-dbsync': dbsync,
    'cloudkitty-metrics': metrics,
    'cloudkitty-status': status,
    'cloudkitty-storage': storage,
    'cloudkitty-usage': usage,
}
# Every program that has commands.
PROGRAMS = (billing, dbsync, metrics, status, storage, usage, writer)
# In code, `[section]option`.
OPTION = re.compile(r'``\[(\w+)\](\w+)')
# Of oslo.messaging and of Keystone.
OTHERS = {'transport_url', 'list_limit'}


def typed():
    """Return (page, arguments) of each of our commands that a console block shows."""
    found = []
    for path in PAGES:
        for line in re.findall(r'^ +\$ (.*cloudkitty-.*)$', path.read_text(), re.MULTILINE):
            for part in re.split(r' [|>;&]+ ?', line):
                program, *arguments = shlex.split(part, comments=True) or ['']
                if pathlib.Path(program).name in COMMANDS:
                    found.append((path.name, pathlib.Path(program).name, arguments))
    return found


@pytest.mark.parametrize('page, program, arguments', typed())
def test_commands_of_pages_are_accepted(page, program, arguments):
    """Each sub-command that a page shows exists, and takes the arguments that it shows."""
    parser = argparse.ArgumentParser(prog=program, exit_on_error=False)
    parser.add_argument('--config-file')
    COMMANDS[program]._add_commands(parser.add_subparsers(required=True))

    assert parser.parse_args(arguments), page


def _commands(subparsers, before=''):
    for name, parser in subparsers.choices.items():
        deeper = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        for one in deeper:
            yield from _commands(one, f'{before}{name} ')
        if not deeper:
            yield f'{before}{name}', parser


@pytest.mark.parametrize('program', PROGRAMS)
def test_each_command_has_a_purpose_and_is_in_the_manual(program):
    """Each of its options has a text, too."""
    subparsers = argparse.ArgumentParser().add_subparsers()
    program.MANUAL.add_commands(subparsers)
    manual = (ROOT / 'doc' / 'source' / 'cli' / 'index.rst').read_text()

    for name, parser in _commands(subparsers):
        assert f'``{name}' in manual, name
        assert parser.description, name
        assert all(one.help for one in parser._actions), name


def test_options_of_pages_are_there():
    """Each option of ours that a page names with its section exists."""
    known = {}
    for group, options in opts.list_opts():
        known.setdefault(group or 'DEFAULT', set()).update(option.dest for option in options)
    named = {
        (path.name, section, option)
        for path in PAGES
        for section, option in OPTION.findall(path.read_text())
        if section in known and option not in OTHERS and 'compatibility' not in path.parts
    }

    assert len(named) > 50
    assert {one for one in named if one[2] not in known[one[1]]} == set()
