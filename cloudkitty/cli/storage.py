"""cloudkitty-storage: verify, rebuild, export, import, compare and migrate rated data."""

import contextlib
import os
import pathlib
import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors, storage, writer
from cloudkitty.cli import (
    argument_types,
    comparing,
    manual,
    storage_compare,
    storage_export,
    storage_import,
    storage_migrate,
)
from cloudkitty.cli.progress import bar, say
from cloudkitty.collector import metrics_file
from cloudkitty.core import metrics
from cloudkitty.db import migration
from cloudkitty.storage.v1 import migrate
from cloudkitty.storage.v2.series import changes, dump, faults
from cloudkitty.storage.v2.series.cells import Extent

STANDARD = '-'  # standard input or output
FAULTY = 1  # exit status
COMMANDS = {
    'verify': 'Compare roll-ups with points, search for periods that are stored twice, and '
    'compare progress with data. Print one line for each wrong row; exit status 1 if there is one. '
    'Changes nothing and may run beside the processor.',
    'rebuild': 'Recompute roll-ups, and whatever else is derived from the points, where they are '
    'wrong. Print what cannot be corrected; exit status 1 if there is any. May run beside the '
    'processor.',
    'export': 'Write rated data to a file, or with --to to the store of an earlier release. A '
    'complete export to a file includes the progress of the scopes. In a store, existing periods '
    'are compared and kept; the exit status is 1 if any differs.',
    'import': 'Import rated data from a file of the export, or with --from from the store of an '
    'earlier release. A period of a file replaces the stored one; a period of a store does so only '
    'with --replace, otherwise the exit status is 1 if any differs. Repeating an import changes '
    'nothing.',
    'compare': 'Query the API of an earlier release day by day, and compare its bill with what is '
    'stored here. Print a line with the likely cause for each difference; exit status 0: there is '
    'none, 1: there are some, 255: unknown. Changes nothing.',
    'migrate': 'Copy rated data of [storage]version 1 (table rated_data_frames) to the store of '
    'version 2, or with --from what another driver of version 2 keeps. Periods that are stored '
    'already are kept; exit status 1 if any of them has other points, or if sums differ.',
}

MIGRATED = (
    'next: when all is migrated, set [storage]version = 2 and backend = sql, and restart the API '
    'and the processor'
)

# What declares the arguments that only one command has.
ARGUMENTS = {
    'export': storage_export.add_arguments,
    'import': storage_import.add_arguments,
    'compare': storage_compare.add_arguments,
    'migrate': storage_migrate.add_arguments,
}


def main() -> None:
    # The answer to compare is unknown when it fails.
    failure = comparing.UNKNOWN if 'compare' in sys.argv else FAULTY
    manual.run(_main, MANUAL, failure)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf, results=True)
    return _Job(conf, conf.command).run()


def _add_commands(subparsers):
    for name, text in COMMANDS.items():
        parser = subparsers.add_parser(name, help=text.partition('. ')[0], description=text)
        parser.add_argument(
            '--begin',
            metavar='TIME',
            type=argument_types.moment,
            help='only periods that begin at TIME or later (ISO 8601, UTC)',
        )
        parser.add_argument(
            '--end',
            metavar='TIME',
            type=argument_types.moment,
            help='only periods that begin before TIME',
        )
        parser.add_argument(
            '--scope',
            metavar='ID',
            action='append',
            help='only this scope; may be given several times',
        )
        if name in ARGUMENTS:
            ARGUMENTS[name](parser)
        if name in ('export', 'import'):
            parser.add_argument(
                '--format',
                choices=writer.names(),
                default='jsonl',
                help='jsonl: JSON lines (default); parquet needs pyarrow; csv and osrf cannot '
                'be imported',
            )
            parser.add_argument(
                'file',
                nargs='?',
                default=STANDARD,
                help=f'path of the file; {STANDARD} or none: standard '
                f'{"output" if name == "export" else "input"}',
            )
        if name == 'migrate':
            parser.add_argument(
                '--metrics-conf',
                metavar='FILE',
                help='metric definitions that distinguish metadata from the attributes to group '
                'by (default: [collect]metrics_conf, if that file exists)',
            )
            parser.add_argument(
                '--source',
                metavar='URL',
                help='database that has the table (default: [database]connection); @PATH reads '
                'the URL from a file, so that its password is not visible to others',
            )


