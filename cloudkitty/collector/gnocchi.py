"""Usage from Gnocchi: aggregates of many resources at once, with their attributes at the time."""

import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cloudkitty import collector, errors
from cloudkitty.clients import gnocchi
from cloudkitty.collector import gnocchi_coverage, gnocchi_query, point_builder, source_coverage
from cloudkitty.collector.resampling import FOREVER, Granules, Span
from cloudkitty.core import columns, timeframe
from cloudkitty.core.bounds import to_decimal
from cloudkitty.core.columns import points_of
from cloudkitty.core.coverage import GAP
from cloudkitty.core.dataframe import DataPoint, FrozenDict, Series
from cloudkitty.core.decimals import INTEGER_DIGITS_MAX, ZERO
from cloudkitty.core.timeframe import EPOCH, Period

LOG = logging.getLogger(__name__)

MICROSECOND = timedelta(microseconds=1)
# Limits of one request and its answer; a granule is about 45 bytes.
SCOPES_MAX = 1000
RESOURCES_MAX = 1000
GRANULES_MAX = 500_000
# About 1 KiB each.
SERIES_KEPT_MAX = 30_000


class Revision(NamedTuple):
    """A revision of a resource, valid for some time.

    :ivar attributes: the requested ones by name.
    """

    span: Span
    scope_id: str
    attributes: dict[str, Any]


