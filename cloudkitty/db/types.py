"""Column types that mean the same on SQLite, PostgreSQL and MariaDB."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext import compiler
from sqlalchemy.sql import functions

from cloudkitty.core import decimals

# Digits of a stored quantity, price or sum of them.
SCALE = decimals.SCALE_MAX
PRECISION = decimals.SUM_DIGITS_MAX + SCALE


def name(length: int) -> sa.types.TypeEngine[str]:
    """Return a text type whose comparison is exact: case, accents and trailing blanks count."""
    return (
        sa.String(length)
        .with_variant(
            mysql.VARCHAR(length, charset='utf8mb4', collation='utf8mb4_nopad_bin'),
            'mysql',
            'mariadb',
        )
        .with_variant(sa.String(length, collation='C'), 'postgresql')
    )


def text() -> sa.types.TypeEngine[str]:
    """Return a type for text of any length, compared exactly."""
    mysql_text = mysql.LONGTEXT(charset='utf8mb4', collation='utf8mb4_nopad_bin')
    return (
        sa.Text()
        .with_variant(mysql_text, 'mysql', 'mariadb')
        .with_variant(sa.Text(collation='C'), 'postgresql')
    )


def blob() -> sa.types.TypeEngine[bytes]:
    """Return a type for bytes of any length."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql', 'mariadb')


def digest() -> sa.types.TypeEngine[bytes]:
    """Return a type for 16 bytes that can carry a unique key."""
    return sa.LargeBinary(16).with_variant(mysql.BINARY(16), 'mysql', 'mariadb')


def instant() -> sa.types.TypeEngine[datetime]:
    """Return a type for naive UTC datetimes with microseconds."""
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')


def big_id() -> sa.types.TypeEngine[int]:
    """Return a type for a generated 64 bit key."""
    return sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


class Exact(sa.types.TypeDecorator):
    """An exact decimal with exact sums; fixed-point text on SQLite, which has no such type."""

    impl = sa.Numeric(PRECISION, SCALE)
    cache_ok = True

    def __init__(self, precision: int = PRECISION, scale: int = SCALE) -> None:
        super().__init__(precision, scale)

    def load_dialect_impl(self, dialect):
        if dialect.name == 'sqlite':
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(self.impl)

    def process_bind_param(self, value, dialect):
        if value is None:
            return None
        return format(value, 'f') if dialect.name == 'sqlite' else value

    def result_processor(self, dialect, coltype):
        # Not process_result_value(), which takes another call for each value.
        return _exact


def _exact(value: Decimal | int | str | None) -> Decimal | None:
    if value is None:
        return None
    number = Decimal(value)
    # Integers are written without a point on SQLite.
    return number if isinstance(value, str) and '.' not in value else decimals.trim(number)


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


class utc_clock(functions.GenericFunction):  # noqa: N801 - it is written as a function
    """The database's clock at the moment the statement runs, naive UTC."""

    type = instant()
    inherit_cache = True
    name = 'utc_clock'


@compiler.compiles(utc_clock, 'postgresql')
def _postgresql_clock(element, compiler_, **kw):
    return "(clock_timestamp() AT TIME ZONE 'UTC')"


@compiler.compiles(utc_clock, 'mysql', 'mariadb')
def _mysql_clock(element, compiler_, **kw):
    return 'UTC_TIMESTAMP(6)'


@compiler.compiles(utc_clock, 'sqlite')
def _sqlite_clock(element, compiler_, **kw):
    # It knows milliseconds only, and a column of this type has microseconds.
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


class SQLiteSum:
    """The aggregate behind exact_sum in SQLite."""

    def __init__(self) -> None:
        self.total = decimals.ZERO

    def step(self, value):
        if value is not None:
            self.total = decimals.SUM_CONTEXT.add(self.total, Decimal(value))

    def finalize(self):
        return format(self.total, 'f')


def sqlite_add(left: str, right: str) -> str:
    """The function behind exact_add in SQLite."""
    return format(decimals.SUM_CONTEXT.add(Decimal(left), Decimal(right)), 'f')
