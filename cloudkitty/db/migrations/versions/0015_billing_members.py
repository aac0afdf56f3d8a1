"""Which domains and tags scopes were in, by month."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0015'
down_revision = '0014'


def upgrade():
    op.create_table(
        'billing_members',
        sa.Column('scope_id', types.name(256), primary_key=True),
        sa.Column('kind', types.name(8), primary_key=True),
        sa.Column('value', types.name(255), primary_key=True),
        sa.Column('from_month', types.name(7), primary_key=True),
        sa.Column('until_month', types.name(7)),
        sa.Column('changes', sa.BigInteger, nullable=False),
        mysql_engine='InnoDB',
        mysql_charset='utf8mb4',
        mariadb_engine='InnoDB',
        mariadb_charset='utf8mb4',
        if_not_exists=True,
    )
    op.create_index(
        'ix_billing_members_value', 'billing_members', ['kind', 'value'], if_not_exists=True
    )
