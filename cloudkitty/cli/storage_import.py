"""cloudkitty-storage import --from STORE: rated data of earlier releases."""

import functools
from datetime import UTC, datetime, timedelta

from cloudkitty import errors
from cloudkitty.cli.progress import bar, say
from cloudkitty.core import timeframe
from cloudkitty.core.decimals import render_decimal
from cloudkitty.core.timeframe import Period
from cloudkitty.db.adoption import scope_rows
from cloudkitty.scopes import state
from cloudkitty.storage import former, query
from cloudkitty.storage.former import importer, stores
from cloudkitty.storage.v2.series import retention_cutoff
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.series.driver import SeriesStorage

HOUR = timedelta(hours=1)
FAULTY = 1  # exit status
NAMES_MAX = 10
SCOPES_KNOWN = 10_000
REHEARSED = 'nothing was changed; next: run this without --dry-run'
IMPORTED = (
    'next: set [storage]backend = sql (or remove it), and import again what the earlier release '
    'rates until it is stopped'
)


def add_arguments(parser) -> None:
    """Declare the arguments of import that concern stores of earlier releases."""
    parser.add_argument(
        '--from',
        dest='store',
        choices=former.NAMES,
        help='read the store of an earlier release instead of a file; its section of the '
        'configuration file, for example [storage_influxdb], has its address',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='with --from: read, compare and count only'
    )
    parser.add_argument(
        '--replace',
        action='store_true',
        help='with --from: replace periods that have different points here, unless this service '
        'rated them',
    )


def run(conf, store: SeriesStorage, arguments, extent: Extent) -> int:
    """Import as *arguments* say; return the exit status."""
    database = store.database
    reader = stores.get_reader(conf, arguments.store)
    choice = importer.Choice(
        extent,
        is_dry_run=arguments.dry_run,
        is_replacing=arguments.replace,
        keep_from=functools.lru_cache(SCOPES_KNOWN)(
            functools.partial(_keep_from, database, timedelta(seconds=conf.collect.period))
        ),
    )
    job = importer.Importer(store.cells, reader, choice)
    window = job.window()
    if window is None:
        say(f'{arguments.store} holds no rated data in this time range')
        return 0
    _refuse_old(conf, database, window)
    with bar('hours', -((window.begin - window.end) // HOUR)) as step:
        counts = job.run(window, lambda length: step(length / HOUR))
    _report(arguments, reader, counts)
    faults = sum(counts.different.values())
    if arguments.dry_run:
        say(REHEARSED)
        return FAULTY if faults else 0
    _report_progress(database, counts)
    faults += _check_sums(store, reader, counts, extent)
    if not faults and conf.storage.backend == arguments.store:
        say(IMPORTED)
    return FAULTY if faults else 0


def _keep_from(database, length, scope_id):
    """Return the time from which on this service rated a scope; None: it did not.

    Periods from then on are never replaced.
    """
    with database.reader() as connection:
        _, known = state.list_scopes(connection, scope_id=[scope_id])
        last = scope_rows.rated_until(connection, scope_id)
    if not known:
        return None
    return timeframe.EPOCH if last is None else timeframe.from_naive(last) + length


def _refuse_old(conf, database, window):
    """Raise InvalidInput if points of *window* would be removed at once."""
    with database.reader() as connection:
        first = retention_cutoff.read(connection).begin
    hours = conf.storage.retention_period
    if hours is not None:
        first = max(first, timeframe.midnight((datetime.now(UTC) - timedelta(hours=hours)).date()))
    if window.begin < first:
        raise errors.InvalidInput(
            reason=f'the first period begins at {timeframe.render(window.begin)}, and '
            f'[storage]retention_period removes points before {timeframe.render(first)}: unset it, '
            f'or import with --begin {first:%Y-%m-%d}'
        )


def _report(arguments, reader, counts):
    for scope_id, count in sorted(counts.different.items()):
        print(f'{scope_id}: {count} periods have different points here and are not changed')
    for scope_id, count in sorted(counts.holes(reader.period_s).items())[:NAMES_MAX]:
        span = counts.spans[scope_id]
        say(
            f'{scope_id}: {count} periods between {timeframe.render(span.first)} and '
            f'{timeframe.render(span.last)} have no points'
        )
    for count, text in (
        (counts.without_scope, f'points have no {reader.scope_key}; they belong to scope {""!r}'),
        (counts.doubles, 'points duplicate another point of their period; both are kept'),
        (reader.remarks.unreadable, 'entries are not rated points and are skipped'),
        (
            counts.long_numbers,
            'quantities or prices have more than 15 digits: a float has rounded them',
        ),
    ):
        if count:
            say(f'{count} {text}')
    if reader.remarks.lost_keys:
        names = ', '.join(sorted(reader.remarks.lost_keys)[:NAMES_MAX])
        say(f'the store has overwritten these attributes: {names}')
    window = counts.window
    if window is None:
        say('no points')
        return
    last = window.end - timedelta(seconds=1)
    say(
        f'{counts.points} points of {len(counts.spans)} scopes read, periods of '
        f'{timeframe.render(window.begin)} to {timeframe.render(last)}'
    )
    verb = 'would be imported' if arguments.dry_run else 'imported'
    say(
        f'{counts.stored} periods {verb}, {counts.kept} were there, {counts.replaced} replaced, '
        f'{sum(counts.different.values())} differ'
    )


def _report_progress(database, counts):
    unknown = importer.count_unknown(database, list(filter(None, counts.spans)))
    if unknown:
        say(
            f'{unknown} scopes have no progress here: adopt the database of the earlier release '
            'before the processor rates them'
        )


def _check_sums(store, reader, counts, extent):
    """Print where the former store's own sums differ from what is stored; return how often."""
    window = counts.window
    if window is None:
        return 0
    found = importer.compare_sums(
        reader, lambda part: totals(store, part, reader.scope_key), window, extent.scope_ids
    )
    if found is None:
        say('the store computes no sums to compare with')
        return 0
    count = 0
    for one in found:
        count += 1
        print(
            f'{one.scope_id}: {one.metric} of {one.month:%Y-%m}: {one.name} is '
            f'{render_decimal(one.new)} here, {render_decimal(one.old)} there'
        )
    if not count:
        say("the store's own sums by scope, metric and month are the same")
    return count


def totals(
    store: SeriesStorage, window: Period, scope_key: str, filters: query.Filters | None = None
) -> importer.Totals:
    """Return quantity, price and number of points in *window* by scope id and metric."""
    rows = store.total(
        [scope_key, 'type'],
        window.begin,
        window.end,
        filters=filters,
        custom_fields='SUM(qty) AS qty, SUM(price) AS rate, COUNT(qty) AS points',
        paginate=False,
    )['results']
    return {
        (row[scope_key] or '', row['type']): (row['qty'], row['rate'], row['points'])
        for row in rows
    }
