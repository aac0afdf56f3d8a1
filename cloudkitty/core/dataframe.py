"""Points and frames: what was used in a period and what it costs. Pure.

A *series* is all that stays the same from period to period: unit, attributes, description. A
*point* is a series with a quantity and a price. A *frame* holds the points of one period by
metric name. Series are built once and shared; points are values: a new price makes a new point.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, TypeVar

import orjson

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.bounds import to_decimal
from cloudkitty.core.decimals import ZERO, render_decimal

UNDEFINED_UNIT = 'undefined'

_Key = TypeVar('_Key')
_Value = TypeVar('_Value')


class FrozenDict(dict[_Key, _Value]):
    """An immutable mapping, hashable if its values are."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError('this mapping cannot be changed')

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    # The stub of dict allows no hashable subclass.
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


Attributes = FrozenDict[str, Any]
NO_ATTRIBUTES: Attributes = FrozenDict()


def is_text(value: str) -> bool:
    """Return whether every database can store *value*: no NUL, no half of a surrogate pair."""
    return '\0' not in value and (
        value.isascii() or not any('\ud800' <= character <= '\udfff' for character in value)
    )


def to_json(value: Any) -> bytes:
    """Return *value* as JSON; a decimal with all its digits, a datetime in ISO 8601, UTC."""
    return orjson.dumps(value, default=_json_default, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _json_default(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(render_decimal(value))
    if isinstance(value, datetime):
        return timeframe.render(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f'{type(value).__name__} has no JSON form')


class Series:
    """What stays the same from one point to the next. Compared and hashed by content.

    :param unit: display unit; empty or None means `undefined`.
    :param groupby: attributes the storage can group by, text to any JSON value.
    :param metadata: other attributes.
    :param description: free text or None.
    """

    __slots__ = ('_hash', '_identity', 'description', 'groupby', 'metadata', 'unit')

    def __init__(
        self,
        unit: str | None,
        groupby: Mapping[str, Any],
        metadata: Mapping[str, Any],
        description: str | None = None,
    ) -> None:
        self.unit = unit or UNDEFINED_UNIT
        self.groupby = groupby if isinstance(groupby, FrozenDict) else FrozenDict(groupby)
        self.metadata = metadata if isinstance(metadata, FrozenDict) else FrozenDict(metadata)
        self.description = description
        self._identity: bytes | None = None
        self._hash: int | None = None

    @property
    def identity(self) -> bytes:
        """Canonical JSON of the content, which is equal for equal series in every process."""
        if self._identity is None:
            # A copy: orjson's result keeps 4 KiB allocated, and identities are kept by the 10,000.
            self._identity = bytes(
                memoryview(
                    orjson.dumps(
                        [self.unit, self.groupby, self.metadata, self.description],
                        default=str,
                        option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS,
                    )
                )
            )
        return self._identity

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Series) and self.identity == other.identity)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.identity)
        return self._hash

    def __repr__(self) -> str:
        return f'Series({self.unit!r}, {dict(self.groupby)}, {dict(self.metadata)})'


class DataPoint:
    """A series, its quantity in one period, and the price of that quantity.

    :param qty: number or numeric text, exact; a float is converted by its shortest text.
    :param price: the same.
    """

    __slots__ = ('calendar', 'price', 'qty', 'series')

    def __init__(
        self,
        unit: str | None,
        qty: Decimal | float | str,
        price: Decimal | float | str,
        groupby: Mapping[str, Any],
        metadata: Mapping[str, Any],
        description: str | None = None,
    ) -> None:
        self.series = Series(unit, groupby, metadata, description)
        self.qty = to_decimal(qty)
        self.price = to_decimal(price)
        self.calendar: Mapping[str, Any] = NO_ATTRIBUTES

    @classmethod
    def of(
        cls,
        series: Series,
        qty: Decimal,
        price: Decimal = ZERO,
        calendar: Mapping[str, Any] = NO_ATTRIBUTES,
    ) -> 'DataPoint':
        """Return a point of an existing *series*.

        :param calendar: attributes of the period, see timeframe.calendar_of(); shown as part of
            `groupby`, where they take precedence, but not part of the series, because they change
            every day.
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
    def metadata(self) -> Attributes:
        return self.series.metadata

    @property
    def groupby(self) -> Attributes:
        if not self.calendar:
            return self.series.groupby
        return FrozenDict({**self.series.groupby, **self.calendar})

    @property
    def desc(self) -> Attributes:
        """All attributes; if both have a name, `groupby` takes precedence."""
        return FrozenDict({**self.series.metadata, **self.series.groupby, **self.calendar})

    def set_price(self, price: Decimal | float | str) -> 'DataPoint':
        """Return a copy of this point with another price."""
        return DataPoint.of(self.series, self.qty, to_decimal(price), self.calendar)

    def as_dict(self, legacy: bool = False, mutable: bool = False) -> dict[str, Any]:
        """Return the dict form; *legacy* has one `desc` in place of `groupby` and `metadata`."""
        box: type[dict[str, Any]] = dict if mutable else FrozenDict
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
    def from_dict(cls, form: Mapping[str, Any], legacy: bool = False) -> 'DataPoint':
        """Return the point that *form* describes.

        :raises InvalidInput: a member is missing, unknown or of the wrong type.

        Source: doc/source/contributor/compatibility/rating.rst, "The dict form".
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
        return cls(
            unit,
            form['vol']['qty'],
            rating.get('price', 0),
            boxes['desc' if legacy else 'groupby'],
            boxes.get('metadata', NO_ATTRIBUTES),
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DataPoint)
            and self.qty == other.qty
            and self.price == other.price
            and self.unit == other.unit
            and self.groupby == other.groupby
            and self.metadata == other.metadata
            and self.description == other.description
        )

    def __hash__(self) -> int:
        return hash((self.series, self.qty, self.price))

    def __repr__(self) -> str:
        return (
            f'DataPoint({self.unit!r}, {self.qty}, {self.price}, {dict(self.groupby)}, '
            f'{dict(self.metadata)})'
        )


