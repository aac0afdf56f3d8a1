"""Arguments that are refused."""

import argparse
import importlib
import pkgutil

import pytest

from cloudkitty import cli

# Their names tell a user what is expected: invalid int value.
PLAIN = (None, int, float)


def _typed_arguments():
    """Yield (argument, its type) of all commands."""
    for found in pkgutil.iter_modules(cli.__path__):
        manual = getattr(importlib.import_module(f'{cli.__name__}.{found.name}'), 'MANUAL', None)
        if manual is not None and manual.add_commands is not None:
            parser = argparse.ArgumentParser(prog=found.name)
            manual.add_commands(parser.add_subparsers())
            yield from _of_parser(parser)


def _of_parser(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _of_parser(command)
        elif action.type not in PLAIN:
            yield f'{parser.prog} {"/".join(action.option_strings) or action.dest}', action.type


@pytest.mark.parametrize('text', ['?', 'nan', ''])
def test_a_refused_argument_names_the_reason(text):
    arguments = dict(_typed_arguments())
    assert len(arguments) > 15
    for name, kind in arguments.items():
        # argparse shows the text of this error; of others, the name of the function.
        with pytest.raises(argparse.ArgumentTypeError):
            kind(text)
            pytest.fail(f'{name} accepts {text!r}')
