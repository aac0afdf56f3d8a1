"""The tables. Times are naive UTC, see timeframe.to_naive and from_naive.

Names of the first part are those of existing deployments.

Source: doc/source/contributor/compatibility/processing.rst, "Tables".
"""

from typing import Any

import sqlalchemy as sa

from cloudkitty.db import types

# One row of an answer, and the columns of a table, of an alias of it or of a statement.
Row = sa.Row[*tuple[Any, ...]]
Columns = sa.ColumnCollection[str, sa.ColumnElement[Any]]

NAMING = {
    'pk': 'pk_%(table_name)s',
    'uq': 'uq_%(table_name)s_%(column_0_name)s',
    'fk': 'fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s',
    'ix': 'ix_%(table_name)s_%(column_0_name)s',
    'ck': 'ck_%(table_name)s_%(constraint_name)s',
}
metadata = sa.MetaData(naming_convention=NAMING)
OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
}


def _table(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *parts, **OPTIONS, **options)


def _rule_type() -> sa.Enum:
    return sa.Enum(
        'flat', 'rate', name='enum_map_type', native_enum=False, create_constraint=False, length=5
    )


scopes = _table(
    'cloudkitty_storage_states',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('identifier', types.name(256), nullable=False),
    sa.Column('scope_key', types.name(40)),
    sa.Column('fetcher', types.name(40)),
    sa.Column('collector', types.name(40)),
    sa.Column('last_processed_timestamp', types.instant(), nullable=False),
    sa.Column(
        'scope_activation_toggle_date',
        types.instant(),
        nullable=False,
        server_default=sa.func.now(),
    ),
    sa.Column('active', sa.Boolean, nullable=False, default=True),
    # Null while the fetcher lists the scope; afterwards it is rated while its mark is before this.
    sa.Column('final_mark', types.instant()),
    # The failure that holds the scope back; all five are null when it goes well.
    sa.Column('failure_count', sa.Integer),
    sa.Column('failure_reason', types.text()),
    sa.Column('failed_at', types.instant()),
    sa.Column('retry_at', types.instant()),
    sa.Column('failing_since', types.instant()),
    sa.UniqueConstraint(
        'identifier',
        'scope_key',
        'collector',
        'fetcher',
        name='uq_cloudkitty_storage_states_identifier',
    ),
)

