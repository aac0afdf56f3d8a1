"""Column types that mean the same on SQLite, PostgreSQL and MariaDB."""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext import compiler
from sqlalchemy.sql import functions

from cloudkitty import dataframe, errors

# Digits of a stored quantity, price or sum of them: MariaDB's widest exact number.
PRECISION = 65
SCALE = 38
GRID = Decimal(1).scaleb(-SCALE)


def name(length: int) -> sa.types.TypeEngine:
    """Return a text type whose comparison is exact: case, accents and trailing blanks count."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset='utf8mb4', collation='utf8mb4_nopad_bin'),
        'mysql', 'mariadb').with_variant(sa.String(length, collation='C'), 'postgresql')


def text() -> sa.types.TypeEngine:
    """Return a type for text of any length, compared exactly."""
    mysql_text = mysql.LONGTEXT(charset='utf8mb4', collation='utf8mb4_nopad_bin')
    return (sa.Text().with_variant(mysql_text, 'mysql', 'mariadb')
            .with_variant(sa.Text(collation='C'), 'postgresql'))


def blob() -> sa.types.TypeEngine:
    """Return a type for bytes of any length."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql', 'mariadb')


def digest() -> sa.types.TypeEngine:
    """Return a type for 16 bytes that can carry a unique key."""
    return sa.LargeBinary(16).with_variant(mysql.BINARY(16), 'mysql', 'mariadb')


def instant() -> sa.types.TypeEngine:
    """Return a type for naive UTC datetimes with microseconds."""
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')


def big_id() -> sa.types.TypeEngine:
    """Return a type for a generated 64 bit key."""
    return sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def on_grid(number: Decimal) -> Decimal:
    """Return *number* as it can be stored exactly on every database: 38 digits after the point.

    :raises InvalidInput: more than 27 digits before the point.
    """
    if not number:
        return dataframe.ZERO
    if number.adjusted() < dataframe.INTEGER_DIGITS_MAX and number.as_tuple().exponent < -SCALE:
        number = number.quantize(GRID, context=dataframe.WIDE_CONTEXT)
    if number.adjusted() >= dataframe.INTEGER_DIGITS_MAX:
        raise errors.InvalidInput(
            reason=f'{number} has more than {dataframe.INTEGER_DIGITS_MAX} digits before the point')
    return number


class Exact(sa.types.TypeDecorator):
    """An exact decimal, sums included; text in fixed point where the database has none (SQLite)."""

    impl = sa.Numeric(PRECISION, SCALE)
    cache_ok = True

    def __init__(self, precision: int = PRECISION, scale: int = SCALE):
        super().__init__(precision, scale)

    def load_dialect_impl(self, dialect):
        if dialect.name == 'sqlite':
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(self.impl)

    def process_bind_param(self, value, dialect):
        if value is None:
            return None
        return format(value, 'f') if dialect.name == 'sqlite' else value

    def process_result_value(self, value, dialect):
        return None if value is None else trim(Decimal(value))


def trim(number: Decimal) -> Decimal:
    """Return *number* without trailing zeros after the point."""
    whole = number.to_integral_value()
    # The context keeps every digit that a column can hold.
    return whole if whole == number else number.normalize(dataframe.WIDE_CONTEXT)


class exact_sum(functions.GenericFunction):  # noqa: N801 - it is written as a function
    """Exact sum of an Exact column, on every database."""

    type = Exact()
    inherit_cache = True
    name = 'exact_sum'


class exact_add(functions.GenericFunction):  # noqa: N801 - it is written as a function
    """Exact sum of two Exact values, on every database."""

    type = Exact()
    inherit_cache = True
    name = 'exact_add'


@compiler.compiles(exact_sum)
def _sum(element, compiler_, **kw):
    return f'sum({compiler_.process(element.clauses, **kw)})'


@compiler.compiles(exact_add)
def _add(element, compiler_, **kw):
    left, right = element.clauses
    return f'({compiler_.process(left, **kw)} + {compiler_.process(right, **kw)})'


@compiler.compiles(exact_sum, 'sqlite')
def _sqlite_sum(element, compiler_, **kw):
    return f'exact_sum({compiler_.process(element.clauses, **kw)})'


@compiler.compiles(exact_add, 'sqlite')
def _sqlite_add(element, compiler_, **kw):
    return f'exact_add({compiler_.process(element.clauses, **kw)})'


class SQLiteSum:
    """The aggregate behind exact_sum in SQLite."""

    def __init__(self):
        self.total = dataframe.ZERO

    def step(self, value):
        if value is not None:
            self.total = dataframe.SUM_CONTEXT.add(self.total, Decimal(value))

    def finalize(self):
        return format(self.total, 'f')


def sqlite_add(left: str, right: str) -> str:
    """The function behind exact_add in SQLite."""
    return format(dataframe.SUM_CONTEXT.add(Decimal(left), Decimal(right)), 'f')
