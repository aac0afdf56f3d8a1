"""Sums by series and month, indexes by day, and the quantity of each frame.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import functools

import sqlalchemy as sa
from alembic import op

from cloudkitty import block
from cloudkitty.dataframe import SUM_CONTEXT, ZERO
from cloudkitty.db import types

revision = '0007'
down_revision = '0006'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}
ROWS_AT_ONCE = 500
FRAMES = sa.table('rated_frames', sa.column('scope_id'), sa.column('begin', types.instant()),
                  sa.column('origin'), sa.column('qty', types.Exact()),
                  sa.column('block', types.blob()))
DAYS, MONTHS = (
    sa.table(name, sa.column('series_id'), sa.column('day', sa.Date),
             sa.column('qty', types.Exact()), sa.column('price', types.Exact()),
             sa.column('points', sa.BigInteger))
    for name in ('rated_days', 'rated_series_months'))


def upgrade():
    op.create_table(
        'rated_series_months',
        sa.Column('series_id', types.big_id(), sa.ForeignKey('rated_series.id'), primary_key=True,
                  autoincrement=False),
        sa.Column('day', sa.Date, primary_key=True),
        sa.Column('qty', types.Exact(), nullable=False),
        sa.Column('price', types.Exact(), nullable=False),
        sa.Column('points', sa.BigInteger, nullable=False), **OPTIONS)
    for table in ('rated_days', 'rated_series_months', 'rated_totals', 'rated_months'):
        # Without it a question about one month reads all of them.
        op.create_index(f'ix_{table}_day', table, ['day'], if_not_exists=True)
    connection = op.get_bind()
    columns = {found['name'] for found in sa.inspect(connection).get_columns('rated_frames')}
    if 'qty' not in columns:
        op.add_column('rated_frames', sa.Column('qty', types.Exact()))
    _fill_months(connection)
    _fill_frames(connection)
    with op.batch_alter_table('rated_frames') as batch:
        batch.alter_column('qty', existing_type=types.Exact(), nullable=False)


def _fill_months(connection):
    connection.execute(sa.delete(MONTHS))
    first, last = connection.execute(
        sa.select(sa.func.min(DAYS.c.day), sa.func.max(DAYS.c.day))).one()
    while first is not None and first <= last:
        month = first.replace(day=1)
        first = _next_month(month)
        rows = sa.select(
            DAYS.c.series_id, sa.literal(month, sa.Date), types.exact_sum(DAYS.c.qty),
            types.exact_sum(DAYS.c.price), sa.func.sum(DAYS.c.points)).where(
            DAYS.c.day >= month, DAYS.c.day < first).group_by(DAYS.c.series_id)
        connection.execute(sa.insert(MONTHS).from_select(list(MONTHS.c.keys()), rows))


def _next_month(month):
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _fill_frames(connection):
    """Sum the quantities of frames, a bounded number at a time."""
    statement = sa.select(FRAMES.c.scope_id, FRAMES.c.begin, FRAMES.c.origin,
                          FRAMES.c.block).where(FRAMES.c.qty.is_(None)).limit(ROWS_AT_ONCE)
    change = sa.update(FRAMES).where(
        FRAMES.c.scope_id == sa.bindparam('of_scope'), FRAMES.c.begin == sa.bindparam('of_begin'),
        FRAMES.c.origin == sa.bindparam('of_origin')).values(qty=sa.bindparam('whole'))
    while rows := connection.execute(statement).all():
        connection.execute(change, [
            {'of_scope': row.scope_id, 'of_begin': row.begin, 'of_origin': row.origin,
             'whole': functools.reduce(SUM_CONTEXT.add, block.decode(row.block)[1], ZERO)}
            for row in rows])
