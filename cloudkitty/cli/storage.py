"""cloudkitty-storage: look after rated data: verify, rebuild, export, import, migrate."""

import contextlib
import os
import pathlib
import sys

from oslo_config import cfg
from rich import console, progress

from cloudkitty import conf as configuration
from cloudkitty import db, errors, timeframe
from cloudkitty.db import migration
from cloudkitty.storage.v1 import migrate
from cloudkitty.storage.v2.sql import files, rebuild, transfer, verify
from cloudkitty.storage.v2.sql.catalogue import Catalogue

STANDARD = '-'                       # standard input or output
FAULTY = 1                           # exit status
COMMANDS = {
    'verify': 'Compare roll-ups with points, look for periods stored twice, and compare progress '
              'with data. Prints one line for each row that is wrong; exit status 1 if there is '
              'one. Changes nothing and may run beside the processor.',
    'rebuild': 'Make roll-ups, and whatever else follows from the points, anew where they are '
               'wrong. Prints what it cannot make right; exit status 1 if there is any. May run '
               'beside the processor.',
    'export': 'Write rated data to a file. A whole export has the progress of the scopes too.',
    'import': 'Store rated data from a file that export wrote. A period in the file takes the '
              'place of the one that is stored, so doing it again changes nothing.',
    'migrate': 'Copy rated data of [storage]version 1 (table rated_data_frames) to the tables of '
               'version 2, driver sql. A period that is there already stays as it is; exit status '
               '1 if one of them has other points.',
}


def main() -> None:
    configuration.run(_main)


def _main():
    conf = cfg.CONF
    conf.register_cli_opt(cfg.SubCommandOpt('command', title='commands', handler=_add_commands))
    configuration.register(conf)
    # Standard output is for what was asked for.
    conf.set_default('use_stderr', True)
    configuration.load(sys.argv[1:], conf=conf)
    job = _Job(conf)
    return job.run()


def _add_commands(subparsers):
    for name, text in COMMANDS.items():
        parser = subparsers.add_parser(name, help=text.partition('. ')[0], description=text)
        if name != 'import':
            parser.add_argument('--begin', metavar='TIME', type=_moment,
                                help='only periods that begin at TIME or later (ISO 8601, UTC)')
            parser.add_argument('--end', metavar='TIME', type=_moment,
                                help='only periods that begin before TIME')
            parser.add_argument('--scope', metavar='ID', action='append',
                                help='only this scope; may be given several times')
        if name in ('export', 'import'):
            parser.add_argument('--format', choices=sorted(files.FORMATS), default='jsonl',
                                help='jsonl: JSON lines (default); parquet needs pyarrow')
            parser.add_argument('file', nargs='?', default=STANDARD,
                                help=f'path of the file; {STANDARD} or none: standard '
                                     f'{"output" if name == "export" else "input"}')
        if name == 'migrate':
            parser.add_argument('--source', metavar='URL',
                                help='database that has the table (default: '
                                     '[database]connection); @PATH reads the URL from a file, '
                                     'where a password is not seen by others')


def _moment(text):
    try:
        return timeframe.parse(text)
    except errors.InvalidInput as exc:
        raise ValueError(text) from exc


