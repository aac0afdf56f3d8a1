"""Skip expressions: which rated points are not stored.

An expression stands in a metric definition or in the configuration, for example
`datapoint['vol']['qty'] == 0`. It can compare, compute and look into `datapoint`, and nothing else:
no import, no attribute beyond a few of text and mappings, no unbounded loop.
"""

import ast
import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal

import simpleeval

from cloudkitty import errors
from cloudkitty.dataframe import DataFrame, DataPoint

LOG = logging.getLogger(__name__)

_TEXT_METHODS = ['endswith', 'lower', 'split', 'startswith', 'strip', 'upper']
_ATTRIBUTES = {dict: ['get', 'items', 'keys', 'values'], str: _TEXT_METHODS}
_FUNCTIONS = {'Decimal': Decimal, 'abs': abs, 'all': all, 'any': any, 'bool': bool, 'float': float,
              'int': int, 'len': len, 'max': max, 'min': min, 'round': round, 'str': str}


class Expression:
    """One expression, parsed once.

    :raises InvalidInput: *text* is no expression.
    """

    def __init__(self, text: str):
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode='eval').body
        except (SyntaxError, ValueError) as exc:
            raise errors.InvalidInput(
                reason=f'skip_datapoints_expression {text!r} is not an expression: {exc}') from exc
        self._evaluator = simpleeval.EvalWithCompoundTypes(
            functions=_FUNCTIONS, allowed_attrs=_ATTRIBUTES)
        self._has_failed = False

    @property
    def is_never(self) -> bool:
        """Whether it is the constant False, so that no point need be looked at."""
        return isinstance(self._tree, ast.Constant) and not self._tree.value

    def matches(self, metric_name: str, point: DataPoint) -> bool:
        """Say whether *point* is to be skipped; a point on which the expression fails is kept."""
        self._evaluator.names = {
            'datapoint': point.as_dict(mutable=True), 'usage_data_metric_name': metric_name,
            'skip_datapoint_expression': self.text, 'True': True, 'False': False, 'None': None}
        try:
            return bool(self._evaluator.eval(self.text, previously_parsed=self._tree))
        # An operator's expression can fail in any way, and no usage may get lost by it.
        except Exception as exc:
            if not self._has_failed:
                self._has_failed = True
                LOG.warning('skip_datapoints_expression %r fails on metric %s, such points are '
                            'kept: %s: %s', self.text, metric_name, type(exc).__name__, exc)
            return False


class SkipFilter:
    """The expressions of all metrics.

    :param default: expression of the metrics that have none of their own.
    :param own: expression by published metric name; None: it has none.
    :raises InvalidInput: one of them is no expression.
    """

    def __init__(self, default: str, own: Mapping[str, str | None]):
        self._default = _active(default)
        self._own = {name: _own_active(name, text) for name, text in own.items() if text}
        self.is_idle = not self._default and not any(self._own.values())

    def apply(self, frame: DataFrame) -> DataFrame:
        """Return *frame* without the points to skip; a metric without points is left out."""
        if self.is_idle:
            return frame
        kept = {name: self._kept(name, points) for name, points in frame.itertypes()}
        return DataFrame(frame.start, frame.end,
                         {name: points for name, points in kept.items() if points})

    def _kept(self, name: str, points: Sequence[DataPoint]) -> Sequence[DataPoint]:
        expression = self._own.get(name, self._default)
        if expression is None:
            return points
        return [point for point in points if not expression.matches(name, point)]


def _own_active(name, text):
    try:
        return _active(text)
    except errors.InvalidInput as exc:
        raise errors.InvalidInput(reason=f'metric {name!r}: {exc}') from exc


def _active(text):
    expression = Expression(text)
    return None if expression.is_never else expression
