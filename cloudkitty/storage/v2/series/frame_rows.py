"""Conversion of columns to table rows: series become ids, numbers become text.

The periods of a batch mostly hold the same series, so what depends on a series is computed once per
batch and not once per point.
"""

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import block, decimals, repeated, timeframe
from cloudkitty.core.columns import Column
from cloudkitty.core.dataframe import Series
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.series import series_ids

# Shorter text without exponent always fits the columns.
PLAIN_DIGITS_MAX = decimals.INTEGER_DIGITS_MAX
RATED = 0  # origin of frames that the processor rated
PUSHED = 1  # origin of frames pushed over the API

_MEMBER = operator.attrgetter('metric', 'series')


class Part(NamedTuple):
    """The new content of (scope, period) pairs of one origin.

    :ivar usage: periods of a scope; aware UTC bounds.
    :ivar can_wait: whether its sums by series may be added later, see folding; they follow what is
        stored of the scope.
    """

    origin: int
    usage: ScopePeriods
    can_wait: bool = False

    @property
    def owner(self) -> str:
        """The scope; parts that are to be stored always have one."""
        assert self.usage.scope_id is not None
        return self.usage.scope_id


class Frame(NamedTuple):
    """The values for one row of rated_frames: columns in the order of series ids."""

    owner: int
    origin: int
    begin: datetime
    end: datetime
    ids: Sequence[int]
    quantities: Sequence[Decimal]
    prices: Sequence[Decimal]
    block: bytes


class NumberedColumn(NamedTuple):
    """A column with the id of its series.

    :ivar offsets: of its periods in the batch.
    """

    id: int
    offsets: Sequence[int]
    quantities: Sequence[Decimal]
    prices: Sequence[Decimal]


class NumberedPart(NamedTuple):
    """A part with series ids, from which all its rows are made.

    :ivar columns: in the order of series ids; of one series as they were given. None: there is one
        frame, which says the same.
    :ivar frames: those periods that have points or are to lose them.
    """

    usage: ScopePeriods
    columns: Sequence[NumberedColumn] | None
    frames: Sequence[Frame]


class Layout(NamedTuple):
    """Order of the columns of a scope in its blocks.

    :ivar ids: series ids of the columns, ascending.
    :ivar order: the permutation that sorts the columns by id.
    :ivar line: the block's line of ids for a period that has all series.
    """

    ids: Sequence[int]
    order: Sequence[int]
    line: str


# Number of a scope, and its columns.
Owned = tuple[int, list[Column]]


