"""How often the data of a scope changed.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'


def upgrade():
    columns = sa.inspect(op.get_bind()).get_columns('rated_scopes')
    if 'changes' not in {column['name'] for column in columns}:
        op.add_column('rated_scopes', sa.Column('changes', sa.BigInteger, nullable=False,
                                                server_default='0'))