# Orders to set scopes back; a row goes in the transaction that carries it out.
resets = _table(
    'scope_resets',
    sa.Column(
        'state_id',
        sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column('mark', types.instant(), nullable=False),
    sa.Column('ordered_at', types.instant(), nullable=False),
)

# Orders to rate periods again.
tasks = _table(
    'storage_scope_reprocessing_schedule',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('identifier', types.name(256), nullable=False, index=True),
    sa.Column('start_reprocess_time', types.instant(), nullable=False),
    sa.Column('end_reprocess_time', types.instant(), nullable=False),
    # Begin of the last period that is done, and the end once all are; null before the first.
    sa.Column('current_reprocess_time', types.instant()),
    sa.Column('reason', types.text(), nullable=False),
    # When a worker took it up last; the one that waited longest is next.
    sa.Column('tried_at', types.instant()),
    # Periods that kept their old data because the source no longer has any.
    sa.Column('kept_periods', sa.Integer, nullable=False, server_default='0'),
    # As in the table of scopes.
    sa.Column('failure_count', sa.Integer),
    sa.Column('failure_reason', types.text()),
    sa.Column('failed_at', types.instant()),
    sa.Column('retry_at', types.instant()),
    # A dry run: only the prices that would change are stored.
    sa.Column('dry_run', sa.Boolean, nullable=False, server_default=sa.false()),
)

# Old and new prices of the periods of a dry run.
task_prices = _table(
    'reprocessing_prices',
    sa.Column(
        'task_id',
        sa.ForeignKey('storage_scope_reprocessing_schedule.id', ondelete='CASCADE'),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column('metric', types.name(255), primary_key=True),
    sa.Column('old_price', types.Exact(), nullable=False),
    sa.Column('new_price', types.Exact(), nullable=False),
)

modules = _table(
    'modules_state',
    sa.Column('name', types.name(255), primary_key=True),
    sa.Column('state', sa.Boolean, nullable=False, default=False),
    sa.Column('priority', sa.Integer, default=1),
)

# A module's version changes in the transaction that changes its rules.
module_versions = _table(
    'modules_versions',
    sa.Column('name', types.name(255), primary_key=True),
    sa.Column('version', sa.BigInteger, nullable=False),
)

# The collector that is tried first for a metric: /v1/collector/mappings sets it, `meta` reads it.
collector_mappings = _table(
    'service_to_collector_mappings',
    sa.Column('service', types.name(255), primary_key=True),
    sa.Column('collector', types.name(255), nullable=False),
)

# What all that rate into this database agree on; a row for each change, the last in force counts.
agreements = _table(
    'rating_agreements',
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    # Periods that begin before it are those of the row before; null in the first row.
    sa.Column('begin', types.instant()),
    sa.Column('period', sa.Integer, nullable=False),
    sa.Column('scope_key', types.name(40), nullable=False),
    sa.Column('start_date', types.instant()),
    sa.Column('time_basis', types.name(16), nullable=False),
    # False: a change that was ordered, as long as periods before it are due.
    sa.Column('in_force', sa.Boolean, nullable=False),
    sa.Column('agreed_at', types.instant(), nullable=False),
)

# When a fetcher was last called; one worker calls it on behalf of all.
fetches = _table(
    'fetcher_cycles',
    sa.Column('fetcher', types.name(40), primary_key=True),
    sa.Column('scope_key', types.name(40), primary_key=True),
    sa.Column('collector', types.name(40), primary_key=True),
    sa.Column('fetched_at', types.instant(), nullable=False),
)

# Display names of scopes, from a fetcher.
scope_names = _table(
    'scope_names',
    sa.Column('fetcher', types.name(40), primary_key=True),
    sa.Column('identifier', types.name(256), primary_key=True),
    sa.Column('name', types.name(255), nullable=False),
)

# Metrics whose data in the source ends before what is due.
lags = _table(
    'source_lags',
    sa.Column('fetcher', types.name(40), primary_key=True),
    sa.Column('scope_key', types.name(40), primary_key=True),
    sa.Column('collector', types.name(40), primary_key=True),
    sa.Column('metric', types.name(500), primary_key=True),
    # held: periods wait; late: they no longer wait; nowhere: there never was any data.
    sa.Column('state', types.name(16), nullable=False),
    # Null: there never was any data.
    sa.Column('newest', types.instant()),
    sa.Column('needed', types.instant(), nullable=False),
    sa.Column('since', types.instant(), nullable=False),
)

# Times in which the source has no samples of a metric.
gaps = _table(
    'source_gaps',
    sa.Column('fetcher', types.name(40), primary_key=True),
    sa.Column('scope_key', types.name(40), primary_key=True),
    sa.Column('collector', types.name(40), primary_key=True),
    sa.Column('metric', types.name(255), primary_key=True),
    sa.Column('begin', types.instant(), primary_key=True),
    sa.Column('end', types.instant(), nullable=False),
    # held: periods wait; noted: they were rated without; back: the samples came later;
    # unused: nobody used anything; unusable: values of some scopes were left out; accepted: an
    # operator knows.
    sa.Column('state', types.name(16), nullable=False),
    sa.Column('sign', types.name(255), nullable=False),
    sa.Column('accepted_at', types.instant()),
    sa.Column('accepted_by', types.name(255)),
    sa.Column('reason', types.name(255)),
)

# Metrics that the source refuses to answer for, with an error of its own, by scope.
refusals = _table(
    'source_refusals',
    sa.Column(
        'state_id',
        sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column('metric', types.name(255), primary_key=True),
    # Periods in a row that it refused.
    sa.Column('begin', types.instant(), nullable=False),
    sa.Column('end', types.instant(), nullable=False),
    # When it refused the first of them first, and one of them last.
    sa.Column('since', types.instant(), nullable=False),
    sa.Column('seen', types.instant(), nullable=False),
)

# Periods of a scope, by their begin, that were rated though the source had not all samples.
notes = _table(
    'scope_notes',
    sa.Column(
        'state_id',
        sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column('begin', types.instant(), primary_key=True),
    sa.Column('end', types.instant(), nullable=False),
    sa.Column('reason', types.name(255), nullable=False),
)

# Periods of a scope, by their begin, that are not rated because it was switched off.
inactive_times = _table(
    'scope_pauses',
    sa.Column(
        'state_id',
        sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column('begin', types.instant(), primary_key=True),
    sa.Column('end', types.instant(), nullable=False),
)

hashmap_services = _table(
    'hashmap_services',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('service_id', types.name(36), nullable=False, unique=True),
    sa.Column('name', types.name(255), nullable=False, unique=True),
)

hashmap_fields = _table(
    'hashmap_fields',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('field_id', types.name(36), nullable=False, unique=True),
    sa.Column('name', types.name(255), nullable=False),
    sa.Column(
        'service_id', sa.ForeignKey('hashmap_services.id', ondelete='CASCADE'), nullable=False
    ),
    sa.UniqueConstraint('service_id', 'name', name='uniq_field_per_service'),
)

hashmap_groups = _table(
    'hashmap_groups',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('group_id', types.name(36), nullable=False, unique=True),
    sa.Column('name', types.name(255), nullable=False, unique=True),
)

hashmap_mappings = _table(
    'hashmap_mappings',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('mapping_id', types.name(36), nullable=False, unique=True),
    sa.Column('value', types.name(255)),
    sa.Column('cost', types.Exact(40, 28), nullable=False),
    sa.Column('map_type', _rule_type(), nullable=False),
    sa.Column('service_id', sa.ForeignKey('hashmap_services.id', ondelete='CASCADE')),
    sa.Column('field_id', sa.ForeignKey('hashmap_fields.id', ondelete='CASCADE')),
    sa.Column('group_id', sa.ForeignKey('hashmap_groups.id', ondelete='SET NULL')),
    sa.Column('tenant_id', types.name(255)),
    sa.Column('created_at', types.instant(), nullable=False, server_default=sa.func.now()),
    sa.Column('start', types.instant(), nullable=False, server_default=sa.func.now()),
    sa.Column('end', types.instant()),
    sa.Column('name', types.name(32), nullable=False),
    sa.Column('description', types.text()),
    sa.Column('deleted', types.instant()),
    sa.Column('created_by', types.name(64), nullable=False),
    sa.Column('updated_by', types.name(64)),
    sa.Column('deleted_by', types.name(64)),
)

hashmap_thresholds = _table(
    'hashmap_thresholds',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('threshold_id', types.name(36), nullable=False, unique=True),
    sa.Column('level', types.Exact(20, 8)),
    sa.Column('cost', types.Exact(40, 28), nullable=False),
    sa.Column('map_type', _rule_type(), nullable=False),
    sa.Column('service_id', sa.ForeignKey('hashmap_services.id', ondelete='CASCADE')),
    sa.Column('field_id', sa.ForeignKey('hashmap_fields.id', ondelete='CASCADE')),
    sa.Column('group_id', sa.ForeignKey('hashmap_groups.id', ondelete='SET NULL')),
    sa.Column('tenant_id', types.name(255)),
)

# Rules that are gone for good (threshold deleted, or parent deleted), as they were: they go on
# applying to periods that began before, so that rating an old period again gives the old price.
hashmap_history = _table(
    'hashmap_history',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('rule_id', types.name(36), nullable=False),
    sa.Column('service', types.name(255), nullable=False),
    sa.Column('field', types.name(255)),
    sa.Column('group_name', types.name(255)),
    sa.Column('value', types.name(255)),
    sa.Column('level', types.Exact(20, 8)),
    sa.Column('cost', types.Exact(40, 28), nullable=False),
    sa.Column('map_type', _rule_type(), nullable=False),
    sa.Column('tenant_id', types.name(255)),
    sa.Column('start', types.instant()),
    sa.Column('end', types.instant()),
    sa.Column('deleted', types.instant(), nullable=False),
    sa.Column('deleted_by', types.name(64)),
)

pyscripts_scripts = _table(
    'pyscripts_scripts',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('script_id', types.name(36), nullable=False, unique=True),
    # Unique among the scripts that are not deleted.
    sa.Column('name', types.name(255), nullable=False),
    # The source, compressed by zlib, and its SHA-512.
    sa.Column('data', types.blob(), nullable=False),
    sa.Column('checksum', types.name(128), nullable=False),
    sa.Column('created_at', types.instant(), nullable=False, server_default=sa.func.now()),
    sa.Column('start', types.instant(), nullable=False, server_default=sa.func.now()),
    sa.Column('end', types.instant()),
    sa.Column('description', types.text()),
    sa.Column('deleted', types.instant()),
    sa.Column('created_by', types.name(64), nullable=False),
    sa.Column('updated_by', types.name(64)),
    sa.Column('deleted_by', types.name(64)),
)

# Who changed which rule, one row a changed object; `before` and `after` are JSON.
audit = _table(
    'audit',
    sa.Column('id', types.big_id(), primary_key=True),
    sa.Column('at', types.instant(), nullable=False, index=True),
    sa.Column('user_id', types.name(255), index=True),
    sa.Column('project_id', types.name(255)),
    sa.Column('request_id', types.name(64)),
    sa.Column('action', types.name(16), nullable=False),
    sa.Column('kind', types.name(64), nullable=False),
    sa.Column('object_id', types.name(255), nullable=False, index=True),
    sa.Column('before', types.text()),
    sa.Column('after', types.text()),
)

# Rated data: doc/source/contributor/storage.rst, "Atoms".

rated_scopes = _table(
    'rated_scopes',
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('scope_key', types.name(40), nullable=False),
    sa.Column('identifier', types.name(256), nullable=False),
    # Grows on MariaDB with each push and deletion, see Writer.lock.
    sa.Column('changes', sa.BigInteger, nullable=False, server_default='0'),
    # Grows when series of the scope are removed, so that nobody uses a cached id of them.
    sa.Column('removals', sa.BigInteger, nullable=False, server_default='0'),
    sa.UniqueConstraint('scope_key', 'identifier', name='uq_rated_scopes_identifier'),
)

rated_series = _table(
    'rated_series',
    sa.Column('id', types.big_id(), primary_key=True),
    sa.Column('digest', types.digest(), nullable=False, unique=True),
    # The scope whose frames hold the points ...
    sa.Column('owner_id', sa.ForeignKey('rated_scopes.id'), nullable=False, index=True),
    # ... and the scope that the points name, another one only if a rating module changed it.
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), nullable=False, index=True),
    sa.Column('metric', types.name(255), nullable=False),
    sa.Column('unit', types.name(255), nullable=False),
    sa.Column('groupby', types.text(), nullable=False),
    sa.Column('metadata', types.text(), nullable=False),
    sa.Column('description', types.text()),
)

rated_attributes = _table(
    'rated_attributes',
    sa.Column('series_id', sa.ForeignKey('rated_series.id', ondelete='CASCADE'), primary_key=True),
    sa.Column('name', types.name(255), primary_key=True),
    # False: an attribute of metadata, which filters see and groupings do not.
    sa.Column('is_groupby', sa.Boolean, primary_key=True),
    sa.Column('value', types.text(), nullable=False),
    sa.Index('ix_rated_attributes_name', 'name'),
)

rated_frames = _table(
    'rated_frames',
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True),
    sa.Column('begin', types.instant(), primary_key=True),
    # 0: the processor; 1: pushed over the API.
    sa.Column('origin', sa.SmallInteger, primary_key=True),
    sa.Column('end', types.instant(), nullable=False),
    sa.Column('points', sa.Integer, nullable=False),
    sa.Column('qty', types.Exact(), nullable=False),
    sa.Column('price', types.Exact(), nullable=False),
    sa.Column('revision', sa.Integer, nullable=False),
    sa.Column('block', types.blob(), nullable=False),
    sa.Index('ix_rated_frames_begin', 'begin'),
)

# Scopes with points that are in no sums by series yet: those of rated frames (origin 0) that begin
# here or later, see doc/source/contributor/storage.rst, "Folding".
rated_unfolded = _table(
    'rated_unfolded',
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True, autoincrement=False),
    sa.Column('begin', types.instant(), nullable=False),
)

# One row at most: the first day of which points are kept, and since when that is so.
rated_horizon = _table(
    'rated_horizon',
    sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column('day', sa.Date, nullable=False),
    sa.Column('since', types.instant(), nullable=False),
)


def _rollup(table_name: str, *keys: sa.Column[Any]) -> sa.Table:
    return _table(
        table_name,
        *keys,
        sa.Column('qty', types.Exact(), nullable=False),
        sa.Column('price', types.Exact(), nullable=False),
        sa.Column('points', sa.BigInteger, nullable=False),
        sa.Index(f'ix_{table_name}_day', 'day'),
        # Rows change with every period: a new version beside the old one needs no index entry.
        postgresql_with={'fillfactor': 70},
    )


rated_days = _rollup(
    'rated_days',
    sa.Column('series_id', sa.ForeignKey('rated_series.id'), primary_key=True),
    sa.Column('day', sa.Date, primary_key=True),
)

# The same by month; `day` is its first.
rated_series_months = _rollup(
    'rated_series_months',
    sa.Column('series_id', sa.ForeignKey('rated_series.id'), primary_key=True),
    sa.Column('day', sa.Date, primary_key=True),
)

rated_totals = _rollup(
    'rated_totals',
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True),
    sa.Column('metric', types.name(255), primary_key=True),
    sa.Column('day', sa.Date, primary_key=True),
)

# The same by month; `day` is its first.
rated_months = _rollup(
    'rated_months',
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True),
    sa.Column('metric', types.name(255), primary_key=True),
    sa.Column('day', sa.Date, primary_key=True),
)

# What timeframe.calendar_of says of each day that holds data, and of the first of its month.
rated_calendar = _table(
    'rated_calendar',
    sa.Column('day', sa.Date, primary_key=True),
    sa.Column('week_of_the_year', types.name(2), nullable=False),
    sa.Column('day_of_the_year', types.name(3), nullable=False),
    sa.Column('month', types.name(2), nullable=False),
    sa.Column('year', types.name(4), nullable=False),
)
