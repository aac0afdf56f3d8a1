"""cloudkitty-usage compare: usage from Gnocchi beside that of embedded metering."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import prettytable

from cloudkitty import collector, db, errors
from cloudkitty.cli import argument_types, translating
from cloudkitty.cli.comparing import DIFFERENT, SAME, ratio
from cloudkitty.cli.progress import bar, say
from cloudkitty.collector import BaseCollector, metrics_file, translation
from cloudkitty.core import timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO, render_decimal
from cloudkitty.core.metering import facts
from cloudkitty.core.metrics import Metric
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import state
from cloudkitty.storage.former import bills
from cloudkitty.usage import inquiry, meter_list

DAY = timedelta(days=1)
# Differences whose causes are looked for.
INQUIRIES_MAX = 1000
# Gnocchi computes with floats of 64 bits, several times for a granule.
FLOATS = bills.Tolerance(
    Decimal('1e-12'), ZERO, 'Gnocchi computes with floats of 64 bits', Decimal('1e-9')
)


class Cell(NamedTuple):
    """A resource of a scope in a period."""

    period: Period
    scope_id: str
    metric: str
    resource_id: str


class Line(NamedTuple):
    """A compared cell; None: that side has nothing."""

    cell: Cell
    theirs: Decimal | None
    ours: Decimal | None
    outcome: bills.Outcome
    cause: str = ''


def add_arguments(parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        '--with',
        dest='other',
        required=True,
        choices=[translation.GNOCCHI],
        help='collector to compare with; its options are those of the configuration',
    )
    parser.add_argument(
        '--begin',
        metavar='TIME',
        type=argument_types.moment,
        help='begin, ISO 8601; default: yesterday (UTC)',
    )
    parser.add_argument(
        '--end', metavar='TIME', type=argument_types.moment, help='end; default: today (UTC)'
    )
    parser.add_argument(
        '--scope', action='append', metavar='ID', help='only this scope; repeatable'
    )
    parser.add_argument(
        '--their-metrics',
        metavar='FILE',
        help='definitions of the collector gnocchi; default: [collect]metrics_conf',
    )
    parser.add_argument(
        '--our-metrics',
        metavar='FILE',
        help='definitions of the collector metering; default: what cloudkitty-metrics translate '
        'makes of the others',
    )
    parser.add_argument(
        '--tolerance',
        metavar='R',
        type=ratio,
        help='relative difference that counts as none, for example 1e-3',
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')


def run(conf, database: db.Database) -> int:
    """Compare as the arguments say; return the exit status.

    :raises CollectError: Gnocchi does not answer as it should.
    """
    arguments = conf.command
    theirs, ours = _drivers(conf, arguments)
    tolerance = FLOATS
    if arguments.tolerance is not None:
        tolerance = bills.Tolerance(
            arguments.tolerance, ZERO, f'--tolerance {arguments.tolerance}', Decimal('1e-9')
        )
    periods = _periods(conf, arguments)
    comparison = Comparison(database, theirs, ours, tolerance)
    _say_single(comparison)
    scope_ids = arguments.scope or _scopes(conf, database)
    lines: list[Line] = []
    parts = [
        (some_periods, some_scopes)
        for some_periods in _cut(periods, conf.orchestrator.batch_periods)
        for some_scopes in _cut(scope_ids, conf.orchestrator.batch_scopes)
    ]
    with bar('batches', len(parts)) as done:
        for part in parts:
            lines += comparison.lines(*part)
            done(1)
    counts = Counter(
        'different' if line.outcome in bills.DIFFERING else str(line.outcome) for line in lines
    )
    counts.update(dict.fromkeys(('equal', 'within', 'different'), 0))
    different = [line for line in lines if line.outcome in bills.DIFFERING]
    (_print_json if arguments.json else _print_table)(different, counts, tolerance)
    return DIFFERENT if different else SAME


def _drivers(conf, arguments) -> tuple[BaseCollector, BaseCollector]:
    """Return the collectors of Gnocchi and of this service."""
    path = arguments.their_metrics or conf.collect.metrics_conf
    content = metrics_file.load(path)
    with translating.file_errors(path):
        theirs = _build(conf, translation.GNOCCHI, content)
        made = translation.translate(content, conf.collect.scope_key)
    own = arguments.our_metrics
    with translating.file_errors(own or path):
        ours = _build(conf, 'metering', metrics_file.load(own) if own else made.content)
    return theirs, ours


def _build(conf, name: str, content: Mapping[str, Any]) -> BaseCollector:
    conf.set_override('collector', name, 'collect')
    (instance,) = collector.get_members(conf)
    return collector.build(conf, instance, content)


def _periods(conf, arguments) -> list[Period]:
    """Return the periods that are compared: by default those of yesterday (UTC)."""
    today = timeframe.midnight(datetime.now(UTC).date())
    begin, end = arguments.begin or today - DAY, arguments.end or today
    length = timedelta(seconds=conf.collect.period)
    first = timeframe.period_at(begin, conf.collect.period).begin
    if begin >= end or first != begin or (end - begin) % length:
        raise errors.InvalidInput(
            reason=f'--begin, --end: there must be whole periods of {conf.collect.period} s '
            'between them'
        )
    return [Period(one.begin, one.end) for one in bills.windows(Period(begin, end), length)]


def _scopes(conf, database) -> list[str]:
    """Return the scopes that either side knows."""
    with database.reader() as connection:
        told = meter_list.scopes(connection)
        _, rated = state.list_scopes(connection, scope_key=[conf.collect.scope_key])
    return sorted({*told, *(one.scope_id for one in rated)})


def _say_single(comparison: 'Comparison') -> None:
    for side, names in comparison.single.items():
        if names:
            say(f'Not compared, since only {side} has a definition: {", ".join(names)}')


def _cut(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


class Comparison:
    """Compares what two collectors answer.

    :param theirs: of a source that takes samples.
    :param ours: the collector metering.
    :ivar single: names that only one of them has, by whose.
    """

    def __init__(
        self,
        database: db.Database,
        theirs: BaseCollector,
        ours: BaseCollector,
        tolerance: bills.Tolerance,
    ) -> None:
        self._database = database
        self._theirs = theirs
        self._ours = ours
        self._tolerance = tolerance
        there, here = _by_name(theirs), _by_name(ours)
        self._pairs = {name: (there[name], here[name]) for name in sorted(there) if name in here}
        self.single = {
            'Gnocchi': sorted(there.keys() - here.keys()),
            'metering': sorted(here.keys() - there.keys()),
        }
        self._inquiries = INQUIRIES_MAX

    def lines(self, periods: Sequence[Period], scope_ids: Sequence[str]) -> Iterator[Line]:
        """Yield a line for each cell that one of the sides has, by metric, scope and resource.

        :raises CollectError: a side does not answer.
        """
        for name, (there, here) in self._pairs.items():
            old = _collect(self._theirs, there, periods, scope_ids)
            new = _collect(self._ours, here, periods, scope_ids)
            gaps = None
            for key in sorted(old.keys() | new.keys(), key=lambda key: (key[1:], key[0])):
                cell = Cell(key[0], key[1], name, key[2])
                line = self._line(cell, old.get(key), new.get(key))
                if line.outcome in bills.DIFFERING:
                    if gaps is None:
                        gaps = self._gaps(there, periods)
                    line = line._replace(cause=self._cause(line, here, gaps))
                yield line

    def _line(self, cell: Cell, old: Decimal | None, new: Decimal | None) -> Line:
        before, after = old or ZERO, new or ZERO
        outcome = bills.Outcome.DIFFERENT
        if before == after:
            outcome = bills.Outcome.EQUAL
        elif self._tolerance.allows(before, after, 1):
            outcome = bills.Outcome.WITHIN
        elif old is None or new is None:
            outcome = bills.Outcome.NEW_ONLY if old is None else bills.Outcome.OLD_ONLY
        return Line(cell, old, new, outcome)

    def _gaps(self, metric: Metric, periods: Sequence[Period]) -> list[Any]:
        """Return when Gnocchi has no samples of a metric, of any scope."""
        found = self._theirs.coverage([metric.key], periods, known={}, now=datetime.now(UTC))
        return list(found[metric.key].gaps) if metric.key in found else []

    def _cause(self, line: Line, metric: Metric, gaps: Sequence[Any]) -> str:
        begin, end = line.cell.period
        for gap in gaps:
            if gap.begin < end and gap.end > begin:
                return (
                    f'Gnocchi has no samples from {timeframe.render(gap.begin)} '
                    f'to {timeframe.render(gap.end)}'
                )
        if not self._inquiries:
            return 'not investigated'
        self._inquiries -= 1
        with self._database.reader() as connection:
            db.hold_snapshot(connection)
            found = inquiry.cause(
                connection,
                inquiry.Subject(
                    line.cell.scope_id,
                    metric.name,
                    line.cell.resource_id,
                    facts.to_us(begin),
                    facts.to_us(end),
                    metric.extra_args['hold'] * facts.SECOND_US,
                ),
            )
        return found or ('Gnocchi has nothing of it' if line.theirs is None else '')


def _by_name(driver: BaseCollector) -> dict[str, Metric]:
    return {metric.published_name: metric for metric in driver.conf.values()}


def _collect(
    driver: BaseCollector, metric: Metric, periods: Sequence[Period], scope_ids: Sequence[str]
) -> dict[tuple[Period, str, str], Decimal]:
    """Return quantities by period, scope and resource."""
    found: dict[tuple[Period, str, str], Decimal] = defaultdict(Decimal)
    try:
        for scope_id, period, points in driver.collect(metric.key, periods, scope_ids):
            for point in points:
                resource_id = point.series.groupby[metric.extra_args['resource_key']]
                key = (period, scope_id, resource_id)
                found[key] = SUM_CONTEXT.add(found[key], point.qty)
    except errors.NoDataCollected:
        pass
    return dict(found)


def _difference(line: Line) -> Decimal:
    return SUM_CONTEXT.subtract(line.ours or ZERO, line.theirs or ZERO)


def _shown(quantity: Decimal | None) -> str | None:
    return None if quantity is None else render_decimal(quantity)


def _print_table(lines: Sequence[Line], counts: Mapping[str, int], tolerance: bills.Tolerance):
    if lines:
        table = prettytable.PrettyTable(
            ['Begin', 'Scope', 'Type', 'Resource', 'Gnocchi', 'Here', 'Difference', 'Cause'],
            align='l',
        )
        for line in lines:
            table.add_row(
                [
                    timeframe.render(line.cell.period.begin),
                    *line.cell[1:],
                    _shown(line.theirs) or '-',
                    _shown(line.ours) or '-',
                    render_decimal(_difference(line)),
                    line.cause or 'unknown',
                ]
            )
        print(table)
    if counts['within']:
        say(f'{counts["within"]} differ by rounding only: {tolerance.reason}')
    print(f'{counts["equal"]} equal, {counts["within"]} within, {counts["different"]} different')


def _print_json(lines: Sequence[Line], counts: Mapping[str, int], tolerance: bills.Tolerance):
    rows = [
        {
            'begin': timeframe.render(line.cell.period.begin),
            'end': timeframe.render(line.cell.period.end),
            'scope_id': line.cell.scope_id,
            'type': line.cell.metric,
            'resource_id': line.cell.resource_id,
            'gnocchi': _shown(line.theirs),
            'metering': _shown(line.ours),
            'outcome': line.outcome,
            'cause': line.cause or None,
        }
        for line in lines
    ]
    numbers = {name: counts[name] for name in ('equal', 'within', 'different')}
    json.dump({**numbers, 'tolerance': tolerance.reason, 'differences': rows}, sys.stdout, indent=1)
    print()
