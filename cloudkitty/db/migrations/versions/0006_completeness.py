"""Since when a scope has been failing, metrics that lag in the source, what was
rated meanwhile, and when scopes were switched off;
dry runs.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0006'
down_revision = '0005'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}


def upgrade():
    _add('cloudkitty_storage_states', sa.Column('failing_since', types.instant()))
    op.create_table(
        'source_lags',
        sa.Column('fetcher', types.name(40), primary_key=True),
        sa.Column('scope_key', types.name(40), primary_key=True),
        sa.Column('collector', types.name(40), primary_key=True),
        sa.Column('metric', types.name(500), primary_key=True),
        sa.Column('state', types.name(16), nullable=False),
        sa.Column('newest', types.instant()),
        sa.Column('needed', types.instant(), nullable=False),
        sa.Column('since', types.instant(), nullable=False), **OPTIONS)
    op.create_table(
        'scope_notes',
        sa.Column('state_id', sa.Integer,
                  sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
                  primary_key=True, autoincrement=False),
        sa.Column('begin', types.instant(), primary_key=True),
        sa.Column('end', types.instant(), nullable=False),
        sa.Column('reason', types.name(255), nullable=False), **OPTIONS)
    op.create_table(
        'scope_pauses',
        sa.Column('state_id', sa.Integer,
                  sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
                  primary_key=True, autoincrement=False),
        sa.Column('begin', types.instant(), primary_key=True),
        sa.Column('end', types.instant(), nullable=False), **OPTIONS)
    _add('storage_scope_reprocessing_schedule',
         sa.Column('dry_run', sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        'reprocessing_prices',
        sa.Column('task_id', sa.Integer,
                  sa.ForeignKey('storage_scope_reprocessing_schedule.id', ondelete='CASCADE'),
                  primary_key=True, autoincrement=False),
        sa.Column('metric', types.name(255), primary_key=True),
        sa.Column('old_price', types.Exact(), nullable=False),
        sa.Column('new_price', types.Exact(), nullable=False), **OPTIONS)


def _add(table, column):
    known = {found['name'] for found in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in known:
        op.add_column(table, column)
