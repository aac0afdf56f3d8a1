"""Usage from the tables of embedded metering, see doc/source/admin/metering.rst."""

from datetime import UTC, datetime, timedelta

from oslo_config import cfg
from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from cloudkitty import db, errors
from cloudkitty.collector import point_builder, source_coverage
from cloudkitty.core import metrics
from cloudkitty.core.columns import NEGATIVE, Column
from cloudkitty.core.dataframe import FrozenDict, Series
from cloudkitty.core.decimals import INTEGER_DIGITS_MAX
from cloudkitty.core.metering import facts, quantities
from cloudkitty.core.metering.quantities import Grid
from cloudkitty.usage import packs, pieces, producers, reading, sampled

# Usage that was reported less than this ago may still be on its way.
SETTLE = timedelta(seconds=60)
PERIODS_MAX = 1000


def _hold(value):
    number = metrics.positive_number(value)
    if number > reading.HOLD_MAX_S:
        raise errors.InvalidInput(reason=f'must be at most {reading.HOLD_MAX_S}, not {number}')
    return number


class MeteringCollector(point_builder.ResourceCollector):
    """Collects from the tables of embedded metering; a metric's name is that of the meter."""

    collector_name = 'metering'
    GROUP = 'collector_metering'
    OPTS = [
        cfg.ListOpt(
            'sources',
            default=[],
            help='Sources in the order in which they count when several measure the same '
            'resource: in each period the first that has data. Others follow in the order of '
            'their names, and those of the project itself come last.',
        )
    ]
    EXTRA_ARGS = {
        'kind': metrics.choice(*facts.KINDS),
        'aggregation_method': metrics.choice(*quantities.METHODS),
        'per': metrics.choice('period', *quantities.UNITS_US),
        'hold': _hold,
        'first': metrics.choice(*quantities.FIRSTS),
        'source': metrics.short_text,
        'resource_key': metrics.short_text,
    }
    EXTRA_ARGS_DEFAULTS = {
        'kind': None,
        'aggregation_method': None,
        'per': 'period',
        'hold': pieces.HOLD_US // facts.SECOND_US,
        'first': 'life',
        'source': None,
        'resource_key': 'id',
    }
    is_authoritative = True

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self._reader = reading.Reader()
        # Opened on first use in the collecting process, never before a fork.
        self._opened: db.Database | None = None

    @classmethod
    def check_extra_args(cls, extra_args):
        checked = super().check_extra_args(extra_args)
        kind, method = checked['kind'], checked['aggregation_method']
        if kind and method and method not in quantities.METHODS_OF[kind]:
            raise errors.InvalidInput(
                reason=f'aggregation_method of kind {kind} must be one of '
                f'{", ".join(quantities.METHODS_OF[kind])}, not {method}'
            )
        if method and not kind:
            raise errors.InvalidInput(reason='aggregation_method needs kind')
        return checked

    @property
    def _database(self) -> db.Database:
        if self._opened is None:
            self._opened = db.Database(self.service_conf)
        return self._opened

    def collect_columns(self, metric_name, periods, scope_ids):
        """Yield pairs of a scope id and a column; see BaseCollector."""
        yield from point_builder.in_runs(
            periods, PERIODS_MAX, lambda run: self._collect(self.conf[metric_name], run, scope_ids)
        )

    def newest(self, metric_names, *, since, now):
        """Return up to when sources are complete, for the meters whose sources report it."""
        meters = {name: self.conf[name].name for name in metric_names}
        found = self._ask(
            lambda connection: producers.complete_until(
                connection, set(meters.values()), facts.to_us(since)
            )
        )
        return {
            name: min(facts.from_us(found[meter]), now - SETTLE)
            for name, meter in meters.items()
            if meter in found
        }

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        """Return the coverage of gauges and counters.

        States and deltas are not measured at fixed times: for these newest() is used.
        """
        found = source_coverage.examine(
            self,
            [self.conf[key] for key in metric_names],
            periods,
            known=known,
            now=now - SETTLE,
            first=source_coverage.some_of(scope_ids),
        )
        return {key: one for key, one in found.items() if one.has_samples or key in known}

    def instants(self, metric, span, step_s, scope_ids):
        step_us = step_s * facts.SECOND_US
        found = self._ask(
            lambda connection: sampled.sampled_at(
                connection,
                metric.name,
                metric.extra_args['source'],
                tuple(map(facts.to_us, span)),
                step_us=step_us,
                scope_ids=scope_ids,
            )
        )
        return [instant / facts.SECOND_US for instant in found]

    def resources(self, metric, span, alive_until):
        return self._ask(
            lambda connection: sampled.sampled_resources(
                connection,
                metric.name,
                metric.extra_args['source'],
                tuple(map(facts.to_us, span)),
            )
        )

    def _collect(self, metric, periods, scope_ids):
        begin = facts.to_us(periods[0].begin)
        grid = Grid(begin, facts.to_us(periods[0].end) - begin, len(periods))
        found = self._ask(lambda connection: self._read(connection, metric, grid, scope_ids))
        build = _SeriesOf(metric, self.scope_key)
        unusable = point_builder.UnusableValues(metric.key, periods)
        for one in found:
            offsets, amounts = one.offsets, metric.quantities(one.quantities)
            least, most = min(amounts), max(amounts)
            if max(least.adjusted(), most.adjusted()) >= INTEGER_DIGITS_MAX:
                raise errors.CollectError(
                    collector=self.collector_name,
                    reason=f'metric {metric.key}: a quantity has more than '
                    f'{INTEGER_DIGITS_MAX} digits before the point',
                )
            if least < 0 and not metric.allow_negative:
                kept = [index for index, quantity in enumerate(amounts) if quantity >= 0]
                for offset, quantity in zip(offsets, amounts, strict=True):
                    if quantity < 0:
                        unusable.add(one.scope_id, offset, NEGATIVE)
                offsets = [offsets[index] for index in kept]
                amounts = [amounts[index] for index in kept]
            if offsets:
                series = build(one)
                yield (
                    one.scope_id,
                    Column.unpriced(metric.published_name, series, offsets, amounts),
                )
        yield from unusable.found()

    def _read(self, connection, metric, grid, scope_ids):
        args = metric.extra_args
        query = pieces.Query(
            metric.name,
            args['kind'],
            args['aggregation_method'],
            args['per'],
            args['hold'] * facts.SECOND_US,
            args['first'],
            args['source'],
            tuple(self.options.sources),
        )
        if grid.begin < facts.to_us(datetime.now(UTC)) - packs.YOUNGEST_US:
            self._check_kept(connection, query, grid, scope_ids)
        grouping = _grouping(metric, self.scope_key)
        return list(self._reader.read(connection, query, grid, grouping, scope_ids))

    def _check_kept(self, connection, query, grid, scope_ids):
        """Refuse time whose samples were removed: it would count less than it did."""
        kept_from = reading.removed_before(connection, query, scope_ids, grid.begin)
        if kept_from is not None:
            raise errors.CollectError(
                collector=self.collector_name,
                reason=f'samples of meter {query.meter} before '
                f'{facts.render_us(kept_from)} are no longer kept, see '
                '[metering]keep_samples_days',
            )

    def _ask(self, query):
        """Return query(connection).

        :raises SourceUnreachable: the database does not answer.
        """
        try:
            with self._database.reader() as connection:
                db.hold_snapshot(connection)
                return query(connection)
        except (db_exception.DBError, sa_exc.SQLAlchemyError, errors.DatabaseUnavailable) as exc:
            raise errors.SourceUnreachable(
                collector=self.collector_name, reason=errors.describe(exc)
            ) from exc


def _grouping(metric, scope_key):
    resource_key = metric.extra_args['resource_key']
    names = [
        one for one in metric.groupby + metric.metadata if one not in (resource_key, scope_key)
    ]
    return reading.Grouping(tuple(names), by_resource=resource_key != scope_key)


class _SeriesOf:
    """Builds the series of usage; what is the same for many resources is built once."""

    def __init__(self, metric, scope_key):
        self._metric = metric
        self._scope_key = scope_key
        self._resource_key = metric.extra_args['resource_key']
        self._names = _grouping(metric, scope_key).names
        self._known = {}

    def __call__(self, amounts):
        known = self._known.get(amounts.values)
        if known is None:
            attributes = dict(zip(self._names, amounts.values, strict=True))
            known = self._known[amounts.values] = self._metric.series(attributes)
        groupby = {
            **known.groupby,
            self._resource_key: amounts.resource_id,
            self._scope_key: amounts.scope_id,
        }
        return Series(known.unit, FrozenDict(groupby), known.metadata, known.description)
