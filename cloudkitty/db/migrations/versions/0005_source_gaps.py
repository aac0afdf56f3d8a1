"""Times in which the source has no samples of a metric."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0005'
down_revision = '0004'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'source_gaps',
        sa.Column('fetcher', types.name(40), primary_key=True),
        sa.Column('scope_key', types.name(40), primary_key=True),
        sa.Column('collector', types.name(40), primary_key=True),
        sa.Column('metric', types.name(255), primary_key=True),
        sa.Column('begin', types.instant(), primary_key=True),
        sa.Column('end', types.instant(), nullable=False),
        sa.Column('state', types.name(16), nullable=False),
        sa.Column('sign', types.name(255), nullable=False),
        sa.Column('accepted_at', types.instant()),
        sa.Column('accepted_by', types.name(255)),
        sa.Column('reason', types.name(255)),
        **OPTIONS,
    )
