"""The tables of the storage driver clickhouse; see db/tables."""

import sqlalchemy as sa

from cloudkitty.db import types
from cloudkitty.db.tables import OPTIONS, metadata

# One row at most: the last revision that was given to rows in ClickHouse, see
# doc/source/contributor/storage-clickhouse.rst, "Revisions".
counter = sa.Table(
    'rated_counter',
    metadata,
    sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column('last', sa.BigInteger, nullable=False),
    **OPTIONS,
)

# Revisions whose rows in ClickHouse do not exist (yet).
revisions = sa.Table(
    'rated_revisions',
    metadata,
    sa.Column('id', sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column('since', types.instant(), nullable=False),
    **OPTIONS,
)

# The last revision that was committed for a scope, and the end of its last rated period.
latest = sa.Table(
    'rated_latest',
    metadata,
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True, autoincrement=False),
    sa.Column('revision', sa.BigInteger, nullable=False),
    sa.Column('rated_until', types.instant()),
    **OPTIONS,
)

# One row at most: ClickHouse has the sums of the days before `until`, and whoever changes a day
# before `announced` says so in rated_unfolded_days.
folded = sa.Table(
    'rated_folded',
    metadata,
    sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column('until', sa.Date, nullable=False),
    sa.Column('announced', sa.Date, nullable=False),
    sa.Column('since', types.instant(), nullable=False),
    **OPTIONS,
)

# Days of scopes that changed since they were folded, and the last revision that changed them.
unfolded_days = sa.Table(
    'rated_unfolded_days',
    metadata,
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True, autoincrement=False),
    sa.Column('day', sa.Date, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False),
    sa.Index('ix_rated_unfolded_days_day', 'day'),
    **OPTIONS,
)
