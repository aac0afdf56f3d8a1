"""Metric definitions: what is asked from the source, and how an answer becomes a quantity. Pure.

Source of all rules: contract collection, section 2, with the targets W1, W2, W5, W7 and W14.
"""

import decimal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloudkitty import dataframe, errors
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, FrozenDict, Series

# Between the name and the alternative name in an internal key.
KEY_SEPARATOR = '@#'
TEXT_LENGTH_MAX = 255
# A number with a larger exponent is a slip, and its exact form would fill the memory.
EXPONENT_MAX = 300
ONE = Decimal(1)

_ROUNDINGS = {'FLOOR': decimal.ROUND_FLOOR, 'CEIL': decimal.ROUND_CEILING}
_MUTATIONS: dict[str, Callable[[Decimal, Mapping], Decimal]] = {
    'NONE': lambda value, table: value,
    'NUMBOOL': lambda value, table: ONE if value else ZERO,
    'NOTNUMBOOL': lambda value, table: ZERO if value else ONE,
    'FLOOR': lambda value, table: value.to_integral_value(decimal.ROUND_FLOOR),
    'CEIL': lambda value, table: value.to_integral_value(decimal.ROUND_CEILING),
    'MAP': lambda value, table: table.get(value, ZERO),
}

Check = Callable[[Any], Any]


