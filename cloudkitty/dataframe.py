"""Points and frames: what was used in a period and what it costs. Pure.

A *series* is all that stays the same from period to period: unit, attributes, description. A
*point* is a series with a quantity and a price. A *frame* holds the points of one period by
metric name. Series are built once and shared; points are values: a new price makes a new point.
"""

import decimal
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from cloudkitty import errors, timeframe

# The one rounding rule: every operation on quantities and prices is rounded to 28 significant
# digits, half to even. Sums are never rounded (SUM_CONTEXT).
# Source: contract rating, section 4.5.
CONTEXT = decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN,
                          traps=[decimal.InvalidOperation, decimal.DivisionByZero,
                                 decimal.Overflow])
SUM_CONTEXT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN,
                              traps=[decimal.InvalidOperation, decimal.Inexact])
# For conversions that must round, yet at a place far behind the 28th digit.
WIDE_CONTEXT = decimal.Context(prec=1000, rounding=decimal.ROUND_HALF_EVEN)
ZERO = Decimal(0)
# Digits before the point of what can be stored, sums included.
INTEGER_DIGITS_MAX = 27
UNDEFINED_UNIT = 'undefined'


class FrozenDict(dict):
    """A mapping that nobody can change; hashable when its values are."""

    def _refuse(self, *args, **kwargs):
        raise TypeError('this mapping cannot be changed')

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self):
        return hash(frozenset(self.items()))

    def __reduce__(self):
        return type(self), (dict(self),)


NO_ATTRIBUTES = FrozenDict()


def to_decimal(number: Any) -> Decimal:
    """Return *number* as an exact, finite decimal; a float goes through its shortest text.

    :raises InvalidInput: not a number, NaN or infinite.
    """
    # Decimal would take them, and nobody means that.
    if isinstance(number, (bool, list, tuple)):
        raise errors.InvalidInput(reason=f'{number!r} is not a number')
    try:
        exact = number if isinstance(number, Decimal) else Decimal(
            repr(number) if isinstance(number, float) else number)
    except (decimal.InvalidOperation, TypeError, ValueError) as exc:
        raise errors.InvalidInput(reason=f'{number!r} is not a number') from exc
    if not exact.is_finite():
        raise errors.InvalidInput(reason=f'{number!r} is not a finite number')
    return exact


def is_text(value: str) -> bool:
    """Say whether every database can store *value*: no NUL, no half of a surrogate pair."""
    return '\0' not in value and (
        value.isascii() or not any('\ud800' <= character <= '\udfff' for character in value))


def render_decimal(number: Decimal) -> str:
    """Return *number* in fixed point with all its digits and at least one after the point."""
    text = format(number, 'f')
    if '.' not in text:
        return text + '.0'
    text = text.rstrip('0')
    return text + '0' if text.endswith('.') else text


