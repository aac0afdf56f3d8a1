"""The tables of embedded metering. Times are microseconds since the epoch.

Rows refer to series, attributes and batches without foreign keys: these are never removed before
what refers to them, and checking each sample would cost more than writing it.

Source: doc/source/contributor/metering.rst, "Tables".
"""

from typing import Any

import sqlalchemy as sa

from cloudkitty.db import types
from cloudkitty.db.tables import OPTIONS, metadata


def _table(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *parts, **OPTIONS, **options)


def _time(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, **options)


# Messages as they were received; everything else is an index of them.
batches = _table(
    'usage_batches',
    sa.Column('id', types.big_id(), primary_key=True),
    _time('received_at', nullable=False),
    # How they came: api or bus.
    sa.Column('path', types.name(8), nullable=False),
    sa.Column('publisher', types.name(255), nullable=False),
    # api, unsigned, or the name of the key that verified them.
    sa.Column('trust', types.name(16), nullable=False),
    sa.Column('messages', sa.Integer, nullable=False),
    # Of the JSON list of the messages, and that list compressed by zlib.
    sa.Column('digest', types.digest(), nullable=False),
    sa.Column('body', types.blob(), nullable=False),
)

series = _table(
    'usage_series',
    sa.Column('id', types.big_id(), primary_key=True),
    # Of the next five columns.
    sa.Column('digest', types.digest(), nullable=False, unique=True),
    sa.Column('source', types.name(255), nullable=False),
    sa.Column('scope_id', types.name(256), nullable=False),
    sa.Column('meter', types.name(255), nullable=False),
    sa.Column('resource_id', types.name(255), nullable=False),
    sa.Column('kind', types.name(10), nullable=False),
    sa.Column('unit', types.name(255), nullable=False),
    _time('begun_at', nullable=False),
    # Samples before it were removed; null: none were.
    _time('kept_from'),
    sa.Index('ix_usage_series_meter', 'meter', 'scope_id'),
    sa.Index('ix_usage_series_scope_id', 'scope_id', 'resource_id'),
)

# Attributes as a JSON object; facts that state the same share a row.
attributes = _table(
    'usage_attributes',
    sa.Column('id', types.big_id(), primary_key=True),
    sa.Column('digest', types.digest(), nullable=False, unique=True),
    sa.Column('body', types.text(), nullable=False),
    # When a fact that states them was stored last, recorded once a day; the year 3000: they stay.
    _time('used_at', nullable=False, index=True, server_default='32503680000000000'),
    # The project that pushed them first; null: others sent them.
    sa.Column('pushed_by', types.name(256), index=True),
)

# Facts; the primary key refuses repeats.
samples = _table(
    'usage_samples',
    sa.Column('series_id', sa.BigInteger, primary_key=True, autoincrement=False),
    _time('at', primary_key=True, autoincrement=False),
    # 0: a value; others: a stage of a life, see core.metering.facts.
    sa.Column('stage', sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column('tag', sa.BigInteger, primary_key=True, autoincrement=False),
    # Null: not stated, like attributes_id.
    sa.Column('quantity', types.Exact()),
    sa.Column('attributes_id', sa.BigInteger),
    _time('born'),
    # Batch and position of the message.
    sa.Column('batch_id', sa.BigInteger, nullable=False),
    sa.Column('position', sa.Integer, nullable=False),
    # When it was withdrawn; it is no longer used.
    _time('voided_at'),
)

# Older samples of a series, many in a row, see usage/packs.py.
packs = _table(
    'usage_packs',
    sa.Column('series_id', sa.BigInteger, primary_key=True, autoincrement=False),
    # It holds all samples of the series in [begin, end).
    _time('begin', primary_key=True, autoincrement=False),
    _time('end', nullable=False),
    # The newest sample that counts; null: none does.
    _time('newest'),
    sa.Column('samples', sa.Integer, nullable=False),
    sa.Column('body', types.blob(), nullable=False),
)

# What follows from the facts of series of kind state.
lives = _table(
    'usage_lives',
    sa.Column('series_id', sa.BigInteger, primary_key=True, autoincrement=False),
    _time('begin', primary_key=True, autoincrement=False),
    _time('end'),
    sa.Column('quantity', types.Exact(), nullable=False),
    sa.Column('attributes_id', sa.BigInteger),
    sa.Column('evidence', types.name(10), nullable=False),
)

# Pushed events by source and id.
keys = _table(
    'usage_keys',
    sa.Column('digest', types.digest(), primary_key=True),
    # Of the event without its revision.
    sa.Column('body', types.digest(), nullable=False),
    sa.Column('revision', sa.Integer, nullable=False),
    sa.Column('series_id', sa.BigInteger, nullable=False),
    sa.Column('batch_id', sa.BigInteger, nullable=False),
    sa.Column('position', sa.Integer, nullable=False),
    _time('seen_at', nullable=False, index=True),
)

# Requests with an Idempotency-Key, and their answers.
requests = _table(
    'usage_requests',
    sa.Column('digest', types.digest(), primary_key=True),
    sa.Column('body', types.digest(), nullable=False),
    sa.Column('answer', types.text(), nullable=False),
    _time('received_at', nullable=False, index=True),
)

# Refused messages.
rejects = _table(
    'usage_rejects',
    sa.Column('digest', types.digest(), primary_key=True),
    _time('first', nullable=False),
    _time('last', nullable=False),
    sa.Column('messages', sa.Integer, nullable=False),
    sa.Column('path', types.name(8), nullable=False),
    sa.Column('publisher', types.name(255), nullable=False),
    sa.Column('reason', types.text(), nullable=False),
    sa.Column('body', types.blob(), nullable=False),
)

# Up to when a source is complete for a meter, as it reports.
producers = _table(
    'usage_producers',
    sa.Column('source', types.name(255), primary_key=True),
    sa.Column('meter', types.name(255), primary_key=True),
    _time('until', nullable=False),
    _time('seen_at', nullable=False),
)

# Time ranges of scopes whose usage changed after they may have been rated.
late = _table(
    'usage_late',
    sa.Column('id', types.big_id(), primary_key=True),
    sa.Column('scope_id', types.name(256), nullable=False, index=True),
    _time('begin', nullable=False),
    _time('end', nullable=False),
    _time('received_at', nullable=False),
)

# Lists of the resources that exist, the newest of each producer and subject.
censuses = _table(
    'usage_censuses',
    sa.Column('id', types.big_id(), primary_key=True),
    # Of the next two columns.
    sa.Column('digest', types.digest(), nullable=False, unique=True),
    sa.Column('producer', types.name(255), nullable=False),
    sa.Column('subject', types.name(255), nullable=False),
    # When the newest list was begun, and the newest that was complete; null: there was none.
    _time('begun_at', nullable=False),
    _time('complete_at'),
    # taken, partial or held.
    sa.Column('state', types.name(10), nullable=False),
    sa.Column('listed', sa.Integer, nullable=False),
)

# Lists that have not arrived whole.
census_parts = _table(
    'usage_census_parts',
    # Of producer, subject and begin of the list.
    sa.Column('digest', types.digest(), primary_key=True),
    sa.Column('part', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('body', types.blob(), nullable=False),
    _time('received_at', nullable=False),
)

# Open lives whose resource is missing in a complete list.
missing = _table(
    'usage_missing',
    sa.Column('series_id', sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column('census_id', sa.BigInteger, nullable=False, index=True),
    _time('last_seen', nullable=False),
)
