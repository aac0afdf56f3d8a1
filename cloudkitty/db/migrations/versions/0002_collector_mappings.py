"""Mappings of services to collectors.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0002'
down_revision = '0001'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}


def upgrade():
    op.create_table(
        'service_to_collector_mappings',
        sa.Column('service', types.name(255), primary_key=True),
        sa.Column('collector', types.name(255), nullable=False), **OPTIONS)