def to_json(value: Any) -> bytes:
    """Return *value* as JSON; a decimal with all its digits, a datetime in ISO 8601, UTC."""
    return orjson.dumps(value, default=_json_default, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _json_default(value):
    if isinstance(value, Decimal):
        return orjson.Fragment(render_decimal(value))
    if isinstance(value, datetime):
        return timeframe.render(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f'{type(value).__name__} has no JSON form')


class Series:
    """What stays the same from one point to the next. Equal and hashed by content.

    :param unit: display unit; empty or None means `undefined`.
    :param groupby: attributes the storage can group by, text to any JSON value.
    :param metadata: other attributes.
    :param description: free text or None.
    """

    __slots__ = ('_hash', '_identity', 'description', 'groupby', 'metadata', 'unit')

    def __init__(self, unit: str | None, groupby: Mapping, metadata: Mapping,
                 description: str | None = None):
        self.unit = unit or UNDEFINED_UNIT
        self.groupby = groupby if isinstance(groupby, FrozenDict) else FrozenDict(groupby)
        self.metadata = metadata if isinstance(metadata, FrozenDict) else FrozenDict(metadata)
        self.description = description
        self._identity = None
        self._hash = None

    @property
    def identity(self) -> bytes:
        """Canonical JSON of the content: equal series have equal identities, in every process."""
        if self._identity is None:
            # A copy: what orjson returns holds on to 4 KiB, and identities are kept by the 10,000.
            self._identity = bytes(memoryview(orjson.dumps(
                [self.unit, self.groupby, self.metadata, self.description], default=str,
                option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)))
        return self._identity

    def __eq__(self, other):
        return self is other or (isinstance(other, Series) and self.identity == other.identity)

    def __hash__(self):
        if self._hash is None:
            self._hash = hash(self.identity)
        return self._hash

    def __repr__(self):
        return f'Series({self.unit!r}, {dict(self.groupby)}, {dict(self.metadata)})'


class DataPoint:
    """A series, its quantity in one period, and the price of that quantity.

    :param qty: number or numeric text, exact; a float goes through its shortest text.
    :param price: the same.
    """

    __slots__ = ('calendar', 'price', 'qty', 'series')

    def __init__(self, unit, qty, price, groupby, metadata, description=None):
        self.series = Series(unit, groupby, metadata, description)
        self.qty = to_decimal(qty)
        self.price = to_decimal(price)
        self.calendar = NO_ATTRIBUTES

    @classmethod
    def of(cls, series: Series, qty: Decimal, price: Decimal = ZERO,
           calendar: Mapping = NO_ATTRIBUTES) -> 'DataPoint':
        """Return a point of a *series* that exists.

        :param calendar: attributes of the period, see timeframe.calendar_of(); shown as part of
            `groupby`, where they win, and kept out of the series because they change every day.
        """
        point = object.__new__(cls)
        point.series = series
        point.qty = qty
        point.price = price
        point.calendar = calendar
        return point

    @property
    def unit(self) -> str:
        return self.series.unit

    @property
    def description(self) -> str | None:
        return self.series.description

    @property
    def metadata(self) -> FrozenDict:
        return self.series.metadata

    @property
    def groupby(self) -> FrozenDict:
        if not self.calendar:
            return self.series.groupby
        return FrozenDict({**self.series.groupby, **self.calendar})

    @property
    def desc(self) -> FrozenDict:
        """All attributes; on a common name `groupby` wins."""
        return FrozenDict({**self.series.metadata, **self.series.groupby, **self.calendar})

    def set_price(self, price) -> 'DataPoint':
        """Return this point with another price."""
        return DataPoint.of(self.series, self.qty, to_decimal(price), self.calendar)

    def as_dict(self, legacy: bool = False, mutable: bool = False) -> dict:
        """Return the dict form; *legacy* has one `desc` in place of `groupby` and `metadata`."""
        box = dict if mutable else FrozenDict
        form = {'vol': box(unit=self.unit, qty=self.qty), 'rating': box(price=self.price)}
        if legacy:
            form['desc'] = box(self.desc)
        else:
            form['groupby'] = box(self.groupby)
            form['metadata'] = box(self.metadata)
        return box(form)

    def json(self, legacy: bool = False) -> str:
        """Return the JSON text of as_dict()."""
        return to_json(self.as_dict(legacy=legacy)).decode()

    @classmethod
    def from_dict(cls, form: Mapping, legacy: bool = False) -> 'DataPoint':
        """Return the point that *form* describes.

        :raises InvalidInput: a part is missing, unknown or of another type (a ValueError's role).

        Source: contract rating, section 1.4.
        """
        attributes = {'desc'} if legacy else {'groupby', 'metadata'}
        _check_keys(form, {'vol', *attributes}, {'rating'}, 'point')
        _check_keys(form['vol'], {'unit', 'qty'}, set(), 'vol')
        rating = form.get('rating') or {}
        _check_keys(rating, set(), {'price'}, 'rating')
        unit = form['vol']['unit']
        if not isinstance(unit, str):
            raise errors.InvalidInput(reason=f'vol.unit must be text, not {unit!r}')
        boxes = {name: _attributes(form[name], name) for name in attributes}
        return cls(unit, form['vol']['qty'], rating.get('price', 0),
                   boxes.get('desc', boxes.get('groupby')), boxes.get('metadata', NO_ATTRIBUTES))

    def __eq__(self, other):
        return (isinstance(other, DataPoint) and self.qty == other.qty
                and self.price == other.price and self.unit == other.unit
                and self.groupby == other.groupby and self.metadata == other.metadata
                and self.description == other.description)

    def __hash__(self):
        return hash((self.series, self.qty, self.price))

    def __repr__(self):
        return (f'DataPoint({self.unit!r}, {self.qty}, {self.price}, {dict(self.groupby)}, '
                f'{dict(self.metadata)})')


class NamedPoint(NamedTuple):
    """What iterating over a frame yields."""

    name: str
    point: DataPoint


class DataFrame:
    """The points of one period, by metric name; names sorted, points in their order.

    :param start: begin of the period, datetime.
    :param end: end of the period, datetime, not part of it.
    :param usage: mapping of metric name to points.
    :raises TypeError: a bound is no datetime, or *usage* no mapping.
    """

    __slots__ = ('_usage', 'end', 'start')

    def __init__(self, start: datetime, end: datetime,
                 usage: Mapping[str, Iterable[DataPoint]] | None = None):
        for bound in (start, end):
            if not isinstance(bound, datetime):
                raise TypeError(f'{bound!r} is not a datetime')
        if usage is not None and not isinstance(usage, Mapping):
            raise TypeError(f'usage must be a mapping, not {type(usage).__name__}')
        self.start = start
        self.end = end
        self._usage = {name: list(usage[name]) for name in sorted(usage)} if usage else {}

    @property
    def usage(self) -> Mapping[str, list[DataPoint]]:
        """Points by metric name; not to be changed."""
        return self._usage

    def add_point(self, point: DataPoint, name: str) -> None:
        """Append one point to a metric."""
        self._usage.setdefault(name, []).append(point)

    def add_points(self, points: Iterable[DataPoint], name: str) -> None:
        """Append points to a metric."""
        self._usage.setdefault(name, []).extend(points)

    def itertypes(self) -> Iterator[tuple[str, list[DataPoint]]]:
        """Yield (metric name, points)."""
        return iter(self._usage.items())

    def iterpoints(self) -> Iterator[NamedPoint]:
        """Yield (metric name, point)."""
        for name, points in self._usage.items():
            for point in points:
                yield NamedPoint(name, point)

    __iter__ = iterpoints

    def as_dict(self, legacy: bool = False, mutable: bool = False) -> dict:
        """Return the dict form: datetimes and decimals; read-only unless *mutable*."""
        box = dict if mutable else FrozenDict
        row = list if mutable else tuple
        return box(
            period=box(begin=self.start, end=self.end),
            usage=box({name: row(point.as_dict(legacy=legacy, mutable=mutable) for point in points)
                       for name, points in self._usage.items()}))

    def json(self, legacy: bool = False) -> str:
        """Return the JSON text of as_dict(): ISO 8601 with offset, decimals as numbers."""
        return to_json(self.as_dict(legacy=legacy, mutable=True)).decode()

    @classmethod
    def from_dict(cls, form: Mapping, legacy: bool = False) -> 'DataFrame':
        """Return the frame that *form* describes.

        :raises InvalidInput: a part is missing, unknown or of another type.

        Source: contract rating, section 1.4; the zone is UTC.
        """
        _check_keys(form, {'period', 'usage'}, set(), 'frame')
        _check_keys(form['period'], {'begin', 'end'}, set(), 'period')
        usage = form['usage']
        if not isinstance(usage, Mapping):
            raise errors.InvalidInput(reason='usage must be a mapping of metric names to points')
        parsed = {}
        for name, points in usage.items():
            if isinstance(points, (str, bytes, Mapping)) or not isinstance(points, Iterable):
                raise errors.InvalidInput(reason=f'usage of {name!r} must be a list of points')
            parsed[name] = [DataPoint.from_dict(point, legacy=legacy) for point in points]
        return cls(_bound(form['period']['begin']), _bound(form['period']['end']), parsed)

    def __eq__(self, other):
        return (isinstance(other, DataFrame) and self.start == other.start
                and self.end == other.end and self._usage == other._usage)

    __hash__ = None

    def __repr__(self):
        return f'DataFrame({self.start}, {self.end}, {len(self._usage)} metrics)'


def _check_keys(form, required, optional, what):
    if not isinstance(form, Mapping):
        raise errors.InvalidInput(reason=f'{what} must be a mapping, not {form!r}')
    missing = required - form.keys()
    if missing:
        raise errors.InvalidInput(reason=f'{what} lacks {", ".join(sorted(missing))}')
    unknown = form.keys() - required - optional
    if unknown:
        names = ', '.join(sorted(map(str, unknown)))
        raise errors.InvalidInput(reason=f'{what} has unknown keys: {names}')


def _attributes(form, name):
    try:
        # Two characters would be a pair, too.
        if isinstance(form, (list, tuple)) and any(isinstance(pair, str) for pair in form):
            raise TypeError('text is no pair')
        return FrozenDict(form)
    except (TypeError, ValueError) as exc:
        raise errors.InvalidInput(
            reason=f'{name} must be a mapping or a list of pairs, not {form!r}') from exc


def _bound(bound):
    if isinstance(bound, datetime):
        if bound.tzinfo is None:
            bound = timeframe.from_naive(bound)
        return timeframe.to_utc(bound).replace(microsecond=0)
    return timeframe.parse(bound)
