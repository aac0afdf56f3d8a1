"""The first schema; later revisions add to it.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0001'
down_revision = None

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}
DAYS_VIEW = """
    CREATE {replace} VIEW rated_days_v AS
    SELECT sc.scope_key AS scope_key, sc.identifier AS scope, se.metric AS metric, se.unit AS unit,
           d.day AS day, d.qty AS qty, d.price AS price, d.points AS points,
           {attributes} AS attributes
    FROM rated_days d
    JOIN rated_series se ON se.id = d.series_id
    JOIN rated_scopes sc ON sc.id = se.scope_id
"""
TOTALS_VIEW = """
    CREATE {replace} VIEW rated_totals_v AS
    SELECT sc.scope_key AS scope_key, sc.identifier AS scope, t.metric AS metric,
           t.day AS day, t.qty AS qty, t.price AS price, t.points AS points
    FROM rated_totals t
    JOIN rated_scopes sc ON sc.id = t.scope_id
"""


def upgrade():
    _scopes()
    _orders()
    _source()
    _modules()
    _hashmap()
    _pyscripts()
    _audit()
    _rated_data()
    _rollups()
    _views()


def _scopes():
    _table(
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
        sa.Column('active', sa.Boolean, nullable=False),
        sa.Column('final_mark', types.instant()),
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
    for table, *columns in (
        ('scope_notes', sa.Column('reason', types.name(255), nullable=False)),
        ('scope_pauses',),
    ):
        _table(
            table,
            _state_id(),
            sa.Column('begin', types.instant(), primary_key=True),
            sa.Column('end', types.instant(), nullable=False),
            *columns,
        )


def _orders():
    _table(
        'scope_resets',
        _state_id(),
        sa.Column('mark', types.instant(), nullable=False),
        sa.Column('ordered_at', types.instant(), nullable=False),
    )
    _table(
        'storage_scope_reprocessing_schedule',
        _id(),
        sa.Column('identifier', types.name(256), nullable=False),
        sa.Column('start_reprocess_time', types.instant(), nullable=False),
        sa.Column('end_reprocess_time', types.instant(), nullable=False),
        sa.Column('current_reprocess_time', types.instant()),
        sa.Column('reason', types.text(), nullable=False),
        sa.Column('tried_at', types.instant()),
        sa.Column('kept_periods', sa.Integer, nullable=False, server_default='0'),
        sa.Column('failure_count', sa.Integer),
        sa.Column('failure_reason', types.text()),
        sa.Column('failed_at', types.instant()),
        sa.Column('retry_at', types.instant()),
        sa.Column('dry_run', sa.Boolean, nullable=False, server_default=sa.false()),
    )
    _index('storage_scope_reprocessing_schedule', 'identifier')
    _table(
        'reprocessing_prices',
        sa.Column(
            'task_id',
            sa.Integer,
            sa.ForeignKey('storage_scope_reprocessing_schedule.id', ondelete='CASCADE'),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column('metric', types.name(255), primary_key=True),
        sa.Column('old_price', types.Exact(), nullable=False),
        sa.Column('new_price', types.Exact(), nullable=False),
    )


def _source():
    """What is known of fetchers and collectors, by the identity of the scopes they serve."""
    _table(
        'fetcher_cycles',
        *_identity(),
        sa.Column('fetched_at', types.instant(), nullable=False),
    )
    _table(
        'source_lags',
        *_identity(),
        sa.Column('metric', types.name(500), primary_key=True),
        sa.Column('state', types.name(16), nullable=False),
        sa.Column('newest', types.instant()),
        sa.Column('needed', types.instant(), nullable=False),
        sa.Column('since', types.instant(), nullable=False),
    )
    _table(
        'service_to_collector_mappings',
        sa.Column('service', types.name(255), primary_key=True),
        sa.Column('collector', types.name(255), nullable=False),
    )


def _modules():
    _table(
        'modules_state',
        sa.Column('name', types.name(255), primary_key=True),
        sa.Column('state', sa.Boolean, nullable=False),
        sa.Column('priority', sa.Integer),
    )
    _table(
        'modules_versions',
        sa.Column('name', types.name(255), primary_key=True),
        sa.Column('version', sa.BigInteger, nullable=False),
    )


def _hashmap():
    _table(
        'hashmap_services',
        _id(),
        _uuid('service_id'),
        sa.Column('name', types.name(255), nullable=False, unique=True),
    )
    _table(
        'hashmap_fields',
        _id(),
        _uuid('field_id'),
        sa.Column('name', types.name(255), nullable=False),
        sa.Column(
            'service_id',
            sa.Integer,
            sa.ForeignKey('hashmap_services.id', ondelete='CASCADE'),
            nullable=False,
        ),
        sa.UniqueConstraint('service_id', 'name', name='uniq_field_per_service'),
    )
    _table(
        'hashmap_groups',
        _id(),
        _uuid('group_id'),
        sa.Column('name', types.name(255), nullable=False, unique=True),
    )
    _table(
        'hashmap_mappings',
        _id(),
        _uuid('mapping_id'),
        sa.Column('value', types.name(255)),
        *_price(),
        *_parents(),
        sa.Column('name', types.name(32), nullable=False),
        *_life(),
    )
    _table(
        'hashmap_thresholds',
        _id(),
        _uuid('threshold_id'),
        sa.Column('level', types.Exact(20, 8)),
        *_price(),
        *_parents(),
    )
    _table(
        'hashmap_history',
        _id(),
        sa.Column('rule_id', types.name(36), nullable=False),
        sa.Column('service', types.name(255), nullable=False),
        sa.Column('field', types.name(255)),
        sa.Column('group_name', types.name(255)),
        sa.Column('value', types.name(255)),
        sa.Column('level', types.Exact(20, 8)),
        *_price(),
        sa.Column('tenant_id', types.name(255)),
        sa.Column('start', types.instant()),
        sa.Column('end', types.instant()),
        sa.Column('deleted', types.instant(), nullable=False),
        sa.Column('deleted_by', types.name(64)),
    )


def _pyscripts():
    _table(
        'pyscripts_scripts',
        _id(),
        _uuid('script_id'),
        sa.Column('name', types.name(255), nullable=False),
        sa.Column('data', types.blob(), nullable=False),
        sa.Column('checksum', types.name(128), nullable=False),
        *_life(),
    )


def _audit():
    _table(
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
        sa.Column('after', types.text()),
    )
    for column in ('at', 'user_id', 'object_id'):
        _index('audit', column)


def _rated_data():
    _table(
        'rated_scopes',
        _id(),
        sa.Column('scope_key', types.name(40), nullable=False),
        sa.Column('identifier', types.name(256), nullable=False),
        sa.Column('changes', sa.BigInteger, nullable=False, server_default='0'),
        sa.UniqueConstraint('scope_key', 'identifier', name='uq_rated_scopes_identifier'),
    )
    _table(
        'rated_series',
        sa.Column('id', types.big_id(), primary_key=True),
        sa.Column('digest', types.digest(), nullable=False, unique=True),
        sa.Column('owner_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), nullable=False),
        sa.Column('scope_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), nullable=False),
        sa.Column('metric', types.name(255), nullable=False),
        sa.Column('unit', types.name(255), nullable=False),
        sa.Column('groupby', types.text(), nullable=False),
        sa.Column('metadata', types.text(), nullable=False),
        sa.Column('description', types.text()),
    )
    _index('rated_series', 'owner_id')
    _index('rated_series', 'scope_id')
    _table(
        'rated_attributes',
        sa.Column(
            'series_id',
            types.big_id(),
            sa.ForeignKey('rated_series.id', ondelete='CASCADE'),
            primary_key=True,
        ),
        sa.Column('name', types.name(255), primary_key=True),
        sa.Column('is_groupby', sa.Boolean, primary_key=True),
        sa.Column('value', types.text(), nullable=False),
    )
    _index('rated_attributes', 'name')
    _table(
        'rated_frames',
        sa.Column('scope_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), primary_key=True),
        sa.Column('begin', types.instant(), primary_key=True),
        sa.Column('origin', sa.SmallInteger, primary_key=True),
        sa.Column('end', types.instant(), nullable=False),
        sa.Column('points', sa.Integer, nullable=False),
        sa.Column('qty', types.Exact(), nullable=False),
        sa.Column('price', types.Exact(), nullable=False),
        sa.Column('revision', sa.Integer, nullable=False),
        sa.Column('block', types.blob(), nullable=False),
    )
    _index('rated_frames', 'begin')
    _table(
        'rated_horizon',
        sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column('day', sa.Date, nullable=False),
        sa.Column('since', types.instant(), nullable=False),
    )


def _rollups():
    for table in ('rated_days', 'rated_series_months'):
        _rollup(
            table,
            sa.Column(
                'series_id',
                types.big_id(),
                sa.ForeignKey('rated_series.id'),
                primary_key=True,
                autoincrement=False,
            ),
        )
    for table in ('rated_totals', 'rated_months'):
        _rollup(
            table,
            sa.Column('scope_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), primary_key=True),
            sa.Column('metric', types.name(255), primary_key=True),
        )
    _table(
        'rated_calendar',
        sa.Column('day', sa.Date, primary_key=True),
        sa.Column('week_of_the_year', types.name(2), nullable=False),
        sa.Column('day_of_the_year', types.name(3), nullable=False),
        sa.Column('month', types.name(2), nullable=False),
        sa.Column('year', types.name(4), nullable=False),
    )


def _views():
    """Readable names for whoever reads the database directly."""
    dialect = op.get_bind().dialect.name
    # PostgreSQL offers its JSON operators on JSON only; the others offer them on text.
    facts = {
        'attributes': 'CAST(se.groupby AS json)' if dialect == 'postgresql' else 'se.groupby',
        'replace': 'OR REPLACE' if dialect in ('mysql', 'mariadb') else '',
    }
    for view in (DAYS_VIEW, TOTALS_VIEW):
        op.execute(view.format(**facts))


def _table(name, *parts, **options):
    op.create_table(name, *parts, **OPTIONS, **options)


def _index(table, column):
    op.create_index(f'ix_{table}_{column}', table, [column], if_not_exists=True)


def _id():
    return sa.Column('id', sa.Integer, primary_key=True)


def _uuid(name):
    return sa.Column(name, types.name(36), nullable=False, unique=True)


def _price():
    return (
        sa.Column('cost', types.Exact(40, 28), nullable=False),
        sa.Column(
            'map_type',
            sa.Enum(
                'flat',
                'rate',
                name='enum_map_type',
                native_enum=False,
                create_constraint=False,
                length=5,
            ),
            nullable=False,
        ),
    )


def _life():
    """When a rule applies, and who made, changed and deleted it."""
    return (
        sa.Column('created_at', types.instant(), nullable=False, server_default=sa.func.now()),
        sa.Column('start', types.instant(), nullable=False, server_default=sa.func.now()),
        sa.Column('end', types.instant()),
        sa.Column('description', types.text()),
        sa.Column('deleted', types.instant()),
        sa.Column('created_by', types.name(64), nullable=False),
        sa.Column('updated_by', types.name(64)),
        sa.Column('deleted_by', types.name(64)),
    )


def _parents():
    parents = (
        ('service_id', 'hashmap_services.id', 'CASCADE'),
        ('field_id', 'hashmap_fields.id', 'CASCADE'),
        ('group_id', 'hashmap_groups.id', 'SET NULL'),
    )
    return (
        *(
            sa.Column(name, sa.Integer, sa.ForeignKey(parent, ondelete=on_delete))
            for name, parent, on_delete in parents
        ),
        sa.Column('tenant_id', types.name(255)),
    )


def _rollup(name, *keys):
    _table(
        name,
        *keys,
        sa.Column('day', sa.Date, primary_key=True),
        sa.Column('qty', types.Exact(), nullable=False),
        sa.Column('price', types.Exact(), nullable=False),
        sa.Column('points', sa.BigInteger, nullable=False),
        # Rows change with every period: a new version beside the old one needs no index entry.
        postgresql_with={'fillfactor': 70},
    )
    # Without it a question about one month reads all of them.
    _index(name, 'day')


def _state_id():
    return sa.Column(
        'state_id',
        sa.Integer,
        sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
        primary_key=True,
        autoincrement=False,
    )


def _identity():
    return (
        sa.Column(name, types.name(40), primary_key=True)
        for name in ('fetcher', 'scope_key', 'collector')
    )
