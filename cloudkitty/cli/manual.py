"""Help of the commands: purpose, commands and examples first, then the options of libraries."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.cli import samples
from cloudkitty.writer import terminal

HELP = ('-h', '--help')
# Every option of oslo.config and oslo.log, as argparse prints them.
HELP_ALL = '--help-all'
COMPLETION = '--shell_completion'
OPTIONS = """\
common options, before the command:
    --config-file PATH  read this file (may be repeated) instead of those in
                        ~/.cloudkitty, ~, /etc/cloudkitty and /etc
    --config-dir DIR    read the files *.conf of this folder
    --debug             log everything
    --log-file PATH     log to this file
    --version           show the version
    --help-all          show every option"""


class Manual(NamedTuple):
    """What the help of a program says.

    :ivar examples: command lines without the name of the program.
    :ivar add_commands: declares the commands at argparse's subparsers; None: there are none.
    """

    purpose: str
    examples: tuple[str, ...]
    add_commands: Callable[[Any], None] | None = None

    def render(self, program: str) -> str:
        """Return the help of *program*."""
        examples = '\n'.join(f'    {program} {example}'.rstrip() for example in self.examples)
        parser = argparse.ArgumentParser(
            prog=program,
            usage='%(prog)s [options]' + (' COMMAND ...' if self.add_commands else ''),
            description=self.purpose,
            epilog=f'examples:\n{examples}\n\n{OPTIONS}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
        )
        if self.add_commands is not None:
            self.add_commands(parser.add_subparsers(title='commands', metavar='COMMAND'))
        return parser.format_help()


def run(main: Callable[[], int | None], manual: Manual, failure: int = 1) -> None:
    """Run *main* as conf.run() does; a call for help is answered here.

    :param failure: exit status for errors.
    """
    terminal.protect()
    arguments = sys.argv[1:]
    if arguments[:1] and arguments[0] in HELP:
        print(manual.render(os.path.basename(sys.argv[0])), end='')
        sys.exit(0)
    if arguments[:1] == [HELP_ALL]:
        sys.argv[1] = '--help'
    # oslo.config's own needs files that it does not install.
    if arguments == [COMPLETION, 'bash']:
        main = samples.print_completion
    configuration.run(main, failure)


def run_commands(
    manual: Manual, conf: cfg.ConfigOpts = cfg.CONF, *, results: bool = False
) -> cfg.ConfigOpts:
    """Return *conf* with the command line and the files read.

    :param results: whether standard output is reserved for results; log lines go elsewhere.
    """
    conf.register_cli_opt(
        cfg.SubCommandOpt('command', title='commands', handler=manual.add_commands)
    )
    configuration.register(conf)
    if results:
        conf.set_default('use_stderr', True)
    return configuration.load(sys.argv[1:], conf=conf)
