"""Table rated_data_frames: one row per point, with the column widths that the table has.

A table that this release creates stores every digit. One of an earlier release rounds quantities
to five digits and stores prices as floating point numbers; it is used as it is.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from cloudkitty import errors
from cloudkitty.core import decimals, timeframe
from cloudkitty.core.dataframe import NO_ATTRIBUTES, DataFrame
from cloudkitty.core.decimals import ZERO
from cloudkitty.db import tables, types
from cloudkitty.storage.v1 import sums
from cloudkitty.storage.v2.series.frame_rows import RATED

NAME = 'rated_data_frames'
NO_DATA = '_NO_DATA_'  # type of the row of a period without usage
# Rows that are in memory at once.
ROWS_AT_ONCE = 5000
MYSQL = ('mysql', 'mariadb')

ROWS = sa.Table(
    NAME,
    sa.MetaData(),
    sa.Column('id', types.big_id(), primary_key=True),
    sa.Column('begin', types.instant(), nullable=False),
    sa.Column('end', types.instant(), nullable=False),
    sa.Column('unit', types.name(255), nullable=False),
    sa.Column('qty', types.Exact(), nullable=False),
    sa.Column('res_type', types.name(255), nullable=False),
    sa.Column('rate', types.Exact(), nullable=False),
    sa.Column('desc', types.text(), nullable=False),
    sa.Column('tenant_id', types.name(256)),
    # As in rated_frames; tables of earlier releases lack it.
    sa.Column('origin', sa.SmallInteger, nullable=False),
    sa.Index('idx_rated_data_frames_date', 'begin', 'end'),
    sa.Index('idx_tenantid_begin_end', 'tenant_id', 'begin', 'end'),
    **tables.OPTIONS,
)


class Numbers(NamedTuple):
    """Range and precision of a numeric column.

    :ivar is_exact: it stores every number that is allowed, to the last digit.
    :ivar integer_digits, scale: digits before and after the point; None: a floating point number.
    :ivar is_single: a 32-bit FLOAT of MariaDB, which it displays with six digits.
    """

    is_exact: bool
    integer_digits: int | None = None
    scale: int | None = None
    is_single: bool = False

    def fit(self, number: Decimal) -> Decimal:
        """Return *number* rounded to the column's scale; unchanged for a floating point column.

        :raises InvalidInput: it is too large.
        """
        if self.is_exact or self.scale is None or self.integer_digits is None:
            return decimals.on_grid(number)
        fitted = decimals.round_to(number, self.scale)
        if fitted and fitted.adjusted() >= self.integer_digits:
            raise errors.InvalidInput(
                reason=f'{number} has more than {self.integer_digits} digits before the point, '
                f'which is all that table {NAME} has place for'
            )
        return fitted

    def __str__(self) -> str:
        if self.is_exact:
            return 'all digits'
        return (
            'a floating point number'
            if self.scale is None
            else f'{self.integer_digits} digits before the point and {self.scale} after it'
        )


class Layout(NamedTuple):
    """The layout of the existing table.

    :ivar has_origin: whether pushed points can be distinguished from rated ones.
    :ivar scope_length: longest scope id; None: any.
    """

    dialect: str
    qty: Numbers
    rate: Numbers
    has_origin: bool
    scope_length: int | None

    @property
    def losses(self) -> list[str]:
        """What this table cannot store, one sentence each."""
        found = [
            f'column {name} holds {numbers}'
            for name, numbers in (('qty', self.qty), ('rate', self.rate))
            if not numbers.is_exact
        ]
        if self.scope_length and self.scope_length < 256:
            found.append(f'scope ids have at most {self.scope_length} characters')
        if not self.has_origin:
            found.append('points cannot be pushed, because nothing would tell them from rated ones')
        return found

    def points(
        self, conditions: Iterable[sa.ColumnElement[bool]], *more: sa.ColumnElement[Any]
    ) -> sa.Select[Any]:
        """Return a statement for points in the order of time, with the columns of decode().

        :param more: columns beyond those.
        """
        return (
            sa.select(
                ROWS.c.id,
                ROWS.c.begin,
                ROWS.c.end,
                ROWS.c.tenant_id,
                ROWS.c.res_type,
                ROWS.c.unit,
                ROWS.c.desc,
                self.number('qty').label('qty'),
                self.number('rate').label('rate'),
                *more,
            )
            .where(*conditions)
            .order_by(ROWS.c.begin, ROWS.c.id)
        )

    def number(self, name: str) -> sa.ColumnElement[Any]:
        """Return column *name* as an exact number."""
        column: sa.ColumnElement[Any] = ROWS.c[name]
        if getattr(self, name).is_exact:
            return column
        if self.dialect == 'sqlite':
            # Text of 15 digits, which the column preserves.
            column = sa.cast(column, sa.Text)
        elif getattr(self, name).is_single:
            column = _shortest(column)
        elif getattr(self, name).scale is None:
            column = (
                sa.cast(sa.cast(column, sa.Text), sa.Numeric)
                if self.dialect == 'postgresql'
                else sa.cast(column, types.Exact().impl)
            )
        return sa.type_coerce(column, types.Exact())

    def text(self, name: str) -> sa.ColumnElement[Any]:
        """Return column *name* for exact comparison, whatever its collation is."""
        column = ROWS.c[name]
        if self.dialect not in MYSQL:
            return column
        return sa.collate(sa.cast(column, mysql.CHAR(charset='utf8mb4')), 'utf8mb4_nopad_bin')

    def among(self, name: str, values: Iterable[str]) -> sa.ColumnElement[bool]:
        """Return the condition that a text column has one of *values*; no scope id is ''."""
        wanted = sorted(set(values))
        column = ROWS.c[name]
        # The plain comparison can use the index; the exact one decides.
        condition = sa.and_(column.in_(wanted), self.text(name).in_(wanted))
        return sa.or_(condition, column.is_(None)) if '' in wanted else condition

    def of_origin(self, origin: int | None) -> sa.ColumnElement[bool]:
        """Return the condition that rows have *origin*; None: any."""
        if origin is None:
            return sa.true()
        if not self.has_origin:
            return sa.true() if origin == RATED else sa.false()
        return ROWS.c.origin == origin

    def encode(self, owner: str, origin: int, frame: DataFrame) -> list[dict[str, Any]]:
        """Return the rows of *frame*; a single marker row if it is empty.

        :raises InvalidInput: something does not fit into the columns.
        """
        if self.scope_length and len(owner) > self.scope_length:
            raise errors.InvalidInput(
                reason=f'scope id {owner!r} is longer than the {self.scope_length} characters '
                f'that table {NAME} has place for'
            )
        common: dict[str, Any] = {
            'tenant_id': owner,
            'begin': timeframe.to_naive(frame.start),
            'end': timeframe.to_naive(frame.end),
        }
        if self.has_origin:
            common['origin'] = origin
        rows = [
            {
                **common,
                'res_type': name,
                'unit': point.unit,
                'qty': self.qty.fit(point.qty),
                'rate': self.rate.fit(point.price),
                'desc': text_of(point.desc),
            }
            for name, point in frame
        ]
        return rows or [
            {**common, 'res_type': NO_DATA, 'unit': 'None', 'qty': ZERO, 'rate': ZERO, 'desc': '""'}
        ]


def describe(connection: sa.Connection) -> Layout:
    """Return the layout of the table in a database.

    :raises SchemaMismatch: there is no such table.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(NAME):
        raise errors.SchemaMismatch(reason=f'holds no table {NAME}; run `cloudkitty-storage-init`')
    columns = {column['name']: column['type'] for column in inspector.get_columns(NAME)}
    missing = ROWS.c.keys() - columns.keys() - {'origin'}
    if missing:
        raise errors.SchemaMismatch(
            reason=f'table {NAME} lacks the columns {", ".join(sorted(missing))}'
        )
    return Layout(
        connection.dialect.name,
        _numbers(columns['qty']),
        _numbers(columns['rate']),
        'origin' in columns,
        getattr(columns['tenant_id'], 'length', None),
    )