class _Job:
    """One run of a command."""

    def __init__(self, conf):
        self.conf = conf
        self.arguments = conf.command
        self.database = db.Database(conf)
        migration.check(self.database)
        self.catalogue = Catalogue(conf.collect.scope_key)

    def run(self) -> int:
        return {'verify': self.verify, 'rebuild': self.rebuild, 'export': self.export,
                'import': self.import_, 'migrate': self.migrate}[self.arguments.name]()

    @property
    def extent(self) -> transfer.Extent:
        return transfer.Extent(self.arguments.begin, self.arguments.end, self.arguments.scope)

    def _scopes(self):
        with self.database.reader() as connection:
            return verify.list_scopes(connection, self.arguments.scope)

    @property
    def _bounds(self):
        return self.arguments.begin, self.arguments.end

    def verify(self):
        scopes = self._scopes()
        faults = 0
        with _bar('scopes', len(scopes)) as step:
            for scope in scopes:
                for fault in verify.check(self.database, scope, *self._bounds):
                    faults += 1
                    print(f'{scope.identifier}: {fault}')
                step(1)
        _say(f'{len(scopes)} scopes verified, {faults} faults found')
        return FAULTY if faults else 0

    def rebuild(self):
        scopes = self._scopes()
        healed, left = 0, 0
        # The sums of a scope may follow from the days of others, so all days come first.
        with _bar('scopes', 2 * len(scopes)) as step:
            for make in (rebuild.rebuild_days, rebuild.rebuild_totals):
                for scope in scopes:
                    for outcome in make(self.database, scope, *self._bounds):
                        healed += outcome.healed
                        left += len(outcome.left)
                        for fault in outcome.left:
                            print(f'{scope.identifier}: {fault}')
                    step(1)
        _say(f'{len(scopes)} scopes rebuilt, {healed} rows made right, {left} faults left')
        return FAULTY if left else 0

    def export(self):
        extent = self.extent
        write, _ = files.FORMATS[self.arguments.format]
        count = transfer.count_frames(self.database, self.catalogue, extent)
        is_to_the_end = extent.begin is None and extent.end is None
        # Progress is read first: what is stored meanwhile is beyond it, and rated again.
        states = transfer.read_states(self.database, extent.scope_ids) if is_to_the_end else []
        head = files.Head(self.conf.collect.scope_key, states)
        cells = transfer.read_cells(self.database, self.catalogue, extent)
        with _sink(self.arguments.file) as sink, _bar('periods', count) as step:
            written = sum(_stepped(write(sink, head, cells), step))
        _say(f'{written} periods exported')
        return 0

    def import_(self):
        _, read = files.FORMATS[self.arguments.format]
        with _source(self.arguments.file) as source, _bar('periods', None) as step:
            head, cells = read(source)
            if head.scope_key != self.conf.collect.scope_key:
                raise errors.InvalidInput(
                    reason=f'the file has scopes of {head.scope_key!r}, [collect]scope_key is '
                           f'{self.conf.collect.scope_key!r}')
            stored = sum(_stepped(
                transfer.write_cells(self.database, self.catalogue, cells), step))
        # Last, so that no progress is without its data.
        changed = transfer.write_states(self.database, head.states)
        _say(f'{stored} periods imported, progress of {changed} scopes set')
        return 0

    def migrate(self):
        source = self._source_database()
        owners = migrate.list_owners(source, self.extent)
        counts = []
        with _bar('scopes', len(owners)) as step:
            for owner in owners:
                counts.append(migrate.migrate_owner(source, self.database, self.catalogue, owner,
                                                    self.extent))
                step(1)
                if counts[-1].different:
                    print(f'{owner}: {counts[-1].different} periods have other points in version 2 '
                          'and stay as they are')
        if source is not self.database and self.extent == transfer.Extent():
            transfer.write_states(self.database, migrate.read_states(source))
        moved, kept, different = map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0)
        _say(f'{moved} periods migrated, {kept} were there, {different} differ')
        return FAULTY if different else 0

    def _source_database(self):
        url = self.arguments.source
        if url is None:
            return self.database
        if url.startswith('@'):
            url = pathlib.Path(url[1:]).read_text().strip()
        other = configuration.load([], files=[], conf=cfg.ConfigOpts())
        other.set_override('connection', url, 'database')
        opened = db.Database(other)
        opened.check()
        return opened


@contextlib.contextmanager
def _bar(unit, total):
    """Yield a function that counts on; a bar is shown only to a person."""
    columns = (progress.TextColumn('{task.description}'), progress.BarColumn(),
               progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=console.Console(stderr=True),
                           disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(unit, total=total)
        yield lambda steps: shown.update(task, advance=steps)


def _stepped(counts, step):
    for count in counts:
        step(count)
        yield count


@contextlib.contextmanager
def _sink(path):
    """Yield where to write; the file has its name once it is whole."""
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = f'{path}.part'
    with _named(part, 'wb') as sink:
        yield sink
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(part, path)


@contextlib.contextmanager
def _source(path):
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    with _named(path, 'rb') as source:
        yield source


def _named(path, mode):
    try:
        return open(path, mode)
    except OSError as exc:
        raise errors.InvalidInput(reason=f'{path}: {exc.strerror}') from exc


def _say(text):
    print(text, file=sys.stderr)
