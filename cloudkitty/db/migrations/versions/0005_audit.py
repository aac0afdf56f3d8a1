"""Who changed which rule.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0005'
down_revision = '0004'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}


def upgrade():
    op.create_table(
        'audit',
        sa.Column('id', types.big_id(), primary_key=True),
        sa.Column('at', types.instant(), nullable=False),
        sa.Column('user_id', types.name(255)),
        sa.Column('project_id', types.name(255)),
        sa.Column('request_id', types.name(64)),
        sa.Column('action', types.name(16), nullable=False),
        sa.Column('kind', types.name(64), nullable=False),
        sa.Column('object_id', types.name(255), nullable=False),
        sa.Column('before', types.text()),
        sa.Column('after', types.text()), **OPTIONS)
    for column in ('at', 'user_id', 'object_id'):
        op.create_index(f'ix_audit_{column}', 'audit', [column], if_not_exists=True)
