"""Points and frames, at the import path that plug-ins rely on; the code is in core."""

from cloudkitty.core.bounds import to_decimal
from cloudkitty.core.dataframe import (
    NO_ATTRIBUTES,
    UNDEFINED_UNIT,
    DataFrame,
    DataPoint,
    FrozenDict,
    NamedPoint,
    Series,
    is_text,
    to_json,
)
from cloudkitty.core.decimals import (
    CONTEXT,
    INTEGER_DIGITS_MAX,
    SUM_CONTEXT,
    WIDE_CONTEXT,
    ZERO,
    render_decimal,
)

__all__ = (
    'CONTEXT',
    'INTEGER_DIGITS_MAX',
    'NO_ATTRIBUTES',
    'SUM_CONTEXT',
    'UNDEFINED_UNIT',
    'WIDE_CONTEXT',
    'ZERO',
    'DataFrame',
    'DataPoint',
    'FrozenDict',
    'NamedPoint',
    'Series',
    'is_text',
    'render_decimal',
    'to_decimal',
    'to_json',
)