class NamedPoint(NamedTuple):
    """What iterating over a frame yields."""

    name: str
    point: DataPoint


class DataFrame:
    """The points of one period by metric name; names are sorted, points keep their order.

    :param start: begin of the period, datetime.
    :param end: end of the period, datetime, not part of it.
    :param usage: mapping of metric name to points.
    :raises TypeError: a bound is no datetime, or *usage* no mapping.
    """

    __slots__ = ('_usage', 'end', 'start')

    def __init__(
        self, start: datetime, end: datetime, usage: Mapping[str, Iterable[DataPoint]] | None = None
    ) -> None:
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
        """Points by metric name; read-only."""
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

    def as_dict(self, legacy: bool = False, mutable: bool = False) -> dict[str, Any]:
        """Return the dict form: datetimes and decimals; read-only unless *mutable*."""
        box: type[dict[str, Any]] = dict if mutable else FrozenDict
        row: Callable[[Iterable[Any]], Sequence[Any]] = list if mutable else tuple
        return box(
            period=box(begin=self.start, end=self.end),
            usage=box(
                {
                    name: row(point.as_dict(legacy=legacy, mutable=mutable) for point in points)
                    for name, points in self._usage.items()
                }
            ),
        )

    def json(self, legacy: bool = False) -> str:
        """Return the JSON text of as_dict(): ISO 8601 with offset, decimals as numbers."""
        return to_json(self.as_dict(legacy=legacy, mutable=True)).decode()

    @classmethod
    def from_dict(cls, form: Mapping[str, Any], legacy: bool = False) -> 'DataFrame':
        """Return the frame that *form* describes.

        :raises InvalidInput: a member is missing, unknown or of the wrong type.

        Source: doc/source/contributor/compatibility/rating.rst, "The dict form".
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

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DataFrame)
            and self.start == other.start
            and self.end == other.end
            and self._usage == other._usage
        )

    def __repr__(self) -> str:
        return f'DataFrame({self.start}, {self.end}, {len(self._usage)} metrics)'


def _check_keys(form: object, required: set[str], optional: set[str], what: str) -> None:
    if not isinstance(form, Mapping):
        raise errors.InvalidInput(reason=f'{what} must be a mapping, not {form!r}')
    missing = required - form.keys()
    if missing:
        raise errors.InvalidInput(reason=f'{what} lacks {", ".join(sorted(missing))}')
    unknown = form.keys() - required - optional
    if unknown:
        names = ', '.join(sorted(map(str, unknown)))
        raise errors.InvalidInput(reason=f'{what} has unknown keys: {names}')


def _attributes(form: Any, name: str) -> Attributes:
    try:
        # Any two characters could be unpacked like a pair, too.
        if isinstance(form, (list, tuple)) and any(isinstance(pair, str) for pair in form):
            raise TypeError('text is no pair')
        return FrozenDict(form)
    except (TypeError, ValueError) as exc:
        raise errors.InvalidInput(
            reason=f'{name} must be a mapping or a list of pairs, not {form!r}'
        ) from exc


def _bound(bound: datetime | str) -> datetime:
    if isinstance(bound, datetime):
        if bound.tzinfo is None:
            bound = timeframe.from_naive(bound)
        return timeframe.to_utc(bound).replace(microsecond=0)
    return timeframe.parse(bound)
