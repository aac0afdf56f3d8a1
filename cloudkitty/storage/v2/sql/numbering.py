"""Cells as rows in the making: every series has its number, every number its text.

The frames of a batch mostly hold the same series in the same order, so what follows from the series
is found once a batch and not once a point.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import block, timeframe
from cloudkitty.dataframe import DataFrame, Series
from cloudkitty.db import types
from cloudkitty.storage.v2.sql import catalogue as catalogues

PLAIN_DIGITS_MAX = 27                # shorter text without exponent always fits the columns


class Cell(NamedTuple):
    """The content that a (scope, period, origin) is to have.

    :ivar owner: scope id.
    :ivar frame: points; aware UTC bounds.
    """

    owner: str
    origin: int
    frame: DataFrame


class Frame(NamedTuple):
    """One row of rated_frames in the making: columns in the order of series ids."""

    owner: int
    origin: int
    begin: datetime
    end: datetime
    ids: Sequence[int]
    quantities: Sequence[Decimal]
    prices: Sequence[Decimal]
    block: bytes


class _Plan(NamedTuple):
    """The series of a frame in the frame's order.

    :ivar begin: for which period alone this holds, because a series has calendar attributes; None:
        for every period.
    """

    owner: int
    begin: datetime | None
    members: list[tuple[str, Series]]


class Layout(NamedTuple):
    """A plan with numbers.

    :ivar ids: ascending.
    :ivar arrange: brings columns of a frame into the order of ids.
    :ivar line: the block's line of ids.
    :ivar begin: it holds for every period.
    """

    ids: Sequence[int]
    arrange: Callable[[list], Sequence]
    line: str
    begin: None = None


class Numbering:
    """Gives numbers in one transaction; the catalogue remembers them after the commit."""

    def __init__(self, connection: sa.Connection, catalogue: catalogues.Catalogue):
        self.connection = connection
        self.catalogue = catalogue
        self.scopes: dict[str, int] = {}
        self.series: dict[catalogues.Entry, int] = {}
        self.layouts: dict[int, tuple[list, Layout]] = {}
        self._shapes = {}

    def number_owners(self, cells: Sequence[Cell]) -> None:
        """Make sure that `scopes` has the owners of *cells*."""
        self.scopes.update(
            self.catalogue.scope_numbers(self.connection, {cell.owner for cell in cells}))

    def remember(self) -> None:
        """Let the catalogue know what was made; the transaction is committed."""
        self.catalogue.remember(self.scopes, self.series)
        self.catalogue.keep_layouts(self.layouts)

    def frames(self, cells: Sequence[Cell]) -> list[Frame]:
        """Return *cells* as frames."""
        self.number_owners(cells)
        plans = self._plan(cells)
        unique = {id(plan): plan for plan in plans if not isinstance(plan, Layout)}
        layouts = {key: _layout(ids) for key, ids in self._number(unique.values()).items()}
        for owner, (shape, plan) in self._shapes.items():
            if id(plan) in layouts and plan.begin is None:
                self.layouts[owner] = (shape, layouts[id(plan)])
        return [_frame(self.scopes[cell.owner], cell, layouts.get(id(plan), plan))
                for cell, plan in zip(cells, plans, strict=True)]

    def entries(self, ids: set[int]) -> Mapping[int, catalogues.Entry]:
        """Return what series ids stand for, those made in this transaction included."""
        # A number made in this transaction must not enter the cache before the commit.
        made = {series_id: entry for entry, series_id in self.series.items()}
        return self.catalogue.entries(self.connection, ids - made.keys()) | made

    def _plan(self, cells):
        """Return the plan of each cell, or its layout if that is known already.

        Lists of the same series objects are compared without a look at their content.
        """
        plans = []
        for cell in cells:
            owner, begin = self.scopes[cell.owner], cell.frame.start
            shape = []
            for metric, points in cell.frame.itertypes():
                shape.append(metric)
                shape += [point.series for point in points]
            known, plan = self._shapes.get(owner) or self.catalogue.layout(owner)
            if known != shape or plan.begin not in (None, begin):
                plan = _plan_of(owner, cell.frame)
                self._shapes[owner] = (shape, plan)
            plans.append(plan)
        return plans

    def _number(self, plans):
        """Return the ids of the series of each of *plans*, by its identity."""
        numbers, missing = {}, set()
        for plan in plans:
            ids = []
            known = {metric: self.catalogue.known(plan.owner, metric)
                     for metric, _ in plan.members}
            for metric, series in plan.members:
                ids.append(known[metric].get(series))
                if ids[-1] is None:
                    missing.add((plan.owner, metric, series))
            numbers[id(plan)] = ids
        if missing:
            entries = self._entries(missing)
            made = self.catalogue.series_ids(self.connection, entries.values())
            self.series.update(made)
            for plan in plans:
                numbers[id(plan)] = [
                    number or made[entries[plan.owner, metric, series]] for number, (metric, series)
                    in zip(numbers[id(plan)], plan.members, strict=True)]
        return numbers

    def _entries(self, missing):
        """Return what is to be written of each (owner, metric, series) of *missing*."""
        owners = {number: name for name, number in self.scopes.items()}
        key = self.catalogue.scope_key
        named = {(owner, series): str(series.groupby.get(key, owners[owner]))
                 for owner, _, series in missing}
        self.scopes.update(self.catalogue.scope_numbers(
            self.connection, set(named.values()) - self.scopes.keys()))
        return {(owner, metric, series): catalogues.Entry(
            owner, self.scopes[named[owner, series]], metric, series)
            for owner, metric, series in missing}


def _plan_of(owner, frame):
    series = [(metric, point.series) for metric, points in frame.itertypes() for point in points]
    if not any(catalogues.has_calendar(one) for _, one in series):
        return _Plan(owner, None, series)
    return _Plan(owner, frame.start, [(metric, catalogues.without_calendar(one, frame.start))
                                      for metric, one in series])


def _layout(ids):
    order = sorted(range(len(ids)), key=ids.__getitem__)
    arrange = operator.itemgetter(*order) if len(order) > 1 else tuple
    ids = arrange(ids)
    return Layout(ids, arrange, block.line_of_ids(ids))


def _frame(owner, cell, layout):
    frame = cell.frame
    points = [point for _, members in frame.itertypes() for point in members]
    quantities, quantity_texts = _column(layout.arrange([point.qty for point in points]))
    prices, price_texts = _column(layout.arrange([point.price for point in points]))
    packed = block.pack(layout.line, ','.join(quantity_texts),
                        block.line_of_prices(quantities, prices, price_texts))
    return Frame(owner, cell.origin, timeframe.to_naive(frame.start),
                 timeframe.to_naive(frame.end), layout.ids, quantities, prices, packed)


def _column(numbers):
    """Return decimals that fit the columns of every database, and their texts."""
    texts = list(map(str, numbers))
    if max(map(len, texts), default=0) > PLAIN_DIGITS_MAX or 'E' in ''.join(texts):
        numbers = list(map(types.on_grid, numbers))
        texts = list(map(str, numbers))
    return numbers, texts