@dataclass(frozen=True)
class Metric(Mapping):
    """One definition.

    It also reads like the mapping of the file with all defaults filled in
    (`definition['groupby']`, `definition.get('alt_name')`), which is what collectors of other
    projects expect.

    :ivar key: internal name, unique: `NAME` or `NAME@#ALT`.
    :ivar name: what the source knows the metric by.
    :ivar published_name: what points are stored, rated and reported as; unique.
    :ivar groupby: attributes that can be grouped by, in the order of the file, the scope last.
    :ivar metadata: other attributes, in the order of the file.
    :ivar mutate_map: None, or quantity by quantity for `MAP`.
    :ivar extra_args: parameters of the collector, checked and with its defaults.
    :ivar skip_expression: text or None.
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
    mutate_map: FrozenDict | None = None
    extra_args: FrozenDict = dataframe.NO_ATTRIBUTES
    skip_expression: str | None = None
    # raw × factor + offset, as one exact product and sum and one division that rounds.
    _scale: tuple | None = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, '_scale', self._build_scale())

    def _build_scale(self):
        if (self.factor, self.offset) == (1, 0):
            return None
        divisor = self.factor.denominator * self.offset.denominator
        # Rounding must not lift a value over the next integer before FLOOR sees it.
        context = dataframe.CONTEXT.copy()
        context.rounding = _ROUNDINGS.get(self.mutate, context.rounding)
        return (Decimal(int(self.factor * divisor)), Decimal(int(self.offset * divisor)),
                Decimal(divisor), context)

    @property
    def published_name(self) -> str:
        return self.alt_name or self.name

    @property
    def key(self) -> str:
        return f'{self.name}{KEY_SEPARATOR}{self.alt_name}' if self.alt_name else self.name

    def quantity(self, raw: Decimal) -> Decimal:
        """Return mutate(raw × factor + offset), rounded once as dataframe.CONTEXT says.

        :param raw: a finite number; untouched where nothing is to be computed.
        """
        value = raw
        if self._scale is not None:
            factor, offset, divisor, context = self._scale
            value = context.divide(SUM_CONTEXT.fma(raw, factor, offset), divisor)
        if self.mutate != 'NONE':
            value = _MUTATIONS[self.mutate](value, self.mutate_map)
        # Zero has no sign: a source may say -0.
        return value or ZERO

    def series(self, attributes: Mapping[str, str]) -> Series:
        """Return the series of this metric with its share of *attributes*; a lacking one is ''."""
        groupby, metadata = (FrozenDict((name, attributes.get(name, '')) for name in names)
                             for names in (self.groupby, self.metadata))
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


def parse(conf: Any, *, scope_key: str,
          check_extra_args: Check = FrozenDict) -> dict[str, Metric]:
    """Return the definitions of a parsed file by internal key, in the order of the file.

    :param conf: what the YAML loader returned.
    :param scope_key: attribute that names the scope; appended to each groupby.
    :param check_extra_args: returns the collector's parameters with defaults, or raises
        InvalidInput; its argument is a mapping.
    :raises InvalidInput: the text names the metric, the key and what is allowed.
    """
    checks = {**{key: rule.check for key, rule in _KEYS.items()},
              'extra_args': lambda value: check_extra_args(mapping(value))}
    found: dict[str, Metric] = {}
    owners: dict[str, str] = {}
    for name, where, definition in _definitions(conf):
        metric = _build(name, where, definition, checks, scope_key)
        if metric.key in found:
            raise errors.InvalidInput(
                reason=f'{where}: a definition with the name {metric.published_name!r} already '
                       'exists; each definition of a metric needs its own alt_name.')
        if metric.published_name in owners:
            raise errors.InvalidInput(
                reason=f'{where}: the name {metric.published_name!r} is that of metric '
                       f'{owners[metric.published_name]!r} already; each metric needs its own '
                       'alt_name.')
        found[metric.key] = metric
        owners[metric.published_name] = name
    return found


def _definitions(conf):
    """Yield (metric name, where it stands, unchecked definition)."""
    for name, value in _checked_top(conf).items():
        where = f'metric {_show(name)}'
        try:
            _metric_name(name)
        except errors.InvalidInput as exc:
            raise errors.InvalidInput(reason=f'{where}: the name {exc}.') from exc
        if not isinstance(value, list):
            yield name, where, value
        elif not value:
            raise errors.InvalidInput(reason=f'{where}: the list of definitions is empty.')
        else:
            for number, definition in enumerate(value, 1):
                yield name, f'{where}, definition {number}', definition


def _checked_top(conf):
    """Return the mapping of metric names."""
    if not isinstance(conf, Mapping):
        raise errors.InvalidInput(reason=f'the file must hold the key metrics, not {_show(conf)}.')
    unknown = [key for key in conf if key != 'metrics']
    if unknown:
        raise errors.InvalidInput(reason=f'unknown key {_show(unknown[0])}; allowed: metrics.')
    found = conf.get('metrics')
    if not isinstance(found, Mapping) or not found:
        raise errors.InvalidInput(reason='metrics must be a mapping of metric names to '
                                         f'definitions, at least one, not {_show(found)}.')
    return found


def _build(name, where, definition, checks, scope_key):
    if not isinstance(definition, Mapping):
        raise errors.InvalidInput(
            reason=f'{where}: the definition must be a mapping, not {_show(definition)}.')
    unknown = [key for key in definition if key not in checks]
    if unknown:
        raise errors.InvalidInput(reason=f'{where}: unknown key {_show(unknown[0])}; allowed: '
                                         f'{", ".join(checks)}.')
    if 'unit' not in definition:
        raise errors.InvalidInput(reason=f'{where}: the key unit is missing.')
    values = {}
    for key, value in {'extra_args': {}, **definition}.items():
        try:
            values[_KEYS[key].attribute] = checks[key](value)
        except errors.InvalidInput as exc:
            raise errors.InvalidInput(reason=f'{where}: {key} {exc}.') from exc
    values['groupby'] = tuple(dict.fromkeys((*values.get('groupby', ()), scope_key)))
    metric = Metric(name=name, **values)
    _check_together(metric, where)
    return metric


def _check_together(metric, where):
    both = [name for name in metric.groupby if name in metric.metadata]
    if both:
        raise errors.InvalidInput(reason=f'{where}: {", ".join(both)} must not be in both groupby '
                                         'and metadata; the scope is in groupby always.')
    if (metric.mutate == 'MAP') != (metric.mutate_map is not None):
        raise errors.InvalidInput(reason=f'{where}: mutate_map goes with mutate: MAP, and mutate: '
                                         'MAP needs a mutate_map.')


def _show(value):
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


# Checks of one value: they return it in its final form, or raise InvalidInput with the text
# "must be ..., not ...", to which the caller adds the place.

def _refuse(value, allowed):
    raise errors.InvalidInput(reason=f'must be {allowed}, not {_show(value)}')


def text(value: Any) -> str:
    """Return *value* if it is text of any length that a database can keep."""
    if not isinstance(value, str) or '\0' in value:
        _refuse(value, 'text')
    return value


def filled_text(value: Any) -> str:
    """Return *value* if it is text of at least one character."""
    return text(value) or _refuse(value, 'text of at least one character')


def short_text(value: Any) -> str:
    """Return *value* if it is text that a name column can keep."""
    if not isinstance(value, str) or '\0' in value or not 0 < len(value) <= TEXT_LENGTH_MAX:
        _refuse(value, f'text of 1 to {TEXT_LENGTH_MAX} characters')
    return value


def choice(*allowed: str) -> Check:
    """Return a check that *allowed* pass, and nothing else."""
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


def mapping(value: Any) -> FrozenDict:
    """Return *value* if it is a mapping."""
    return FrozenDict(value) if isinstance(value, Mapping) else _refuse(value, 'a mapping')


def only_keys(arguments: Mapping, checks: Mapping[str, Check]) -> dict:
    """Return *arguments*, each value checked by its key's check; other keys are refused."""
    checked = {}
    for key, value in arguments.items():
        if key not in checks:
            raise errors.InvalidInput(
                reason=f'has the unknown key {_show(key)}; allowed: {", ".join(checks)}')
        try:
            checked[key] = checks[key](value)
        except errors.InvalidInput as exc:
            raise errors.InvalidInput(reason=f'{key} {exc}') from exc
    return checked