class _Job:
    """One run of a command."""

    def __init__(self, conf, arguments):
        self.conf = conf
        self.arguments = arguments
        self.store = storage.get_series_driver(conf)
        self.database = self.store.database
        migration.check(self.database)

    def run(self) -> int:
        return {
            'verify': self.verify,
            'rebuild': self.rebuild,
            'export': self.export,
            'import': self.import_,
            'compare': lambda: storage_compare.run(self.conf, self.store, self.arguments),
            'migrate': self.migrate,
        }[self.arguments.name]()

    @property
    def extent(self) -> Extent:
        return Extent(self.arguments.begin, self.arguments.end, self.arguments.scope)

    def _scopes(self):
        with self.database.reader() as connection:
            return faults.list_scopes(connection, self.arguments.scope)

    @property
    def _bounds(self):
        return self.arguments.begin, self.arguments.end

    def verify(self):
        scopes = self._scopes()
        count = 0
        with bar('scopes', len(scopes)) as step:
            for scope in scopes:
                for fault in self.store.verify(scope, *self._bounds):
                    count += 1
                    print(f'{scope.identifier}: {fault}')
                step(1)
        say(f'{len(scopes)} scopes verified, {count} faults found')
        return FAULTY if count else 0

    def rebuild(self):
        scopes = self._scopes()
        corrected, left = 0, 0
        repairs = self.store.repairs
        with bar('scopes', len(repairs) * len(scopes)) as step:
            for repair in repairs:
                for scope in scopes:
                    for outcome in repair(scope, *self._bounds):
                        corrected += outcome.corrected
                        left += len(outcome.left)
                        for fault in outcome.left:
                            print(f'{scope.identifier}: {fault}')
                    step(1)
        say(f'{len(scopes)} scopes rebuilt, {corrected} rows corrected, {left} faults left')
        return FAULTY if left else 0

    def export(self):
        extent, arguments = self.extent, self.arguments
        if arguments.store:
            return storage_export.run(self.conf, self.store, arguments, extent)
        if arguments.dry_run or arguments.replace:
            raise errors.InvalidInput(reason='--dry-run and --replace need --to')
        made = writer.get_writer(self.arguments.format)
        count = self.store.cells.count(extent)
        is_to_the_end = extent.begin is None and extent.end is None
        # Progress is read first: data that is stored meanwhile is after it, and is rated again.
        states = dump.read_states(self.database, extent.scope_ids) if is_to_the_end else []
        report = writer.Report(
            self.conf.collect.scope_key,
            states,
            dump.to_periods(self.store.cells.read(extent)),
        )
        with _sink(self.arguments.file) as sink, bar('periods', count) as step:
            written = sum(_stepped(made.write(report, sink), step))
        say(f'{written} periods exported')
        return 0

    def import_(self):
        if self.arguments.store:
            return storage_import.run(self.conf, self.store, self.arguments, self.extent)
        arguments = self.arguments
        if self.extent != Extent() or arguments.dry_run or arguments.replace:
            raise errors.InvalidInput(
                reason='--begin, --end, --scope, --dry-run and --replace need --from'
            )
        reader = writer.get_writer(self.arguments.format)
        with _source(self.arguments.file) as source, bar('periods', None) as step:
            report = reader.read(source)
            if report.scope_key != self.conf.collect.scope_key:
                raise errors.InvalidInput(
                    reason=f'the file has scopes of {report.scope_key!r}, [collect]scope_key is '
                    f'{self.conf.collect.scope_key!r}'
                )
            cells = dump.to_cells(report.periods)
            found, stored = 0, 0
            for updated in self.store.cells.update(cells, changes.of(self.conf)):
                step(updated.cells)
                found += updated.cells
                stored += updated.stored
        # Progress is written last, so that it never exists without its data.
        changed = dump.write_states(self.database, report.progress)
        say(
            f'{stored} periods imported, {found - stored} were there, progress of {changed} scopes '
            'set'
        )
        return 0

    def migrate(self):
        if self.arguments.driver:
            return storage_migrate.run(self.conf, self.store, self.arguments, self.extent)
        if self.arguments.replace:
            raise errors.InvalidInput(reason='--replace needs --from')
        source = self._source_database()
        definitions = self._definitions()
        owners = migrate.list_owners(source, self.extent)
        counts = []
        with bar('scopes', len(owners)) as step:
            for owner in owners:
                counts.append(
                    migrate.migrate_owner(source, self.store.cells, owner, self.extent, definitions)
                )
                step(1)
                if counts[-1].different:
                    print(
                        f'{owner}: {counts[-1].different} periods have different points in version '
                        '2 and are not changed'
                    )
        if source is not self.database and self.extent == Extent():
            dump.write_states(self.database, migrate.read_states(source))
        moved, kept, different = map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0)
        say(f'{moved} periods migrated, {kept} were there, {different} differ')
        if self.conf.storage.version == 1 and not different:
            say(MIGRATED)
        return FAULTY if different else 0

    def _definitions(self):
        """Return the definitions by published name; none without a file.

        :raises MetricsFileError: the file that is named cannot be used.
        """
        path = self.arguments.metrics_conf or self.conf.collect.metrics_conf
        if self.arguments.metrics_conf is None and not os.path.exists(path):
            return migrate.NO_DEFINITIONS
        content = metrics_file.read(path).content
        try:
            found = metrics.parse(content, scope_key=self.conf.collect.scope_key)
        except errors.InvalidInput as exc:
            raise errors.MetricsFileError(path=path, reason=exc) from exc
        return {metric.published_name: metric for metric in found.values()}

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


def _stepped(counts, step):
    for count in counts:
        step(count)
        yield count


@contextlib.contextmanager
def _sink(path):
    """Yield the output file, which only gets its name once it is complete."""
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


MANUAL = manual.Manual(
    'Verify, repair, export, import and copy rated data, and compare it with another bill.',
    (
        'verify --begin 2026-10-01',
        'export --begin 2026-10-01 --end 2026-11-01 october.jsonl',
        'import --from influxdb --dry-run',
        'compare --with http://former:8889 --begin 2026-10-01 --end 2026-11-01',
    ),
    _add_commands,
)
