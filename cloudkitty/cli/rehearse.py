"""cloudkitty-status rehearse: rates the last periods again, without storing them."""

import dataclasses
import functools
from collections import Counter
from concurrent import futures
from datetime import timedelta
from decimal import Decimal

import prettytable
from oslo_config import cfg

from cloudkitty import collector, db, errors, pipeline, storage
from cloudkitty.cli.comparing import DIFFERENT, SAME, UNKNOWN
from cloudkitty.cli.progress import bar, say
from cloudkitty.core import timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO, render_decimal
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration
from cloudkitty.rating import skip
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.former import bills, causes
from cloudkitty.storage.former.rest import Amount
from cloudkitty.storage.v2.series.cells import Extent
from cloudkitty.storage.v2.series.frame_rows import RATED

HOUR_S = 3600
REASONS_MAX = 10
NO_COST = Amount(ZERO, ZERO)


def add_arguments(parser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        '--hours',
        type=int,
        default=72,
        metavar='N',
        help='the last N hours of each scope that are rated; default: 72',
    )
    parser.add_argument(
        '--scope', action='append', metavar='SCOPE_ID', help='only this scope; may be repeated'
    )


def run(conf: cfg.ConfigOpts, arguments) -> int:
    """Rehearse as *arguments* say; return the exit status."""
    if arguments.hours * HOUR_S < conf.collect.period:
        raise errors.InvalidInput(reason='--hours: must cover at least one period')
    rehearsal = Rehearsal(conf)
    scopes = rehearsal.scopes(arguments.scope)
    if not scopes:
        raise errors.NotFound(
            reason='No active scope of the configured fetcher, collector and scope key has been '
            'rated.'
        )
    with bar('scopes', len(scopes)) as done:
        rehearsal.run(scopes, arguments.hours * HOUR_S // conf.collect.period, done)
    return rehearsal.report()


class Rehearsal:
    """Rates stored periods again and compares them. Nothing is stored.

    :ivar held: reasons why periods could not be rated, and how many scopes each concerns.
    :ivar silent: stored periods for which the source has nothing.
    """

    def __init__(self, conf: cfg.ConfigOpts):
        self.database = db.Database(conf)
        migration.check(self.database)
        self.identity = scope_state.Identity.of(conf)
        self.store = storage.get_series_driver(conf)
        self.length = timedelta(seconds=conf.collect.period)
        self.batch_periods = conf.orchestrator.batch_periods
        self.batch_scopes = conf.orchestrator.batch_scopes
        source = collector.get_driver(conf)
        self.pipeline = pipeline.Pipeline(
            collector=source,
            modules=ModuleSet(conf, self.database),
            commit=self._compare,
            skips=skip.of_definitions(conf, source.conf),
            pool=futures.ThreadPoolExecutor(conf.orchestrator.max_threads, 'collect'),
            timeout_s=conf.orchestrator.collector_request_timeout,
            keeps_empty=True,
            points_max=conf.orchestrator.batch_points,
        )
        self.held: Counter[str] = Counter()
        self.silent = 0
        # By scope id and metric.
        self._totals: dict[tuple[str, str], tuple[Amount, Amount]] = {}
        self._causes: dict[tuple[str, str], set[str]] = {}

    def scopes(self, scope_ids) -> list[scope_state.Scope]:
        """Return the active scopes of the configured fetcher, collector and scope key."""
        with self.database.reader() as connection:
            _, found = scope_state.list_scopes(
                connection,
                scope_id=scope_ids,
                active=[True],
                scope_key=[self.identity.scope_key],
                fetcher=[self.identity.fetcher],
                collector=[self.identity.collector],
            )
        return sorted(found, key=lambda scope: (scope.mark, scope.scope_id))

    def run(self, scopes, count, done) -> None:
        """Rate the last *count* periods of *scopes*, which are ordered by their marks."""
        for first in range(0, len(scopes), self.batch_scopes):
            part = scopes[first : first + self.batch_scopes]
            for mark in sorted({scope.mark for scope in part}):
                own = [scope for scope in part if scope.mark == mark]
                begin = mark - self.length * (count - 1)
                for start in range(0, count, self.batch_periods):
                    periods = [
                        Period(begin + self.length * number, begin + self.length * (number + 1))
                        for number in range(start, min(start + self.batch_periods, count))
                    ]
                    self._rate(own, periods)
                done(len(own))

    def _rate(self, scopes, periods) -> None:
        """Rate a batch, in halves if it is too large."""
        before = [_at(scope, periods[0].begin - self.length) for scope in scopes]
        try:
            outcome = self.pipeline.run(pipeline.Batch(before, periods))
        except errors.BatchTooLarge:
            for half in _halves(scopes):
                for span in (periods,) if len(scopes) > 1 else _halves(periods):
                    self._rate(half, span)
            return
        self.held.update(held.reason for held in outcome.held)

    def _compare(self, parts):
        """Compare what would be stored with what is stored; called in place of a commit."""
        for part in parts:
            window = Period(part.mark + self.length, part.new_mark + self.length)
            new = _Bill(part.usage)
            old = self._stored(part.scope_id, window)
            self.silent += len(old.begins - new.begins)
            self._add(part.scope_id, old, new)
        return []

    def _stored(self, scope_id, window) -> '_Bill':
        extent = Extent(window.begin, window.end, [scope_id])
        cells = self.store.cells.read(extent)
        return _Bill(cell.frame for cell in cells if cell.origin == RATED)

    def _add(self, scope_id, old, new):
        # A task would keep a period for which the source has nothing.
        begins = sorted(new.begins)
        for metric in sorted(old.metrics | new.metrics):
            pairs = [
                causes.Pair(
                    Period(begin, begin + self.length),
                    old.amount(begin, metric),
                    new.amount(begin, metric),
                )
                for begin in begins
            ]
            key = scope_id, metric
            before = self._totals.get(key, (NO_COST, NO_COST))
            self._totals[key] = (
                functools.reduce(_plus, (pair.old for pair in pairs), before[0]),
                functools.reduce(_plus, (pair.new for pair in pairs), before[1]),
            )
            if any(
                bills.outcome_of(pair.old, pair.new, bills.FLOATS) in bills.DIFFERING
                for pair in pairs
            ):
                self._causes.setdefault(key, set()).add(self._cause(*key, pairs, (old, new)))

    def _cause(self, scope_id, metric, pairs, sides):
        old, new = sides
        evidence = causes.Evidence(
            lambda window, scope_id, metric: len(old.groups(window.begin, metric)),
            lambda window, scope_id, metric: new.groups(window.begin, metric),
        )
        investigator = causes.Investigator(self.database, evidence, bills.FLOATS, self.length)
        return investigator.cause(scope_id, metric, pairs) or 'unknown'

    def report(self) -> int:
        """Print old and new prices by metric; return the exit status."""
        table = prettytable.PrettyTable(
            ['Type', 'Old', 'New', 'Difference', 'Scopes', 'Differ', 'Cause'], align='l'
        )
        for metric in sorted({metric for _, metric in self._totals}):
            table.add_row(self._row(metric))
        print(table)
        if self.silent:
            say(f'{self.silent} stored periods have no data in the source and were not compared')
        for reason, count in self.held.most_common(REASONS_MAX):
            say(f'{count} scopes could not be rated: {reason}')
        differing = {key for key in self._totals if key in self._causes}
        print(
            f'{len(self._totals) - len(differing)} equal or within rounding, '
            f'{len(differing)} different'
        )
        if self.held:
            return UNKNOWN
        return DIFFERENT if differing else SAME

    def _row(self, metric):
        keys = [key for key in self._totals if key[1] == metric]
        old, new = (
            functools.reduce(
                SUM_CONTEXT.add, (self._totals[key][side].price for key in keys), Decimal(0)
            )
            for side in (0, 1)
        )
        differ = [key for key in keys if key in self._causes]
        found = sorted({cause for key in differ for cause in self._causes[key]})
        return [
            metric,
            render_decimal(old),
            render_decimal(new),
            render_decimal(SUM_CONTEXT.subtract(new, old)),
            len(keys),
            len(differ),
            '; '.join(found),
        ]


class _Bill:
    """Points of a scope by period and metric."""

    def __init__(self, frames):
        self._points = {}
        self.begins = set()
        for frame in frames:
            self.begins.add(timeframe.to_utc(frame.start))
            for metric, points in frame.itertypes():
                self._points[frame.start, metric] = points

    @property
    def metrics(self):
        return {metric for _, metric in self._points}

    def amount(self, begin, metric):
        points = self._points.get((begin, metric), ())
        return functools.reduce(
            _plus, (Amount(point.qty, point.price, 1) for point in points), NO_COST
        )

    def groups(self, begin, metric):
        return [point.series.groupby for point in self._points.get((begin, metric), ())]


def _plus(one, other):
    return Amount(
        SUM_CONTEXT.add(one.qty, other.qty),
        SUM_CONTEXT.add(one.price, other.price),
        one.points + other.points,
    )


def _at(scope, mark):
    return dataclasses.replace(scope, mark=mark)


def _halves(items):
    middle = len(items) // 2
    return [part for part in (items[:middle], items[middle:]) if part]