class GnocchiCollector(collector.BaseCollector):
    """Collects aggregates of Gnocchi.

    Resources are searched with their history, so each point has the attributes of its time. The
    usage of a resource in a period is divided among its revisions by their time.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector: gnocchi".
    """

    collector_name = 'gnocchi'
    GROUP = 'collector_gnocchi'
    OPTS = gnocchi.OPTS

    def __init__(self, **arguments):
        super().__init__(**arguments)
        for metric in self.conf.values():
            gnocchi_query.check_granularity(metric, self.period)
        self._series: dict[Series, Series] = {}
        self.client = gnocchi.Client(
            self.service_conf, self.group, pool_size=self.service_conf.orchestrator.max_threads
        )

    @classmethod
    def check_configuration(cls, conf, scope_key):
        found = super().check_configuration(conf, scope_key)
        return {key: gnocchi_query.with_resource_key(metric) for key, metric in found.items()}

    @classmethod
    def check_extra_args(cls, extra_args):
        return gnocchi_query.check_extra_args(extra_args)

    def source_times(self):
        now = self.client.clock.now()
        return () if now is None else (now,)

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        periods = [Period(start, end)]
        found = self._collect(self.conf[metric_name], periods, [scope_id], q_filter)
        return [point for *_, points in points_of(found, periods) for point in points]

    def collect(self, metric_name, periods, scope_ids):
        return points_of(self.collect_columns(metric_name, periods, scope_ids), periods)

    def collect_columns(self, metric_name, periods, scope_ids):
        """Yield pairs of a scope id and a column; see BaseCollector."""
        if periods:
            for part in _parts(scope_ids, SCOPES_MAX):
                yield from self._collect(self.conf[metric_name], periods, part)

    def newest(self, metric_names, *, since, now):
        """Return the watermarks from the first thousand resources that are in use.

        The watermark is the end of the newest of the shortest granules. If there are more
        resources, a metric that none of the first thousand has is left out.
        """
        resources: dict[str, list[str]] = {}
        found = {}
        for key in metric_names:
            metric = self.conf[key]
            kind = metric.extra_args['resource_type']
            if kind not in resources:
                rows = self.client.search(kind, {'=': {'ended_at': None}}, attributes=['id'])
                resources[kind] = [row['id'] for row in itertools.islice(rows, RESOURCES_MAX)]
            recently = max(since, now - timedelta(seconds=2 * self.period))
            instant = self._newest(metric, resources[kind], recently, now) or self._newest(
                metric, resources[kind], since, now
            )
            if instant is not None or len(resources[kind]) < RESOURCES_MAX:
                found[key] = instant
        return found

    def _newest(self, metric, resource_ids, since, now):
        if not resource_ids:
            return None
        answer = self.client.aggregates(
            gnocchi_query.operations(metric),
            metric.extra_args['resource_type'],
            resource_ids,
            begin=since,
            end=now,
            granularity_s=metric.extra_args['force_granularity'],
        )
        try:
            ends = [end for _, rows in answer for end in _ends(rows)]
        except (TypeError, ValueError) as exc:
            raise self._error(f'unexpected answer for {metric.name}: {exc}') from exc
        return min(now, max(ends)) if ends and max(ends) >= since else None

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        """Return the coverage, to one granule: shorter gaps are not visible."""
        sight = gnocchi_coverage.Sight(self.client, self.scope_key)
        try:
            return source_coverage.examine(
                sight,
                [self.conf[key] for key in metric_names],
                periods,
                known=known,
                now=now,
                first=source_coverage.some_of(scope_ids),
            )
        except (LookupError, TypeError, ValueError) as exc:
            raise self._error(f'unexpected answer: {exc}') from exc

    def _collect(self, metric, periods, scope_ids, q_filter=None):
        span = Period(periods[0].begin, periods[-1].end)
        unusable = point_builder.UnusableValues(metric.key, periods)
        try:
            resources = self._resources(metric, span, scope_ids, q_filter)
            usage = self._usage(metric, span, periods, resources, unusable)
        except (LookupError, TypeError, ValueError, errors.InvalidInput) as exc:
            raise self._error(f'unexpected answer for {metric.name}: {exc}') from exc
        points = self._points(metric, usage, periods, unusable)
        yield from columns.columns_of(metric.published_name, points, periods)
        yield from unusable.found()

    def _error(self, reason):
        return errors.CollectError(
            collector=self.collector_name, reason=f'{self.client.name}: {reason}'
        )

    # Resources and their revisions

    def _resources(self, metric, span, scope_ids, q_filter):
        """Return the revisions of each resource that belonged to one of these scopes in *span*."""
        conditions = [
            {'=': {'type': metric.extra_args['resource_type']}},
            *gnocchi_query.alive(span, self.period),
            {'in': {self.scope_key: list(scope_ids)}},
        ]
        if q_filter:
            conditions.append(q_filter)
        wanted = set(scope_ids)
        found: dict[str, dict[int, Revision]] = defaultdict(dict)
        for row in self._search(metric, conditions, (*metric.groupby, *metric.metadata)):
            revision = self._revision(metric, row)
            known = found[row['id']].get(revision.span.begin)
            # A resource that changes while pages are read occurs twice: in its old and new state.
            if revision.scope_id in wanted and (known is None or known.span.end == FOREVER):
                found[row['id']][revision.span.begin] = revision
        revisions = {
            resource_id: [by_begin[begin] for begin in sorted(by_begin)]
            for resource_id, by_begin in found.items()
            if by_begin
        }
        self._extend_first(metric, span, revisions)
        return revisions

    def _search(self, metric, conditions, attributes):
        names = dict.fromkeys(('id', 'revision_start', 'revision_end', *attributes))
        return self.client.search(
            metric.extra_args['resource_type'],
            {'and': conditions},
            attributes=list(names),
            history=True,
        )

    def _revision(self, metric, row):
        for name in metric.groupby:
            if name not in row:
                raise self._error(
                    f'resource type {metric.extra_args["resource_type"]!r} has no '
                    f'attribute {name!r}, which metric {metric.name} is grouped by'
                )
        scope_id = str(row[self.scope_key])
        attributes = {name: '' if value is None else value for name, value in row.items()}
        return Revision(_span_of(row), scope_id, {**attributes, self.scope_key: scope_id})

    def _extend_first(self, metric, span, revisions):
        """Extend the first revision of a resource back to its first measures.

        Gnocchi creates a resource when its first measures arrive, which may be late. The first
        revision found here may also follow one of another scope.
        """
        begin = _instant(span.begin)
        late = [
            resource_id for resource_id, found in revisions.items() if found[0].span.begin > begin
        ]
        for part in _parts(late, RESOURCES_MAX):
            oldest: dict[str, int] = {}
            for row in self._search(
                metric, [{'in': {'id': part}}, gnocchi_query.not_over(span)], ()
            ):
                instant = _span_of(row).begin
                oldest[row['id']] = min(instant, oldest.get(row['id'], instant))
            for resource_id in part:
                first = revisions[resource_id][0]
                if oldest.get(resource_id, first.span.begin) >= first.span.begin:
                    revisions[resource_id][0] = first._replace(
                        span=first.span._replace(begin=-FOREVER)
                    )

    # Measures

    def _usage(self, metric, span, periods, resources, unusable):
        """Return {(scope id, offset of the period): {group: [raw quantity, attributes]}}."""
        usage: dict[tuple, dict] = defaultdict(dict)
        spans = [Span(*map(_instant, period)) for period in periods]
        ignored = 0
        for resource_id, granules, lost in self._granules(metric, span, list(resources)):
            for offset, instants in enumerate(spans):
                for revision, windows in self._groups(metric, instants, resources[resource_id]):
                    raw = self._part(metric, granules, instants, windows)
                    if raw is not None:
                        group = tuple(revision.attributes[name] for name in metric.groupby)
                        total = usage[revision.scope_id, offset].setdefault(group, [ZERO, None])
                        total[0] += raw
                        total[1] = revision.attributes
                    count = lost.overlapping(instants, windows) if lost else 0
                    if count > GAP or count and raw is None:
                        unusable.add(revision.scope_id, offset, columns.NOT_NUMBERS, count)
                    else:
                        # The others of the period tell the usage.
                        ignored += count
        if ignored:
            LOG.warning(
                'Metric %s: %d granules that are NaN or infinite skipped', metric.key, ignored
            )
        return usage

    def _granules(self, metric, span, resource_ids):
        """Yield (resource id, granules, those that are no numbers); None: there are none."""
        args = metric.extra_args
        length_s = args['force_granularity']
        begin = span.begin
        if gnocchi_query.makes_differences(metric):
            # The first difference is to the granule before.
            begin -= timedelta(seconds=length_s or self.period)
        count = max(1, (span.end - begin) // timedelta(seconds=length_s or 60))
        for part in _parts(resource_ids, max(1, min(RESOURCES_MAX, GRANULES_MAX // count))):
            for resource_id, rows in self.client.aggregates(
                gnocchi_query.operations(metric),
                args['resource_type'],
                part,
                begin=begin,
                end=span.end,
                granularity_s=length_s,
            ):
                if rows:
                    yield resource_id, *self._granules_of(metric, rows)

    def _granules_of(self, metric, rows):
        """Return the coarsest granules that divide the period, and those that are no numbers."""
        finite = [row for row in rows if _is_finite(row[2])]
        lengths = {length for _, length, _ in finite or rows}
        usable = [length for length in lengths if length > 0 and self.period % length == 0]
        if not usable:
            raise self._error(
                f'metric {metric.name} has granules of {sorted(lengths)} s only; a '
                f'period of {self.period} s is not made of them'
            )
        values, lost = (
            sorted(
                (_instant(datetime.fromisoformat(begin)), value)
                for begin, length, value in part
                if length == max(usable)
            )
            for part in (
                [(*row[:2], to_decimal(row[2])) for row in finite],
                [(*row[:2], ZERO) for row in rows if not _is_finite(row[2])],
            )
        )
        length_us = round(max(usable) * 1_000_000)
        return Granules(length_us, dict(values)), Granules(length_us, dict(lost)) if lost else None

    def _groups(self, metric, period, revisions):
        """Return (last revision, windows) of each groupby group that the resource was in."""
        found: dict[tuple, tuple] = {}
        for revision in revisions:
            if revision.span.begin < period.end and revision.span.end > period.begin:
                key = revision.scope_id
                if metric.extra_args['use_all_resource_revisions']:
                    key = tuple(revision.attributes[name] for name in metric.groupby)
                windows = found[key][1] if key in found else []
                found[key] = (revision, [*windows, revision.span])
        return found.values()

    def _part(self, metric, granules, period, windows):
        try:
            return granules.usage(gnocchi_query.method(metric), period, windows)
        except ValueError as exc:
            raise self._error(
                f'metric {metric.name}: {exc} of a period cannot be told from '
                'several granules; use another aggregation_method'
            ) from exc

    # Points

    def _points(self, metric, usage, periods, unusable):
        """Return [(scope id, period, points)]."""
        found = []
        for (scope_id, offset), groups in usage.items():
            calendar = FrozenDict(timeframe.calendar_of(periods[offset].begin))
            points = []
            for raw, attributes in groups.values():
                qty = metric.quantity(raw)
                if qty.adjusted() >= INTEGER_DIGITS_MAX:
                    unusable.add(scope_id, offset, columns.NOT_NUMBERS)
                    continue
                if qty < 0 and not metric.allow_negative:
                    unusable.add(scope_id, offset, columns.NEGATIVE)
                    continue
                series = self._shared(metric.series(attributes))
                points.append(DataPoint.of(series, qty, ZERO, calendar))
            found.append((scope_id, periods[offset], points))
        return found

    def _shared(self, series):
        """Intern *series*: later code compares series by identity."""
        if len(self._series) > SERIES_KEPT_MAX:
            self._series.clear()
        return self._series.setdefault(series, series)


def _span_of(row):
    end = row['revision_end']
    return Span(
        _instant(datetime.fromisoformat(row['revision_start'])),
        FOREVER if end is None else _instant(datetime.fromisoformat(end)),
    )


def _is_finite(value: Any) -> bool:
    """Return whether a value is a number; what is none at all is left to to_decimal()."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _instant(moment: datetime) -> int:
    """Return microseconds since the epoch; a time without a zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND


def _ends(rows):
    """Yield the ends of the shortest granules: longer ones may still be incomplete."""
    shortest = min((length for _, length, _ in rows), default=None)
    for begin, length, value in rows:
        if value is not None and length == shortest:
            yield datetime.fromisoformat(begin) + timedelta(seconds=length)


def _parts(items: Sequence, size: int) -> Iterator[Sequence]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
