"""cloudkitty-storage export --to STORE: rated data for an earlier release, the way back."""

import functools
from datetime import datetime, timedelta

from cloudkitty.cli.progress import bar, say
from cloudkitty.core import timeframe
from cloudkitty.db.adoption import scope_rows
from cloudkitty.storage import former
from cloudkitty.storage.former import exporter, influxdb_writer
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.series.driver import SeriesStorage

FAULTY = 1  # exit status


def add_arguments(parser) -> None:
    """Declare the arguments of export that concern a store of an earlier release."""
    parser.add_argument(
        '--to',
        dest='store',
        choices=[former.INFLUXDB],
        help='write to the store of an earlier release instead of a file: what was rated here '
        'since the adoption, or what --begin and --end select; its section of the configuration '
        'file, [storage_influxdb], has its address',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='with --to: read, compare and count only'
    )
    parser.add_argument(
        '--replace',
        action='store_true',
        help='with --to: replace periods that have other points there',
    )


def run(conf, store: SeriesStorage, arguments, extent: Extent) -> int:
    """Export as *arguments* say; return the exit status."""
    writer = influxdb_writer.InfluxDBWriter(conf)
    length = timedelta(seconds=conf.collect.period)
    job = exporter.Exporter(
        writer,
        functools.partial(_since, store.database, length, extent.begin),
        is_dry_run=arguments.dry_run,
        is_replacing=arguments.replace,
    )
    count = store.cells.count(extent)
    with bar('periods', count) as step:
        for done in job.run(store.cells.read(extent)):
            step(done)
    _report(job, is_dry_run=arguments.dry_run)
    return FAULTY if job.counts.different else 0


def _since(database, length, begin: datetime | None, scope_id: str) -> datetime:
    """Return the begin of the first period that the earlier release has not rated."""
    if begin is not None:
        return begin
    with database.reader() as connection:
        last = scope_rows.rated_until(connection, scope_id)
    return timeframe.EPOCH if last is None else timeframe.from_naive(last) + length


def _report(job, *, is_dry_run):
    counts, losses = job.counts, job.writer.losses
    for scope_id, count in sorted(counts.different.items()):
        print(f'{scope_id}: {count} periods have different points there and are not changed')
    for count, text in (
        (
            losses.merged,
            'points were added to another one of their period, because only metadata tells them '
            'apart and the store keeps one of such points',
        ),
        (
            losses.long_numbers,
            'quantities or prices have more than 15 digits: the store rounds them to a float',
        ),
        (losses.attributes, 'metadata were left out, which the store cannot hold'),
    ):
        if count:
            say(f'{count} {text}')
    verb = 'would be written' if is_dry_run else 'written'
    say(
        f'{counts.points} points in {counts.written} periods {verb}, {counts.kept} were there, '
        f'{counts.replaced} replaced, {sum(counts.different.values())} differ'
    )
