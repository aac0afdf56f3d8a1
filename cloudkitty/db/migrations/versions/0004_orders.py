"""Orders for the processor: resets of scopes, and periods to rate again.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0004'
down_revision = '0003'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}


def upgrade():
    op.create_table(
        'scope_resets',
        sa.Column('state_id', sa.Integer,
                  sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
                  primary_key=True, autoincrement=False),
        sa.Column('mark', types.instant(), nullable=False),
        sa.Column('ordered_at', types.instant(), nullable=False), **OPTIONS)
    op.create_table(
        'storage_scope_reprocessing_schedule',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('identifier', types.name(256), nullable=False),
        sa.Column('start_reprocess_time', types.instant(), nullable=False),
        sa.Column('end_reprocess_time', types.instant(), nullable=False),
        sa.Column('current_reprocess_time', types.instant()),
        sa.Column('reason', types.text(), nullable=False),
        sa.Column('tried_at', types.instant()),
        sa.Column('kept_periods', sa.Integer, nullable=False, server_default='0'),
        sa.Column('failure_count', sa.Integer),
        sa.Column('failure_reason', types.text()),
        sa.Column('failed_at', types.instant()),
        sa.Column('retry_at', types.instant()), **OPTIONS)
    op.create_index('ix_storage_scope_reprocessing_schedule_identifier',
                    'storage_scope_reprocessing_schedule', ['identifier'], if_not_exists=True)