class IdAssignment:
    """Assigns ids within one transaction; fill_cache() caches them after the commit."""

    def __init__(self, connection: sa.Connection, id_cache: series_ids.IdCache) -> None:
        self.connection = connection
        self.id_cache = id_cache
        self.scopes: dict[str, int] = {}
        self.series: dict[series_ids.Entry, int] = {}
        self.layouts: dict[int, tuple[list[Any], Layout]] = {}
        # Of the locked scopes, see IdCache.forget_removed().
        self.removals: dict[int, int] = {}

    def add_scopes(self, owners: Iterable[str]) -> None:
        """Look up the numbers of *owners* and add them to `scopes`."""
        self.scopes.update(self.id_cache.scope_numbers(self.connection, set(owners)))

    def fill_cache(self) -> None:
        """Add the new ids to the cache; call it after the commit."""
        removed = self.id_cache.find_removed(self.removals)
        series = {one: number for one, number in self.series.items() if one.owner not in removed}
        layouts = {one: layout for one, layout in self.layouts.items() if one not in removed}
        self.id_cache.add(self.scopes, series)
        self.id_cache.add_layouts(layouts)

    def assign(self, parts: Sequence[Part]) -> list[NumberedPart]:
        """Return *parts* with the ids of their series."""
        self.add_scopes(part.owner for part in parts)
        owners = [self.scopes[part.owner] for part in parts]
        return [
            _numbered(part, owner, columns, layout)
            for part, owner, (columns, layout) in zip(
                parts, owners, self._laid_out(parts, owners), strict=True
            )
        ]

    def places(self, ids: set[int]) -> Mapping[int, series_ids.Place]:
        """Return the places of series ids, including those assigned in this transaction."""
        # An id assigned in this transaction must not be cached before the commit.
        made = {number: series_ids.place_of(entry) for entry, number in self.series.items()}
        return self.id_cache.places(self.connection, ids - made.keys()) | made

    def _laid_out(
        self, parts: Sequence[Part], owners: Sequence[int]
    ) -> list[tuple[Sequence[Column], Layout]]:
        """Return the columns of each of *parts* with series that can be stored, and their layout.

        Lists of the same series objects are compared by identity, not by content.
        """
        found: list[tuple[Sequence[Column], Layout | None]] = []
        unknown: list[Owned] = []
        kept: list[list[Any] | None] = []
        for part, owner in zip(parts, owners, strict=True):
            members = list(map(_MEMBER, part.usage.columns))
            known, layout = self.id_cache.layout(owner)
            if known == members:
                found.append((part.usage.columns, layout))
                continue
            plain = _plain(part.usage)
            found.append((plain, None))
            unknown.append((owner, plain))
            # One with calendar attributes holds for its own periods alone.
            is_plain = all(map(operator.is_, plain, part.usage.columns))
            kept.append(members if is_plain else None)
        layouts = list(map(_layout, self._number(unknown)))
        for (owner, _), shape, made_layout in zip(unknown, kept, layouts, strict=True):
            if shape is not None:
                self.layouts[owner] = (shape, made_layout)
        made = iter(layouts)
        return [(columns, next(made) if layout is None else layout) for columns, layout in found]

    def _number(self, owned: Sequence[Owned]) -> list[list[int]]:
        """Return the ids of the columns of each (owner, columns) of *owned*."""
        numbers: list[list[int | None]] = []
        missing: set[tuple[int, str, Series]] = set()
        for owner, columns in owned:
            known = {
                metric: self.id_cache.known(owner, metric)
                for metric in {column.metric for column in columns}
            }
            ids = [known[column.metric].get(column.series) for column in columns]
            numbers.append(ids)
            if None in ids:
                missing.update(
                    (owner, column.metric, column.series)
                    for number, column in zip(ids, columns, strict=True)
                    if number is None
                )
        if not missing:
            return [[number for number in ids if number is not None] for ids in numbers]
        entries = self._entries(missing)
        made = self.id_cache.series_ids(self.connection, entries.values())
        self.series.update(made)
        return [
            [
                number or made[entries[owner, column.metric, column.series]]
                for number, column in zip(ids, columns, strict=True)
            ]
            for ids, (owner, columns) in zip(numbers, owned, strict=True)
        ]

    def _entries(
        self, missing: Iterable[tuple[int, str, Series]]
    ) -> dict[tuple[int, str, Series], series_ids.Entry]:
        """Return the new rows for each (owner, metric, series) of *missing*."""
        owners = {number: name for name, number in self.scopes.items()}
        key = self.id_cache.scope_key
        named = {
            (owner, series): str(series.groupby.get(key, owners[owner]))
            for owner, _, series in missing
        }
        self.scopes.update(
            self.id_cache.scope_numbers(self.connection, set(named.values()) - self.scopes.keys())
        )
        return {
            (owner, metric, series): series_ids.Entry(
                owner, self.scopes[named[owner, series]], metric, series
            )
            for owner, metric, series in missing
        }


def _plain(usage: ScopePeriods) -> list[Column]:
    """Return the columns of *usage*; their series lack the period's calendar attributes."""
    columns: list[Column] = []
    for column in usage.columns:
        if not series_ids.has_calendar(column.series):
            columns.append(column)
            continue
        indexes: dict[Series, list[int]] = {}
        for index, offset in enumerate(column.offsets):
            begin = usage.periods[offset].begin
            indexes.setdefault(series_ids.without_calendar(column.series, begin), []).append(index)
        columns += [column.kept(own)._replace(series=series) for series, own in indexes.items()]
    return columns


def _layout(ids: Sequence[int]) -> Layout:
    order = sorted(range(len(ids)), key=ids.__getitem__)
    ids = tuple(ids[index] for index in order)
    return Layout(ids, order, block.line_of_ids(ids))


def _numbered(part: Part, owner: int, columns: Sequence[Column], layout: Layout) -> NumberedPart:
    columns = [columns[index] for index in layout.order]
    if len(part.usage.offsets) == 1:
        return _numbered_period(part, owner, columns, layout)
    offsets = [column.offsets for column in columns]
    quantities, quantity_texts = _fitting([column.quantities for column in columns], offsets)
    prices, price_texts = _fitting([column.prices for column in columns], offsets)
    items = block.price_items(offsets, quantities, prices, price_texts)
    found = [
        NumberedColumn(*one) for one in zip(layout.ids, offsets, quantities, prices, strict=True)
    ]
    table = _by_offset(
        part.usage.offsets, offsets, (quantities, prices, quantity_texts, items), layout
    )
    return NumberedPart(part.usage, found, [_frame(owner, part, *row) for row in table])


