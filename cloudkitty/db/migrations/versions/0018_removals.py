"""How often series of a scope were removed."""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'


def upgrade():
    known = {column['name'] for column in sa.inspect(op.get_bind()).get_columns('rated_scopes')}
    if 'removals' not in known:
        op.add_column(
            'rated_scopes',
            sa.Column('removals', sa.BigInteger, nullable=False, server_default='0'),
        )
