"""cloudkitty-metrics translate: the definitions of one collector as those of another."""

import contextlib
import pathlib
import sys
from collections.abc import Iterator

import yaml

from cloudkitty import errors
from cloudkitty.cli.progress import say
from cloudkitty.collector import metrics_file, translation

HELP = (
    'Print the definitions of FILE, which are for the collector gnocchi, as definitions for the '
    'collector metering. What counts differently from now on is said on standard error, and what '
    'has no counterpart, which is left out: then the exit status is 1.'
)


def add_command(subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser('translate', help=HELP, description=HELP)
    parser.add_argument('file', metavar='FILE', help='metric definition file, YAML')
    parser.add_argument(
        '--from',
        dest='origin',
        required=True,
        choices=[translation.GNOCCHI],
        help='collector that the definitions are for',
    )
    parser.add_argument(
        '--output', metavar='FILE', help='write to this file, which must not exist, instead'
    )
    parser.set_defaults(run=run, collector=None)


def run(conf, arguments) -> int:
    """Translate as *arguments* say; return the exit status.

    :raises MetricsFileError: the file cannot be read, or is wrong.
    """
    document = metrics_file.read(arguments.file)
    with file_errors(arguments.file):
        made = translation.translate(document.content, conf.collect.scope_key)
    text = (
        f'# Made of {pathlib.Path(arguments.file).name} by cloudkitty-metrics translate.\n'
        + yaml.safe_dump(made.content, sort_keys=False, allow_unicode=True)
    )
    _write(text, arguments.output)
    for kind, remarks in (('note', made.notes), ('left out', made.missing)):
        for remark in remarks:
            line, column = document.place_of(remark.path)
            say(f'{arguments.file}:{line}:{column}: {kind}: {remark.text}')
    return 1 if made.missing else 0


@contextlib.contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Let what is wrong with definitions name their file."""
    try:
        yield
    except errors.InvalidInput as exc:
        raise errors.MetricsFileError(path=path, reason=exc) from exc


def _write(text: str, path: str | None) -> None:
    if path is None:
        sys.stdout.write(text)
        return
    try:
        with open(path, 'x', encoding='utf-8') as file:
            file.write(text)
    except OSError as exc:
        raise errors.InvalidInput(reason=f'--output: {path}: {exc.strerror or exc}') from exc
