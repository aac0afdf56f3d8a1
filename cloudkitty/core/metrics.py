"""Metric definitions: what to query, and how to turn an answer into a quantity. Pure.

Source: doc/source/contributor/compatibility/collection.rst, "Metric definitions" and "From a
measured value to a quantity".
"""

import decimal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn

from cloudkitty import errors
from cloudkitty.core import bounds, dataframe, decimals
from cloudkitty.core.dataframe import FrozenDict, Series
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO

# Separator of the name and the alternative name in an internal key.
KEY_SEPARATOR = '@#'
TEXT_LENGTH_MAX = 255
# A number with a larger exponent is a mistake, and its exact form would fill the memory.
EXPONENT_MAX = 300
ONE = Decimal(1)

_ROUNDINGS = {'FLOOR': decimal.ROUND_FLOOR, 'CEIL': decimal.ROUND_CEILING}
_MUTATIONS: dict[str, Callable[[Decimal, Mapping[Decimal, Decimal]], Decimal]] = {
    'NONE': lambda value, table: value,
    'NUMBOOL': lambda value, table: ONE if value else ZERO,
    'NOTNUMBOOL': lambda value, table: ZERO if value else ONE,
    'FLOOR': lambda value, table: value.to_integral_value(decimal.ROUND_FLOOR),
    'CEIL': lambda value, table: value.to_integral_value(decimal.ROUND_CEILING),
    'MAP': lambda value, table: table.get(value, ZERO),
}

Check = Callable[[Any], Any]
# Keys and indexes from the top of a parsed file to a place in it.
Path = tuple[Any, ...]
# Factor, offset, their common divisor, and the context in which it divides.
_Scale = tuple[Decimal, Decimal, Decimal, decimal.Context]
_NO_TABLE: FrozenDict[Decimal, Decimal] = FrozenDict()


