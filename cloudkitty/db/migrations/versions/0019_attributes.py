"""When attributes of usage were stated last, and which project pushed them."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0019'
down_revision = '0018'


def upgrade():
    table = 'usage_attributes'
    known = {column['name'] for column in sa.inspect(op.get_bind()).get_columns(table)}
    # Nobody knows which facts state those that are stored already: they stay.
    columns = (
        sa.Column('used_at', sa.BigInteger, nullable=False, server_default='32503680000000000'),
        sa.Column('pushed_by', types.name(256)),
    )
    for column in columns:
        if column.name not in known:
            op.add_column(table, column)
        op.create_index(f'ix_{table}_{column.name}', table, [column.name], if_not_exists=True)
