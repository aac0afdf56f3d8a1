"""Skip expressions: which rated points are not stored.

An expression is part of a metric definition or of the configuration, for example
`datapoint['vol']['qty'] == 0`. It can compare, compute and read `datapoint`, and nothing else: no
imports, no attributes beyond a few of text and mappings, no unbounded loops.
"""

import ast
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import simpleeval
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core.bounds import EXPONENT_MAX, to_decimal
from cloudkitty.core.columns import Column
from cloudkitty.core.dataframe import DataPoint
from cloudkitty.core.metrics import Metric
from cloudkitty.core.scope_period import ScopePeriods

LOG = logging.getLogger(__name__)

_TEXT_METHODS = ['endswith', 'lower', 'split', 'startswith', 'strip', 'upper']
_ATTRIBUTES = {dict: ['get', 'items', 'keys', 'values'], str: _TEXT_METHODS}
_FUNCTIONS = {
    'Decimal': to_decimal,
    'abs': abs,
    'all': all,
    'any': any,
    'bool': bool,
    'float': float,
    'int': int,
    'len': len,
    'max': max,
    'min': min,
    'round': round,
    'str': str,
}


def _power(base: Any, exponent: Any) -> Any:
    # simpleeval's own limit allows a name and a number set by a tenant to compute for minutes.
    if abs(exponent) > EXPONENT_MAX or abs(base) > _BASE_MAX:
        raise errors.InvalidInput(reason='The power is too large.')
    return base**exponent


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        raise errors.InvalidInput(reason='% does not format text.')
    return left % right


_BASE_MAX = 10**9
_OPERATORS = {**simpleeval.DEFAULT_OPERATORS, ast.Pow: _power, ast.Mod: _modulo}


class Expression:
    """One expression, parsed once.

    :raises InvalidInput: *text* is not a valid expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode='eval').body
        except (SyntaxError, ValueError) as exc:
            raise errors.InvalidInput(
                reason=f'skip_datapoints_expression {text!r} is not an expression: {exc}'
            ) from exc
        self._evaluator = simpleeval.EvalWithCompoundTypes(
            operators=_OPERATORS, functions=_FUNCTIONS, allowed_attrs=_ATTRIBUTES
        )
        self._has_failed = False

    @property
    def is_never(self) -> bool:
        """Whether it is the constant False, so that no point needs to be evaluated."""
        return isinstance(self._tree, ast.Constant) and not self._tree.value

    def matches(self, metric_name: str, point: DataPoint) -> bool:
        """Return whether to skip *point*; a point on which the expression fails is kept."""
        self._evaluator.names = {
            'datapoint': point.as_dict(mutable=True),
            'usage_data_metric_name': metric_name,
            'skip_datapoint_expression': self.text,
            'True': True,
            'False': False,
            'None': None,
        }
        try:
            return bool(self._evaluator.eval(self.text, previously_parsed=self._tree))
        # An operator's expression can fail in any way; no usage may be lost by that.
        except Exception as exc:
            if not self._has_failed:
                self._has_failed = True
                LOG.warning(
                    'skip_datapoints_expression %r fails on metric %s, such points are '
                    'kept: %s: %s',
                    self.text,
                    metric_name,
                    type(exc).__name__,
                    exc,
                )
            return False


class SkipFilter:
    """The expressions of all metrics.

    :param default: expression of the metrics that have none of their own.
    :param own: expression by published metric name; None: it has none.
    :raises InvalidInput: one of them is not a valid expression.
    """

    def __init__(self, default: str, own: Mapping[str, str | None]) -> None:
        self._default = _active(default)
        self._own = {name: _own_active(name, text) for name, text in own.items() if text}
        self.is_idle = not self._default and not any(self._own.values())

    def apply(self, usage: ScopePeriods) -> ScopePeriods:
        """Return *usage* without the points to skip."""
        if self.is_idle:
            return usage
        return usage.with_columns(self._kept(column, usage.calendars) for column in usage.columns)

    def _kept(self, column: Column, calendars: Sequence[Mapping[str, Any]]) -> Column:
        expression = self._own.get(column.metric, self._default)
        if expression is None:
            return column
        return column.kept(
            [
                index
                for index in range(len(column.offsets))
                if not expression.matches(column.metric, column.point(index, calendars))
            ]
        )


def of_definitions(conf: cfg.ConfigOpts, metrics: Mapping[str, Metric]) -> SkipFilter:
    """Return the filter of the configuration and of metric definitions.

    :raises ConfigurationError: one of the expressions is not valid.
    """
    default = conf.orchestrator.skip_datapoints_expression
    try:
        Expression(default)
    except errors.InvalidInput as exc:
        raise errors.ConfigurationError(reason=f'[orchestrator]: {exc}') from exc
    try:
        return SkipFilter(
            default, {metric.published_name: metric.skip_expression for metric in metrics.values()}
        )
    except errors.InvalidInput as exc:
        raise errors.MetricsFileError(path=conf.collect.metrics_conf, reason=exc) from exc


def _own_active(name: str, text: str) -> Expression | None:
    try:
        return _active(text)
    except errors.InvalidInput as exc:
        raise errors.InvalidInput(reason=f'metric {name!r}: {exc}') from exc


def _active(text: str) -> Expression | None:
    expression = Expression(text)
    return None if expression.is_never else expression