def is_behind(last: tables.Row) -> sa.ColumnElement[bool]:
    """Return the condition on the rows that Layout.points() returns after *last*."""
    return sa.and_(
        # The database finds the first of them by its index.
        ROWS.c.begin >= last.begin,
        sa.or_(ROWS.c.begin > last.begin, ROWS.c.id > last.id),
    )


def _shortest(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a 32-bit number as the shortest decimal that rounds to it: the one that was stored.

    Seven digits are mostly enough, nine always.
    """
    number = sa.cast(column, mysql.DOUBLE)
    places = 6 - sa.func.floor(sa.func.log10(sa.func.abs(column)))
    rounded = [sa.func.round(number, places + more) for more in range(3)]
    return sa.cast(
        sa.case(
            (column == 0, 0),
            *((sa.cast(one, mysql.FLOAT) == column, one) for one in rounded),
            else_=number,
        ),
        types.Exact().impl,
    )


def _numbers(column_type: Any) -> Numbers:
    if isinstance(column_type, sa.String):
        return Numbers(True)
    if isinstance(column_type, mysql.FLOAT):
        return Numbers(False, is_single=True)
    if isinstance(column_type, (sa.Float, sa.Double, sa.REAL)):
        return Numbers(False)
    precision, scale = column_type.precision, column_type.scale
    if precision is None:
        return Numbers(True)
    return Numbers(precision == types.PRECISION and scale == types.SCALE, precision - scale, scale)


def text_of(attributes: Mapping[str, Any]) -> str:
    """Return the JSON text of attributes as the table holds it."""
    return orjson.dumps(
        attributes, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    ).decode()


def attributes_of(text: str) -> dict[str, Any]:
    """Return the attributes that a row's JSON text holds.

    :raises InvalidInput: it is no JSON.
    """
    try:
        found = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError as exc:
        raise errors.InvalidInput(
            reason=f'table {NAME} has a row whose desc is no JSON: {text[:80]!r}'
        ) from exc
    return found if isinstance(found, dict) else NO_ATTRIBUTES


def decode(row: tables.Row) -> sums.Row:
    """Return a row of the table as a point."""
    return sums.Row(
        timeframe.from_naive(row.begin),
        timeframe.from_naive(row.end),
        row.tenant_id or '',
        row.res_type,
        attributes_of(row.desc),
        row.qty,
        row.rate,
        unit=row.unit,
    )
