"""Names of scopes for people, as a fetcher told them."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0012'
down_revision = '0011'


def upgrade():
    op.create_table(
        'scope_names',
        sa.Column('fetcher', types.name(40), primary_key=True),
        sa.Column('identifier', types.name(256), primary_key=True),
        sa.Column('name', types.name(255), nullable=False),
        mysql_engine='InnoDB',
        mysql_charset='utf8mb4',
        mariadb_engine='InnoDB',
        mariadb_charset='utf8mb4',
        if_not_exists=True,
    )