@dataclass(frozen=True)
class Metric(Mapping[str, Any]):
    """One definition.

    It can also be read like the mapping in the file with all defaults filled in
    (`definition['groupby']`, `definition.get('alt_name')`), which third-party collectors expect.

    :ivar key: internal name, unique: `NAME` or `NAME@#ALT`.
    :ivar name: name of the metric in the source.
    :ivar published_name: name under which points are stored, rated and reported; unique.
    :ivar groupby: attributes to group by, in the order of the file, the scope last.
    :ivar metadata: other attributes, in the order of the file.
    :ivar mutate_map: None, or quantity by quantity for `MAP`.
    :ivar collector: name of the collector to query, if there are several; None: any.
    :ivar extra_args: parameters of the collector, validated and with its defaults.
    :ivar skip_expression: text or None.
    :ivar allow_negative: whether a quantity may be below 0; if not, it is logged and dropped.
    """

    name: str
    unit: str
    alt_name: str | None = None
    description: str | None = None
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    groupby: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    mutate: str = 'NONE'
    mutate_map: FrozenDict[Decimal, Decimal] | None = None
    collector: str | None = None
    extra_args: FrozenDict[str, Any] = dataframe.NO_ATTRIBUTES
    skip_expression: str | None = None
    allow_negative: bool = False
    # raw × factor + offset, as exact integer arithmetic and one division that rounds.
    _scale: _Scale | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, '_scale', self._build_scale())

    def _build_scale(self) -> _Scale | None:
        if self.factor == 1 and self.offset == 0:
            return None
        divisor = self.factor.denominator * self.offset.denominator
        # Rounding must not lift a value over the next integer before FLOOR sees it.
        context = decimals.CONTEXT.copy()
        context.rounding = _ROUNDINGS.get(self.mutate, context.rounding)
        return (
            Decimal(int(self.factor * divisor)),
            Decimal(int(self.offset * divisor)),
            Decimal(divisor),
            context,
        )

    @property
    def published_name(self) -> str:
        return self.alt_name or self.name

    @property
    def key(self) -> str:
        return f'{self.name}{KEY_SEPARATOR}{self.alt_name}' if self.alt_name else self.name

    def quantity(self, raw: Decimal) -> Decimal:
        """Return mutate(raw × factor + offset), rounded once as decimals.CONTEXT says.

        :param raw: a finite number; returned unchanged if there is nothing to compute.
        """
        value = raw
        if self._scale is not None:
            factor, offset, divisor, context = self._scale
            value = context.divide(SUM_CONTEXT.fma(raw, factor, offset), divisor)
        if self.mutate != 'NONE':
            value = _MUTATIONS[self.mutate](value, self.mutate_map or _NO_TABLE)
        # Normalise -0, which a source may return.
        return value or ZERO

    def quantities(self, raw: Sequence[Decimal]) -> list[Decimal]:
        """Return the quantity of each of *raw*, see quantity()."""
        if self._scale is None and self.mutate == 'NONE':
            return [value or ZERO for value in raw]
        return list(map(self.quantity, raw))

    def series(self, attributes: Mapping[str, str]) -> Series:
        """Return the series of this metric with its subset of *attributes*; a missing one is ''."""
        groupby, metadata = (
            FrozenDict((name, attributes.get(name, '')) for name in names)
            for names in (self.groupby, self.metadata)
        )
        return Series(self.unit, groupby, metadata, self.description)

    def __getitem__(self, key: str) -> Any:
        value = getattr(self, _KEYS[key].attribute)
        if value is None:
            raise KeyError(key)
        return list(value) if isinstance(value, tuple) else value

    def __iter__(self) -> Iterator[str]:
        return (key for key, rule in _KEYS.items() if getattr(self, rule.attribute) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Problem(NamedTuple):
    """An error in a parsed file.

    :ivar path: keys and indexes that lead to it from the top.
    :ivar text: one sentence; it names the place in words.
    """

    path: Path
    text: str


def parse(conf: Any, *, scope_key: str, check_extra_args: Check = FrozenDict) -> dict[str, Metric]:
    """Return the definitions of a parsed file by internal key, in the order of the file.

    :param conf: what the YAML loader returned.
    :param scope_key: attribute that names the scope; appended to each groupby.
    :param check_extra_args: returns the collector's parameters with defaults, or raises
        InvalidInput; its argument is a mapping.
    :raises InvalidInput: the text names the metric, the key and what is allowed.
    """
    found, problems = read(conf, scope_key=scope_key, check_extra_args=check_extra_args)
    if problems:
        raise errors.InvalidInput(reason=problems[0].text)
    return {metric.key: metric for metric in found.values()}


def read(
    conf: Any, *, scope_key: str, check_extra_args: Check = FrozenDict
) -> tuple[dict[Path, Metric], list[Problem]]:
    """Return the valid definitions of a parsed file by path, and all problems.

    For the arguments see parse().
    """
    checks = {
        **{key: rule.check for key, rule in _KEYS.items()},
        'extra_args': lambda value: check_extra_args(mapping(value)),
    }
    problems: list[Problem] = []
    found: dict[Path, Metric] = {}
    keys: set[str] = set()
    owners: dict[str, str] = {}
    for path, definition in definitions(conf, problems):
        metric = _build(path, definition, checks, scope_key, problems)
        if metric is None:
            continue
        if metric.key in keys:
            problems.append(
                _problem(
                    path,
                    (
                        f'a definition with the name {metric.published_name!r} already exists; '
                        'each definition of a metric needs its own alt_name.'
                    ),
                )
            )
        elif metric.published_name in owners:
            problems.append(
                _problem(
                    path,
                    (
                        f'the name {metric.published_name!r} is that of metric '
                        f'{owners[metric.published_name]!r} already; '
                        'each metric needs its own alt_name.'
                    ),
                )
            )
        keys.add(metric.key)
        owners.setdefault(metric.published_name, metric.name)
        found[path] = metric
    return found, problems


def problem_parts(exc: errors.InvalidInput) -> list[tuple[Path, str]]:
    """Return (path relative to the checked value, text) of each problem in *exc*."""
    return exc.facts.get('parts') or [((), str(exc))]


def describe_place(path: Path) -> str:
    """Return in words where *path* leads: the metric, and which of its definitions."""
    where = f'metric {_show(path[1])}'
    return f'{where}, definition {path[2] + 1}' if len(path) > 2 else where


def _problem(path: Path, text: str, *below: Any) -> Problem:
    return Problem((*path, *below), f'{describe_place(path)}: {text}')


def definitions(conf: Any, problems: list[Problem]) -> Iterator[tuple[Path, Any]]:
    """Yield (path, unchecked definition); append problems above that level to *problems*."""
    for name, value in _checked_top(conf, problems).items():
        path = ('metrics', name)
        try:
            _metric_name(name)
        except errors.InvalidInput as exc:
            problems.append(_problem(path, f'the name {exc}.'))
            continue
        if not isinstance(value, list):
            yield path, value
        elif not value:
            problems.append(_problem(path, 'the list of definitions is empty.'))
        else:
            for number, definition in enumerate(value):
                yield (*path, number), definition


def _checked_top(conf: Any, problems: list[Problem]) -> Mapping[Any, Any]:
    """Return the validated mapping of metric names."""
    if not isinstance(conf, Mapping):
        problems.append(Problem((), f'the file must hold the key metrics, not {_show(conf)}.'))
        return {}
    problems.extend(
        Problem((key,), f'unknown key {_show(key)}; allowed: metrics.')
        for key in conf
        if key != 'metrics'
    )
    found = conf.get('metrics')
    if not isinstance(found, Mapping) or not found:
        problems.append(
            Problem(
                ('metrics',),
                (
                    'metrics must be a mapping of metric names to definitions, at least one, not '
                    f'{_show(found)}.'
                ),
            )
        )
        return {}
    return found


def _build(
    path: Path,
    definition: Any,
    checks: Mapping[str, Check],
    scope_key: str,
    problems: list[Problem],
) -> Metric | None:
    """Return the metric; if it is invalid, append to *problems* and return None."""
    if not isinstance(definition, Mapping):
        problems.append(
            _problem(path, f'the definition must be a mapping, not {_show(definition)}.')
        )
        return None
    wrong = [
        _problem(path, f'unknown key {_show(key)}; allowed: {", ".join(checks)}.', key)
        for key in definition
        if key not in checks
    ]
    if 'unit' not in definition:
        wrong.append(_problem(path, 'the key unit is missing.'))
    values = {}
    for key, value in {'extra_args': {}, **definition}.items():
        if key not in checks:
            continue
        try:
            values[_KEYS[key].attribute] = checks[key](value)
        except errors.InvalidInput as exc:
            wrong.extend(
                _problem(path, f'{key} {text}.', key, *below) for below, text in problem_parts(exc)
            )
    values['groupby'] = tuple(dict.fromkeys((*values.get('groupby', ()), scope_key)))
    metric = None
    if not wrong:
        metric = Metric(name=path[1], **values)
        wrong = [_problem(path, text, *below) for below, text in _check_together(metric)]
    problems.extend(wrong)
    return None if wrong else metric


def _check_together(metric: Metric) -> Iterator[tuple[Path, str]]:
    """Yield (path, text) for keys that contradict each other."""
    both = [name for name in metric.groupby if name in metric.metadata]
    if both:
        yield (
            ('metadata',),
            (
                f'{", ".join(both)} must not be in both groupby and metadata; the '
                'scope is in groupby always.'
            ),
        )
    if (metric.mutate == 'MAP') != (metric.mutate_map is not None):
        yield (), ('mutate_map goes with mutate: MAP, and mutate: MAP needs a mutate_map.')


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


# Validators of one value: they return it in its final form, or raise InvalidInput with the text
# "must be ..., not ...", to which the caller adds the place.


def _refuse(value: object, allowed: str) -> NoReturn:
    raise errors.InvalidInput(reason=f'must be {allowed}, not {_show(value)}')


def text(value: Any) -> str:
    """Return *value* if it is text of any length that a database can store."""
    if not isinstance(value, str) or not dataframe.is_text(value):
        _refuse(value, 'text')
    return value


def filled_text(value: Any) -> str:
    """Return *value* if it is text of at least one character."""
    return text(value) or _refuse(value, 'text of at least one character')


def short_text(value: Any) -> str:
    """Return *value* if it is text that fits into a name column."""
    if (
        not isinstance(value, str)
        or not dataframe.is_text(value)
        or not 0 < len(value) <= TEXT_LENGTH_MAX
    ):
        _refuse(value, f'text of 1 to {TEXT_LENGTH_MAX} characters')
    return value


def choice(*allowed: str) -> Check:
    """Return a validator that accepts only the values in *allowed*."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            _refuse(value, f'one of {", ".join(allowed)}')
        return value

    return check


def boolean(value: Any) -> bool:
    """Return *value* if it is true or false."""
    return value if isinstance(value, bool) else _refuse(value, 'true or false')


def natural_number(value: Any) -> int:
    """Return *value* if it is a whole number, 0 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        _refuse(value, 'a whole number, 0 or more')
    return value


def positive_number(value: Any) -> int:
    """Return *value* if it is a whole number, 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        _refuse(value, 'a whole number, 1 or more')
    return value


def mapping(value: Any) -> FrozenDict[str, Any]:
    """Return *value* if it is a mapping."""
    return FrozenDict(value) if isinstance(value, Mapping) else _refuse(value, 'a mapping')


def only_keys(arguments: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return *arguments* with each value validated by its key's check; refuse other keys.

    :raises InvalidInput: problem_parts() lists the problems.
    """
    checked: dict[str, Any] = {}
    parts: list[tuple[Path, str]] = []
    for key, value in arguments.items():
        if key not in checks:
            parts.append(
                ((key,), f'has the unknown key {_show(key)}; allowed: {", ".join(checks)}')
            )
            continue
        try:
            checked[key] = checks[key](value)
        except errors.InvalidInput as exc:
            parts.append(((key,), f'{key} {exc}'))
    if parts:
        raise errors.InvalidInput(reason='; '.join(text for _, text in parts), parts=parts)
    return checked


def _metric_name(value: object) -> None:
    if KEY_SEPARATOR in short_text(value):
        _refuse(value, f'without {KEY_SEPARATOR}')


def names(value: Any) -> tuple[str, ...]:
    """Return the attribute names in the list *value*, each once."""
    if not isinstance(value, list):
        _refuse(value, 'a list of attribute names')
    parts = []
    for place, name in enumerate(value):
        try:
            short_text(name)
        except errors.InvalidInput as exc:
            # YAML reads an unquoted no, on or 5 as another type.
            hint = '' if isinstance(name, str) else '; put it in quotes'
            parts.append(((place,), f'{exc}{hint}'))
    if parts:
        raise errors.InvalidInput(reason='; '.join(text for _, text in parts), parts=parts)
    return tuple(dict.fromkeys(value))


def _fraction(value: object) -> Fraction:
    allowed = 'a finite number or a fraction in quotes, as "1/1048576"'
    if not isinstance(value, (int, float, str)):
        _refuse(value, allowed)
    try:
        number = str(value) if isinstance(value, float) else value
        # Text without a slash may have an exponent: check it before the exact form is computed.
        if isinstance(number, str) and '/' not in number:
            if abs(Decimal(number).adjusted()) > EXPONENT_MAX:
                _refuse(value, allowed)
        return Fraction(number)
    except (ValueError, ArithmeticError) as exc:
        raise errors.InvalidInput(reason=f'must be {allowed}, not {_show(value)}') from exc


def _mutate_map(value: object) -> FrozenDict[Decimal, Decimal]:
    table: dict[Decimal, Decimal] = {}
    for raw, quantity in mapping(value).items():
        try:
            key, entry = bounds.to_decimal(raw), bounds.to_decimal(quantity)
        except errors.InvalidInput as exc:
            raise errors.InvalidInput(
                reason=f'must be a mapping of numbers to numbers: {exc}'
            ) from exc
        if key in table:
            raise errors.InvalidInput(reason=f'must have each number once, not {key} twice')
        table[key] = entry
    return FrozenDict(table)


@dataclass(frozen=True)
class _Key:
    """A key of the file: the attribute that it sets, and the validator of its value."""

    attribute: str
    check: Check


_KEYS = {
    'unit': _Key('unit', short_text),
    'description': _Key('description', filled_text),
    'alt_name': _Key('alt_name', short_text),
    'factor': _Key('factor', _fraction),
    'offset': _Key('offset', _fraction),
    'groupby': _Key('groupby', names),
    'metadata': _Key('metadata', names),
    'mutate': _Key('mutate', choice(*_MUTATIONS)),
    'mutate_map': _Key('mutate_map', _mutate_map),
    'collector': _Key('collector', short_text),
    'extra_args': _Key('extra_args', mapping),
    'skip_datapoints_expression': _Key('skip_expression', filled_text),
    'allow_negative': _Key('allow_negative', boolean),
}
