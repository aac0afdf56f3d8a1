"""Message format between the worker and the process that runs scripts.

Both are JSON. A frame is `{"period": [begin, end], "usage": {metric: [[unit, qty, price, groupby,
metadata], ...]}}`, numbers as text. In the answer, `{"usage": {metric: [...]}}`, a point is the
number of one that was sent and is unchanged, `[number, price]`, or `[number or null, dict form]`.
A value that JSON has no form for is `{tag: [kind, text]}`; the tag is one nobody can guess.

The answer comes from a process that ran untrusted code, so everything in it is validated. Pure.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import bounds, dataframe, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series

NAME_LENGTH_MAX = 255  # metric, unit, name of an attribute: widths of the columns
SCOPE_LENGTH_MAX = 256
DETAIL_LENGTH_MAX = 500
# The sum of a great many such numbers still fits into a column.
NUMBER_LIMIT = Decimal(10) ** 20
# Most points that scripts may create: an absolute number, and a multiple of those that were sent.
POINTS_MAX = 100_000
GROWTH_MAX = 10
_MISSING = object()


class Sent(NamedTuple):
    """An encoded frame.

    :ivar content: JSON.
    :ivar is_tagged: whether a tag occurs in it.
    :ivar points: the points by their number.
    """

    frame: DataFrame
    content: bytes
    is_tagged: bool
    points: Sequence[DataPoint]


def encode(frame: DataFrame, tag: str) -> Sent:
    """Return *frame* encoded for the child process.

    :raises InvalidInput: an attribute cannot be represented in JSON.
    """
    has_tags = False

    def render(value: object) -> dict[str, list[str]]:
        nonlocal has_tags
        has_tags = True
        if isinstance(value, Decimal):
            return {tag: ['d', str(value)]}
        if isinstance(value, datetime):
            return {tag: ['t', value.isoformat()]}
        raise TypeError(f'{type(value).__name__} has no JSON form')

    points: list[DataPoint] = []
    usage: dict[str, list[Any]] = {}
    for name, members in frame.itertypes():
        points.extend(members)
        usage[name] = [_parts(point) for point in members]
    form = {
        'period': [
            timeframe.to_utc(frame.start).isoformat(),
            timeframe.to_utc(frame.end).isoformat(),
        ],
        'usage': usage,
    }
    try:
        content = json.dumps(form, default=render, separators=(',', ':')).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise errors.InvalidInput(reason=f'the frame cannot be shown to a script: {exc}') from exc
    return Sent(frame, content, has_tags, points)


def _parts(point: DataPoint) -> list[Any]:
    series = point.series
    groupby = {**series.groupby, **point.calendar} if point.calendar else series.groupby
    return [series.unit, str(point.qty), str(point.price), groupby, series.metadata]


def decode(content: bytes, tag: str) -> Any:
    """Parse the JSON of an answer.

    :raises InvalidInput: it is no JSON.
    """

    def untag(form: dict[str, Any]) -> Any:
        if tag not in form:
            return form
        kind, text = form[tag]
        return Decimal(text) if kind == 'd' else datetime.fromisoformat(text)

    try:
        return json.loads(content, object_hook=untag)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as exc:
        raise errors.InvalidInput(reason=f'the answer is not valid JSON: {exc}') from exc


def failure_of(answer: Any) -> tuple[str, str] | None:
    """Return kind and detail of a failure, one line each; None: there was no failure."""
    if not isinstance(answer, dict):
        return 'answer', 'it is no mapping'
    failure = answer.get('error')
    if failure is None:
        return None
    if not isinstance(failure, list) or len(failure) != 2:
        return 'answer', 'the answer is not valid'
    kind, detail = (' '.join(str(part).split())[:DETAIL_LENGTH_MAX] for part in failure)
    return kind, detail


def apply(sent: Sent, usage: Any, scope_key: str) -> DataFrame:
    """Apply an answer to the frame that was sent; return the new frame.

    Unchanged parts are the same objects as before: the point, or at least its series.

    :param usage: that of the answer.
    :raises InvalidInput: it is no valid usage, or cannot be stored.
    """
    if not isinstance(usage, dict):
        raise errors.InvalidInput(reason='usage must be a mapping of metric names to points')
    reader = _Reader(sent, scope_key)
    changed = {name: reader.points(name, entries) for name, entries in usage.items()}
    changed = {name: points for name, points in changed.items() if points}
    if not reader.has_changes and _is_same(changed, sent.frame.usage):
        return sent.frame
    return DataFrame(sent.frame.start, sent.frame.end, changed)


def _is_same(
    usage: Mapping[str, Sequence[DataPoint]], before: Mapping[str, Sequence[DataPoint]]
) -> bool:
    """Return whether all points are the same objects in the same order."""
    return usage.keys() == before.keys() and all(
        list(map(id, points)) == list(map(id, before[name])) for name, points in usage.items()
    )


class _Reader:
    """Turns the entries of an answer into points."""

    def __init__(self, sent: Sent, scope_key: str) -> None:
        self._sent = sent
        self._scope_key = scope_key
        self._calendar = sent.points[0].calendar if sent.points else dataframe.NO_ATTRIBUTES
        self._left = max(POINTS_MAX, GROWTH_MAX * len(sent.points))
        self.has_changes = False

    def points(self, name: str, entries: Any) -> list[DataPoint]:
        _check_name('the name of a metric', name)
        if not isinstance(entries, list):
            raise errors.InvalidInput(reason=f'usage of {name!r} must be a list of points')
        self._left -= len(entries)
        if self._left < 0:
            raise errors.InvalidInput(
                reason='the script returned far more points than it was given'
            )
        return [self._point(name, entry) for entry in entries]

    def _point(self, name: str, entry: Any) -> DataPoint:
        if isinstance(entry, int):
            return self._original(entry)
        self.has_changes = True
        if not isinstance(entry, list) or len(entry) != 2:
            raise errors.InvalidInput(reason=f'{entry!r} is no point')
        number, change = entry
        origin = None if number is None else self._original(number)
        if origin is not None and isinstance(change, str):
            price = _number('price', change, origin.price)
            return DataPoint.of(origin.series, origin.qty, price, origin.calendar)
        return self._built(name, DataPoint.from_dict(change), origin)

    def _original(self, number: object) -> DataPoint:
        if not isinstance(number, int) or not 0 <= number < len(self._sent.points):
            raise errors.InvalidInput(reason=f'no point has the number {number!r}')
        return self._sent.points[number]

    def _built(self, name: str, given: DataPoint, origin: DataPoint | None) -> DataPoint:
        """Return a point with these attributes; calendar attributes are kept out of its series."""
        before = origin or _Nothing(self._calendar)
        groupby = {
            key: value
            for key, value in given.groupby.items()
            if before.calendar.get(key, _MISSING) != value
        }
        calendar: Mapping[str, Any] = before.calendar
        if len(groupby) + len(calendar) != len(given.groupby):
            calendar = {
                key: value
                for key, value in calendar.items()
                if given.groupby.get(key, _MISSING) == value
            }
        description = self._description(name) if origin is None else origin.description
        series = Series(given.unit, groupby, given.metadata, description)
        self._check_series(series)
        if origin is not None and series == origin.series:
            series = origin.series
        return DataPoint.of(
            series,
            _number('qty', given.qty, before.qty),
            _number('price', given.price, before.price),
            calendar,
        )

    def _description(self, name: str) -> str | None:
        """Return the description that the points of a metric share."""
        known = self._sent.frame.usage.get(name)
        return known[0].description if known else None

    def _check_series(self, series: Series) -> None:
        """Raise InvalidInput unless every database can store the series."""
        _check_name('vol.unit', series.unit)
        for key in (*series.groupby, *series.metadata):
            _check_name('the name of an attribute', key)
        scope_id = series.groupby.get(self._scope_key, '')
        # As text, None would be the scope of that name.
        if (
            isinstance(scope_id, bool)
            or not isinstance(scope_id, (str, int))
            or len(str(scope_id)) > SCOPE_LENGTH_MAX
            or bounds.CONTROLS.search(str(scope_id))
        ):
            raise errors.InvalidInput(reason=f'{self._scope_key} names no scope: {scope_id!r:.300}')
        try:
            series.identity  # noqa: B018 - computing it validates the series; it is needed anyway
        except (TypeError, ValueError) as exc:
            raise errors.InvalidInput(reason=f'attributes cannot be stored: {exc}') from exc


class _Nothing(NamedTuple):
    """Null object: the original of a new point."""

    calendar: Mapping[str, Any]
    qty: Decimal | None = None
    price: Decimal | None = None


def _number(what: str, value: object, before: Decimal | None) -> Decimal:
    number = bounds.to_decimal(value)
    if number != before and abs(number) >= NUMBER_LIMIT:
        raise errors.InvalidInput(reason=f'{what} is too big: {number:.3e}')
    return number


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX or not _is_text(name):
        raise errors.InvalidInput(
            reason=f'{what} must be text of 1 to {NAME_LENGTH_MAX} characters, not {name!r:.300}'
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return '\0' not in name
