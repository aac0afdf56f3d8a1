"""Files that operators adapt: definitions, units, files of web servers, alert rules, dashboards."""

import argparse
import difflib
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from oslo_config import cfg

from cloudkitty import errors

HELP = (
    'print a sample file: metric definitions, systemd units, web server configuration, alert '
    'rules, dashboards, and the configuration with every option; without NAME, list them'
)
# Where the files are below the prefix of an installation.
SHARE = 'share/cloudkitty'
MARK = 'cloudkitty/metrics.yml'
COMPLETION = 'bash-completion/cloudkitty'
GENERATOR = 'oslo-config-generator/cloudkitty.conf'
# Made from the code that is installed.
CONFIGURATION = 'cloudkitty.conf'
POLICY = 'policy.yaml'
GENERATED = (CONFIGURATION, POLICY)


def add_command(subparsers) -> None:
    """Declare the command and its argument."""
    parser = subparsers.add_parser('sample', help=HELP, description=HELP)
    parser.add_argument('sample', nargs='?', metavar='NAME', help='name of the file, or its end')
    parser.set_defaults(run=run)


def run(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Print the file, or the list of all."""
    found = find()
    if arguments.sample is None:
        print('\n'.join(sorted([*found, *GENERATED])))
    elif arguments.sample == CONFIGURATION:
        _print_configuration(found)
    elif arguments.sample == POLICY:
        # Every command has this one, and would take as long to import as its own modules.
        from oslo_policy import generator as policy_generator

        policy_generator.generate_sample(['--namespace', 'cloudkitty'], cfg.ConfigOpts())
    else:
        sys.stdout.write(_chosen(found, arguments.sample).read_text(encoding='utf-8'))
    return 0


def print_completion() -> int:
    """Print the script that completes our commands in bash."""
    sys.stdout.write(find()[COMPLETION].read_text(encoding='utf-8'))
    return 0


def find() -> dict[str, Path]:
    """Return the files by name.

    :raises ConfigurationError: they are not installed.
    """
    folder = next((folder for folder in _folders() if (folder / MARK).is_file()), None)
    if folder is None:
        raise errors.ConfigurationError(
            reason=f'no folder {SHARE} is installed: the files are in etc/ of the source'
        )
    return {
        path.relative_to(folder).as_posix().removeprefix('cloudkitty/'): path
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def _folders():
    """Yield where the files may be: the source tree, what pip has recorded, usual prefixes."""
    yield Path(__file__).parents[2] / 'etc'
    try:
        for file in metadata.distribution('cloudkitty').files or ():
            if file.as_posix().endswith(f'{SHARE}/{MARK}'):
                yield Path(str(file.locate())).resolve().parents[1]
    except metadata.PackageNotFoundError:
        pass
    for prefix in (sysconfig.get_path('data'), '/usr/local', '/usr'):
        yield Path(prefix) / SHARE


def _chosen(found, name) -> Path:
    """Return the file of this name; its last part is enough if no other file has it."""
    chosen = [path for known, path in found.items() if f'/{known}'.endswith(f'/{name}')]
    if len(chosen) == 1:
        return chosen[0]
    near = difflib.get_close_matches(name, [*found, *GENERATED], 3, 0.4)
    what = 'several samples are' if chosen else 'no sample is'
    hint = f'; near: {", ".join(near)}' if near else ''
    raise errors.InvalidInput(reason=f'{what} named {name!r}{hint}')


def _print_configuration(found):
    # It brings docutils, which no daemon needs.
    from oslo_config import generator

    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf(['--config-file', str(found[GENERATOR])], project='cloudkitty-sample')
    generator.generate(conf, output_file=sys.stdout)