def _numbered_period(
    part: Part, owner: int, columns: Sequence[Column], layout: Layout
) -> NumberedPart:
    """Return what _numbered() does of a part with one period: a row is shorter than its columns."""
    (offset,) = part.usage.offsets
    offsets = [[offset] * len(columns)]
    (quantities,), (texts,) = _fitting([[column.quantities[0] for column in columns]], offsets)
    (prices,), (price_texts,) = _fitting([[column.prices[0] for column in columns]], offsets)
    items = block.line_of_prices(quantities, prices, price_texts)
    row = (quantities, prices, texts, [items] if columns else [])
    return NumberedPart(
        part.usage, None, [_frame(owner, part, offset, layout.ids, layout.line, row)]
    )


def _frame(
    owner: int, part: Part, offset: int, ids: Sequence[int], line: str, row: Sequence[Any]
) -> Frame:
    quantities, prices, quantity_texts, items = row
    begin, end = _naive(part.usage.periods[offset])
    return Frame(
        owner,
        part.origin,
        begin,
        end,
        ids,
        quantities,
        prices,
        block.pack(line, ','.join(quantity_texts), ','.join(items)),
    )


@functools.lru_cache(maxsize=1024)
def _naive(period: Period) -> tuple[datetime, datetime]:
    """Return the bounds of *period* as they are stored; the scopes of a batch share them."""
    return timeframe.to_naive(period.begin), timeframe.to_naive(period.end)


def _by_offset(
    wanted: Sequence[int],
    offsets: Sequence[Sequence[int]],
    lists: Sequence[Sequence[Sequence[Any]]],
    layout: Layout,
) -> Iterator[tuple[int, Sequence[int], str, Sequence[Any]]]:
    """Yield (offset, ids, line of ids, values of each of *lists*) for each offset in *wanted*.

    :param offsets, lists: one item for each id of *layout*.
    """
    if all(len(one) == len(wanted) for one in offsets):
        values_by_offset = (
            zip(*one, strict=True) if layout.ids else itertools.repeat((), len(wanted))
            for one in lists
        )
        for offset, *row in zip(wanted, *values_by_offset, strict=True):
            yield offset, layout.ids, layout.line, row
        return
    rows: dict[int, tuple[list[Any], ...]] = {
        offset: ([], *([] for _ in lists)) for offset in wanted
    }
    for number, own, *columns in zip(layout.ids, offsets, *lists, strict=True):
        for offset, *values in zip(own, *columns, strict=True):
            held = rows[offset]
            held[0].append(number)
            for gathered, value in zip(held[1:], values, strict=True):
                gathered.append(value)
    lines: dict[tuple[int, ...], str] = {}
    for offset, (own, *row) in rows.items():
        key = tuple(own)
        if key not in lines:
            lines[key] = block.line_of_ids(own)
        yield offset, key, lines[key], row


def _fitting(
    columns: Sequence[Sequence[Decimal]], offsets: Sequence[Sequence[int]]
) -> tuple[Sequence[Sequence[Decimal]], list[Sequence[str]]]:
    """Return columns of decimals that fit the columns of every database, and their texts.

    In a period with a number that may not fit, zeros are stored without fractional digits.
    """
    texts = [repeated.apply(str, numbers) for numbers in columns]
    odd = {
        offset
        for column, own in zip(texts, offsets, strict=True)
        if not _all_plain(repeated.distinct_of(column))
        for text, offset in zip(column, own, strict=True)
        if len(text) > PLAIN_DIGITS_MAX or 'E' in text
    }
    if odd:
        columns = [
            [
                decimals.on_grid(number) if offset in odd else number
                for number, offset in zip(numbers, own, strict=True)
            ]
            for numbers, own in zip(columns, offsets, strict=True)
        ]
        texts = [repeated.apply(str, numbers) for numbers in columns]
    return columns, texts


def _all_plain(texts: Sequence[str]) -> bool:
    return max(map(len, texts), default=0) <= PLAIN_DIGITS_MAX and 'E' not in ''.join(texts)
