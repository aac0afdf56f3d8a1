"""cloudkitty-storage migrate --from DRIVER: what another driver keeps for the same SQL database."""

from collections import Counter
from collections.abc import Iterator

from cloudkitty import errors, storage
from cloudkitty.cli import storage_import
from cloudkitty.cli.progress import bar, say
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.series import retention_cutoff
from cloudkitty.storage.v2.series.cells import Cell, Extent
from cloudkitty.storage.v2.series.driver import SeriesStorage

FAULTY = 1  # exit status
DRIVERS = ('sql', 'clickhouse')
NAMES = ('quantity', 'price', 'number of points')


def add_arguments(parser) -> None:
    """Declare the arguments of migrate that concern another driver."""
    parser.add_argument(
        '--from',
        dest='driver',
        choices=DRIVERS,
        help='copy what this driver keeps, of the same [database]connection, to the one that '
        '[storage]backend names, instead of data of version 1; stop the processor before',
    )
    parser.add_argument(
        '--replace',
        action='store_true',
        help='with --from: replace periods that have other points in the new store',
    )


def run(conf, store: SeriesStorage, arguments, extent: Extent) -> int:
    """Copy as *arguments* say; return the exit status."""
    source = storage.get_series_driver(conf, arguments.driver)
    if isinstance(store, type(source)):
        raise errors.InvalidInput(
            reason=f'--from {arguments.driver}: [storage]backend names this driver; it must name '
            'the one to copy to'
        )
    counts: Counter[str] = Counter()
    different: Counter[str] = Counter()

    def new(step) -> Iterator[Cell]:
        for cell, is_same in store.cells.sort_known(source.cells.read(extent)):
            step(1)
            if is_same:
                counts['kept'] += 1
            elif is_same is None or arguments.replace:
                yield cell
            else:
                different[cell.owner] += 1

    with bar('periods', source.cells.count(extent)) as step:
        moved = sum(store.cells.write(new(step)))
    for owner, count in sorted(different.items()):
        print(f'{owner}: {count} periods have different points here and are not changed')
    say(f'{moved} periods migrated, {counts["kept"]} were there, {different.total()} differ')
    faults = _check_sums(conf.collect.scope_key, source, store, extent)
    return FAULTY if faults or different else 0


def _check_sums(scope_key, source: SeriesStorage, store: SeriesStorage, extent: Extent) -> int:
    """Print the sums by scope and metric that differ; return how many scopes and metrics do."""
    with source.database.reader() as connection:
        begin = retention_cutoff.read(connection).begin
    window = Period(max(begin, extent.begin or begin), extent.end or timeframe.LATEST)
    chosen = {scope_key: list(extent.scope_ids)} if extent.scope_ids else None
    old, new = (storage_import.totals(one, window, scope_key, chosen) for one in (source, store))
    wrong = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    for key in wrong:
        sides = zip(NAMES, old.get(key, (0, 0, 0)), new.get(key, (0, 0, 0)), strict=True)
        text = ', '.join(f'{name} {two} here, {one} there' for name, one, two in sides)
        print(f'{key[0]}: {key[1]}: {text}')
    if not wrong:
        say('the sums by scope and metric are the same')
    return len(wrong)
