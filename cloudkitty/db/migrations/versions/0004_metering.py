"""The tables of embedded metering."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0004'
down_revision = '0003'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    _messages()
    _facts()
    _control()


def _messages():
    op.create_table(
        'usage_batches',
        sa.Column('id', types.big_id(), primary_key=True),
        _time('received_at', nullable=False),
        sa.Column('path', types.name(8), nullable=False),
        sa.Column('publisher', types.name(255), nullable=False),
        sa.Column('trust', types.name(16), nullable=False),
        sa.Column('messages', sa.Integer, nullable=False),
        sa.Column('digest', types.digest(), nullable=False),
        sa.Column('body', types.blob(), nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_rejects',
        sa.Column('digest', types.digest(), primary_key=True),
        _time('first', nullable=False),
        _time('last', nullable=False),
        sa.Column('messages', sa.Integer, nullable=False),
        sa.Column('path', types.name(8), nullable=False),
        sa.Column('publisher', types.name(255), nullable=False),
        sa.Column('reason', types.text(), nullable=False),
        sa.Column('body', types.blob(), nullable=False),
        **OPTIONS,
    )


def _facts():
    op.create_table(
        'usage_series',
        sa.Column('id', types.big_id(), primary_key=True),
        sa.Column('digest', types.digest(), nullable=False, unique=True),
        sa.Column('source', types.name(255), nullable=False),
        sa.Column('scope_id', types.name(256), nullable=False),
        sa.Column('meter', types.name(255), nullable=False),
        sa.Column('resource_id', types.name(255), nullable=False),
        sa.Column('kind', types.name(10), nullable=False),
        sa.Column('unit', types.name(255), nullable=False),
        _time('begun_at', nullable=False),
        **OPTIONS,
    )
    _index('usage_series', 'meter', 'scope_id')
    _index('usage_series', 'scope_id', 'resource_id')
    op.create_table(
        'usage_attributes',
        sa.Column('id', types.big_id(), primary_key=True),
        sa.Column('digest', types.digest(), nullable=False, unique=True),
        sa.Column('body', types.text(), nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_samples',
        _key('series_id'),
        _key('at'),
        sa.Column('stage', sa.SmallInteger, primary_key=True, autoincrement=False),
        _key('tag'),
        sa.Column('quantity', types.Exact()),
        sa.Column('attributes_id', sa.BigInteger),
        _time('born'),
        sa.Column('batch_id', sa.BigInteger, nullable=False),
        sa.Column('position', sa.Integer, nullable=False),
        _time('voided_at'),
        **OPTIONS,
    )
    op.create_table(
        'usage_lives',
        _key('series_id'),
        _key('begin'),
        _time('end'),
        sa.Column('quantity', types.Exact(), nullable=False),
        sa.Column('attributes_id', sa.BigInteger),
        sa.Column('evidence', types.name(10), nullable=False),
        **OPTIONS,
    )


def _control():
    op.create_table(
        'usage_keys',
        sa.Column('digest', types.digest(), primary_key=True),
        sa.Column('body', types.digest(), nullable=False),
        sa.Column('revision', sa.Integer, nullable=False),
        sa.Column('series_id', sa.BigInteger, nullable=False),
        sa.Column('batch_id', sa.BigInteger, nullable=False),
        sa.Column('position', sa.Integer, nullable=False),
        _time('seen_at', nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_requests',
        sa.Column('digest', types.digest(), primary_key=True),
        sa.Column('body', types.digest(), nullable=False),
        sa.Column('answer', types.text(), nullable=False),
        _time('received_at', nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_producers',
        sa.Column('source', types.name(255), primary_key=True),
        sa.Column('meter', types.name(255), primary_key=True),
        _time('until', nullable=False),
        _time('seen_at', nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_late',
        sa.Column('id', types.big_id(), primary_key=True),
        sa.Column('scope_id', types.name(256), nullable=False),
        _time('begin', nullable=False),
        _time('end', nullable=False),
        _time('received_at', nullable=False),
        **OPTIONS,
    )
    _index('usage_late', 'scope_id')


def _time(name, **options):
    return sa.Column(name, sa.BigInteger, **options)


def _key(name):
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def _index(table, *columns):
    op.create_index(f'ix_{table}_{columns[0]}', table, list(columns), if_not_exists=True)