def _metric_name(value):
    if KEY_SEPARATOR in short_text(value):
        _refuse(value, f'without {KEY_SEPARATOR}')


def _names(value):
    if not isinstance(value, list):
        _refuse(value, 'a list of attribute names')
    return tuple(dict.fromkeys(short_text(name) for name in value))


def _fraction(value):
    allowed = 'a finite number or a fraction in quotes, as "1/1048576"'
    if not isinstance(value, (int, float, str)):
        _refuse(value, allowed)
    try:
        number = str(value) if isinstance(value, float) else value
        # What has no slash may have an exponent: look at it before the exact form is made.
        if isinstance(number, str) and '/' not in number:
            if abs(Decimal(number).adjusted()) > EXPONENT_MAX:
                _refuse(value, allowed)
        return Fraction(number)
    except (ValueError, ArithmeticError) as exc:
        raise errors.InvalidInput(reason=f'must be {allowed}, not {_show(value)}') from exc


def _mutate_map(value):
    table: dict[Decimal, Decimal] = {}
    for raw, quantity in mapping(value).items():
        try:
            key, entry = dataframe.to_decimal(raw), dataframe.to_decimal(quantity)
        except errors.InvalidInput as exc:
            raise errors.InvalidInput(reason=f'must be a mapping of numbers to numbers: {exc}'
                                      ) from exc
        if key in table:
            raise errors.InvalidInput(reason=f'must have each number once, not {key} twice')
        table[key] = entry
    return FrozenDict(table)


@dataclass(frozen=True)
class _Key:
    """A key of the file: the attribute it fills, and the check of its value."""

    attribute: str
    check: Check


_KEYS = {
    'unit': _Key('unit', short_text),
    'description': _Key('description', filled_text),
    'alt_name': _Key('alt_name', short_text),
    'factor': _Key('factor', _fraction),
    'offset': _Key('offset', _fraction),
    'groupby': _Key('groupby', _names),
    'metadata': _Key('metadata', _names),
    'mutate': _Key('mutate', choice(*_MUTATIONS)),
    'mutate_map': _Key('mutate_map', _mutate_map),
    'extra_args': _Key('extra_args', mapping),
    'skip_datapoints_expression': _Key('skip_expression', filled_text),
}
