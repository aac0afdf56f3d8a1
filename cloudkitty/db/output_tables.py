"""The table of written files; see db/tables."""

import sqlalchemy as sa

from cloudkitty.db import types
from cloudkitty.db.tables import OPTIONS, metadata

# One row for each file of [output]basepath, the manifests aside.
files = sa.Table(
    'output_files',
    metadata,
    # Below basepath, such as acme/CK-2026-000001.json.
    sa.Column('name', types.name(400), primary_key=True),
    sa.Column('writer', types.name(255), nullable=False),
    # Subject: usage of a scope, a statement of an account, or all statements of a month.
    sa.Column('subject', types.name(16), nullable=False),
    sa.Column('subject_id', types.name(256), nullable=False),
    sa.Column('month', types.name(7), nullable=False),
    # Of the writer that wrote it.
    sa.Column('version', types.name(64), nullable=False),
    # Digest of its input.
    sa.Column('source', types.name(64), nullable=False),
    # Where the next period begins, if periods can be appended: body is what comes before the
    # trailer, and state is what the writer needs to go on after it (JSON).
    sa.Column('until', types.instant()),
    sa.Column('body_size', sa.BigInteger),
    sa.Column('body_digest', types.name(64)),
    sa.Column('body_state', types.text()),
    sa.Column('size', sa.BigInteger, nullable=False),
    # SHA-256, hexadecimal; empty: it was never written.
    sa.Column('digest', types.name(64), nullable=False),
    sa.Column('written_at', types.instant(), nullable=False),
    # Why it could not be written the last time; null: it could.
    sa.Column('failure', types.text()),
    sa.Index('ix_output_files_month', 'month'),
    **OPTIONS,
)
