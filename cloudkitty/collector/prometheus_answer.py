"""Reads answers of Prometheus: columns, and what cannot be used."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from cloudkitty.core import metrics, repeated
from cloudkitty.core.bounds import EXPONENT_MAX, is_bounded
from cloudkitty.core.columns import NEGATIVE, NOT_NUMBERS, Column
from cloudkitty.core.dataframe import Series
from cloudkitty.core.decimals import INTEGER_DIGITS_MAX, ZERO
from cloudkitty.core.repeated import Repeated
from cloudkitty.core.timeframe import Period

NON_NUMBERS = frozenset(('NaN', '+Inf', '-Inf'))
# About 1 KiB each.
SERIES_KEPT_MAX = 30_000

Answer = Sequence[Mapping[str, Any]]
# Scope id, offset of the period, reason.
Place = tuple[str, int, str]


@dataclasses.dataclass
class Found:
    """What an answer has.

    :ivar columns: pairs of a scope id and a column.
    :ivar unusable: a place for each value that cannot be used.
    :ivar foreign: number of series of other scopes.
    """

    columns: list[tuple[str, Column]] = dataclasses.field(default_factory=list)
    unusable: list[Place] = dataclasses.field(default_factory=list)
    foreign: int = 0


class Reader:
    """Reads answers; equal series are the same object.

    Its methods raise LookupError, TypeError, ValueError, AttributeError, DecimalException or
    InvalidInput if an answer is not as expected.
    """

    def __init__(self, scope_key: str) -> None:
        self._scope_key = scope_key
        self._series: dict[Series, Series] = {}
        # The same by the key of the metric, the scope id, and the labels as JSON.
        self._series_by_labels: dict[tuple[str, str, bytes], Series] = {}

    def read(
        self,
        metric: metrics.Metric,
        answer: Answer,
        periods: Sequence[Period],
        scope_ids: Sequence[str],
    ) -> Found:
        """Return what *answer* has."""
        offsets = _offsets_of(periods)
        # Most series have values for all periods.
        instants, everywhere = tuple(offsets), range(len(periods))
        known = set(scope_ids)
        only_scope = _only(scope_ids)
        found = Found()
        for result in answer:
            labels = result['metric']
            scope_id = labels.get(self._scope_key, '') if only_scope is None else only_scope
            if scope_id not in known:
                found.foreign += 1
                continue
            samples = samples_of(result)
            at, texts = zip(*samples, strict=True) if samples else ((), ())
            own = everywhere if at == instants else [offsets[instant] for instant in at]
            own, quantities, unusable = _quantities(metric, own, texts)
            found.unusable.extend((scope_id, *one) for one in unusable)
            if quantities:
                series = self._series_of(metric, scope_id, labels)
                column = Column.unpriced(metric.published_name, series, own, quantities)
                found.columns.append((scope_id, column))
        return found

    def places(
        self, answer: Iterable[Mapping], periods: Sequence[Period], scope_ids: Sequence[str]
    ) -> Iterator[Place]:
        """Yield each place of the values in *answer*, which are no numbers, once."""
        offsets, only_scope = _offsets_of(periods), _only(scope_ids)
        known = set(scope_ids)
        found: set[tuple[str, int]] = set()
        for series in answer:
            labels = series['metric']
            scope_id = labels.get(self._scope_key, '') if only_scope is None else only_scope
            if scope_id in known:
                found.update((scope_id, offsets[instant]) for instant, _ in samples_of(series))
        for scope_id, offset in sorted(found):
            yield scope_id, offset, NOT_NUMBERS

    def _series_of(self, metric, scope_id, labels):
        """Return the series of *labels*, always the same object: it is compared by identity."""
        key = metric.key, scope_id, orjson.dumps(labels)
        known = self._series_by_labels.get(key)
        if known is None:
            if len(self._series_by_labels) > SERIES_KEPT_MAX:
                self._series_by_labels.clear()
                self._series.clear()
            series = metric.series({**labels, self._scope_key: scope_id})
            known = self._series_by_labels[key] = self._series.setdefault(series, series)
        return known


def samples_of(series: Mapping[str, Any]) -> Sequence[tuple[int, str]]:
    """Return (unix time, text) of the values of a series, of a range or of one instant."""
    return series['values'] if 'values' in series else [series['value']]


def has_non_numbers(answer: Answer) -> bool:
    """Return whether a value in *answer* is NaN or infinite."""
    try:
        return not NON_NUMBERS.isdisjoint(
            text for series in answer for _, text in samples_of(series)
        )
    except (LookupError, TypeError, ValueError):
        # It is refused when it is read.
        return False


def lost(whole: Answer, answer: Answer) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of the series in *whole* that are no numbers and that *answer* lacks."""
    known: dict[bytes, set[int]] = defaultdict(set)
    for series in answer:
        known[_labels_of(series)].update(at for at, _ in samples_of(series))
    for series in whole:
        there = known[_labels_of(series)]
        values = [
            (at, text) for at, text in samples_of(series) if text in NON_NUMBERS and at not in there
        ]
        if values:
            yield {'metric': series['metric'], 'values': values}


def _labels_of(series):
    return orjson.dumps(series['metric'], option=orjson.OPT_SORT_KEYS)


def _offsets_of(periods):
    return {int(period.end.timestamp()): offset for offset, period in enumerate(periods)}


def _only(scope_ids):
    """Return the only scope: a prefix or suffix may have dropped or replaced its label."""
    return scope_ids[0] if len(scope_ids) == 1 else None


def _quantities(metric, offsets, texts):
    """Return offsets and quantities of the values in *texts* that can be stored.

    :returns: and (offset, reason) of the others.
    """
    raw = repeated.apply(Decimal, repeated.find(texts))
    distinct = repeated.distinct_of(raw)
    if _all_bounded(distinct):
        quantities = metric.quantities(distinct)
        if max(map(Decimal.adjusted, quantities), default=0) < INTEGER_DIGITS_MAX and (
            metric.allow_negative or min(quantities, default=ZERO) >= 0
        ):
            spread = repeated.spread_of(raw)
            return offsets, quantities if spread is None else Repeated.of(quantities, spread), ()
    kept, unusable = [], []
    for offset, number in zip(offsets, raw, strict=True):
        if (
            not is_bounded(number)
            or (quantity := metric.quantity(number)).adjusted() >= INTEGER_DIGITS_MAX
        ):
            unusable.append((offset, NOT_NUMBERS))
        elif quantity < 0 and not metric.allow_negative:
            unusable.append((offset, NEGATIVE))
        else:
            kept.append((offset, quantity))
    return [offset for offset, _ in kept], [quantity for _, quantity in kept], unusable


def _all_bounded(numbers):
    """Return whether is_bounded() holds for all of *numbers*."""
    exponents = list(map(Decimal.adjusted, numbers))
    return (
        all(map(Decimal.is_finite, numbers))
        and max(exponents, default=0) <= EXPONENT_MAX
        and min(exponents, default=0) >= -EXPONENT_MAX
    )
