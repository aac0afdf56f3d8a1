"""The first schema.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0001'
down_revision = None

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}
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
    _orchestration()
    _hashmap()
    _rated_data()
    _rollups()
    _views()


def _orchestration():
    _table(
        'cloudkitty_storage_states',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('identifier', types.name(256), nullable=False),
        sa.Column('scope_key', types.name(40)),
        sa.Column('fetcher', types.name(40)),
        sa.Column('collector', types.name(40)),
        sa.Column('last_processed_timestamp', types.instant(), nullable=False),
        sa.Column('scope_activation_toggle_date', types.instant(), nullable=False,
                  server_default=sa.func.now()),
        sa.Column('active', sa.Boolean, nullable=False),
        sa.Column('final_mark', types.instant()),
        sa.Column('failure_count', sa.Integer),
        sa.Column('failure_reason', types.text()),
        sa.Column('failed_at', types.instant()),
        sa.Column('retry_at', types.instant()),
        sa.UniqueConstraint('identifier', 'scope_key', 'collector', 'fetcher',
                            name='uq_cloudkitty_storage_states_identifier'))
    _table(
        'modules_state',
        sa.Column('name', types.name(255), primary_key=True),
        sa.Column('state', sa.Boolean, nullable=False),
        sa.Column('priority', sa.Integer))
    _table(
        'modules_versions',
        sa.Column('name', types.name(255), primary_key=True),
        sa.Column('version', sa.BigInteger, nullable=False))
    _table(
        'fetcher_cycles',
        sa.Column('fetcher', types.name(40), primary_key=True),
        sa.Column('scope_key', types.name(40), primary_key=True),
        sa.Column('collector', types.name(40), primary_key=True),
        sa.Column('fetched_at', types.instant(), nullable=False))


def _hashmap():
    _table(
        'hashmap_services', _id(), _uuid('service_id'),
        sa.Column('name', types.name(255), nullable=False, unique=True))
    _table(
        'hashmap_fields', _id(), _uuid('field_id'),
        sa.Column('name', types.name(255), nullable=False),
        sa.Column('service_id', sa.Integer,
                  sa.ForeignKey('hashmap_services.id', ondelete='CASCADE'), nullable=False),
        sa.UniqueConstraint('service_id', 'name', name='uniq_field_per_service'))
    _table(
        'hashmap_groups', _id(), _uuid('group_id'),
        sa.Column('name', types.name(255), nullable=False, unique=True))
    _table(
        'hashmap_mappings', _id(), _uuid('mapping_id'),
        sa.Column('value', types.name(255)), *_price(), *_parents(),
        sa.Column('created_at', types.instant(), nullable=False, server_default=sa.func.now()),
        sa.Column('start', types.instant(), nullable=False, server_default=sa.func.now()),
        sa.Column('end', types.instant()),
        sa.Column('name', types.name(32), nullable=False),
        sa.Column('description', types.name(256)),
        sa.Column('deleted', types.instant()),
        sa.Column('created_by', types.name(64), nullable=False),
        sa.Column('updated_by', types.name(64)),
        sa.Column('deleted_by', types.name(64)))
    _table(
        'hashmap_thresholds', _id(), _uuid('threshold_id'),
        sa.Column('level', types.Exact(20, 8)), *_price(), *_parents())
    _table(
        'hashmap_history', _id(),
        sa.Column('rule_id', types.name(36), nullable=False),
        sa.Column('service', types.name(255), nullable=False),
        sa.Column('field', types.name(255)),
        sa.Column('group_name', types.name(255)),
        sa.Column('value', types.name(255)),
        sa.Column('level', types.Exact(20, 8)), *_price(),
        sa.Column('tenant_id', types.name(255)),
        sa.Column('start', types.instant()),
        sa.Column('end', types.instant()),
        sa.Column('deleted', types.instant(), nullable=False),
        sa.Column('deleted_by', types.name(64)))


def _rated_data():
    _table(
        'rated_scopes', _id(),
        sa.Column('scope_key', types.name(40), nullable=False),
        sa.Column('identifier', types.name(256), nullable=False),
        sa.UniqueConstraint('scope_key', 'identifier', name='uq_rated_scopes_identifier'))
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
        sa.Column('description', types.text()))
    _index('rated_series', 'owner_id')
    _index('rated_series', 'scope_id')
    _table(
        'rated_attributes',
        sa.Column('series_id', types.big_id(), sa.ForeignKey('rated_series.id', ondelete='CASCADE'),
                  primary_key=True),
        sa.Column('name', types.name(255), primary_key=True),
        sa.Column('is_groupby', sa.Boolean, primary_key=True),
        sa.Column('value', types.text(), nullable=False))
    _index('rated_attributes', 'name')
    _table(
        'rated_frames',
        sa.Column('scope_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), primary_key=True),
        sa.Column('begin', types.instant(), primary_key=True),
        sa.Column('origin', sa.SmallInteger, primary_key=True),
        sa.Column('end', types.instant(), nullable=False),
        sa.Column('points', sa.Integer, nullable=False),
        sa.Column('price', types.Exact(), nullable=False),
        sa.Column('revision', sa.Integer, nullable=False),
        sa.Column('block', types.blob(), nullable=False))
    _index('rated_frames', 'begin')


def _rollups():
    _table(
        'rated_days',
        sa.Column('series_id', types.big_id(), sa.ForeignKey('rated_series.id'), primary_key=True),
        sa.Column('day', sa.Date, primary_key=True), *_sums())
    for table in ('rated_totals', 'rated_months'):
        _table(
            table,
            sa.Column('scope_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), primary_key=True),
            sa.Column('metric', types.name(255), primary_key=True),
            sa.Column('day', sa.Date, primary_key=True), *_sums())
    _table(
        'rated_calendar',
        sa.Column('day', sa.Date, primary_key=True),
        sa.Column('week_of_the_year', types.name(2), nullable=False),
        sa.Column('day_of_the_year', types.name(3), nullable=False),
        sa.Column('month', types.name(2), nullable=False),
        sa.Column('year', types.name(4), nullable=False))


def _views():
    """Readable names for whoever reads the database directly."""
    dialect = op.get_bind().dialect.name
    # PostgreSQL offers its JSON operators on JSON only; the others offer them on text.
    facts = {'attributes': 'CAST(se.groupby AS json)' if dialect == 'postgresql' else 'se.groupby',
             'replace': 'OR REPLACE' if dialect in ('mysql', 'mariadb') else ''}
    for view in (DAYS_VIEW, TOTALS_VIEW):
        op.execute(view.format(**facts))


def _table(name, *parts):
    op.create_table(name, *parts, **OPTIONS)


def _index(table, column):
    op.create_index(f'ix_{table}_{column}', table, [column], if_not_exists=True)


def _id():
    return sa.Column('id', sa.Integer, primary_key=True)


def _uuid(name):
    return sa.Column(name, types.name(36), nullable=False, unique=True)


def _price():
    return (sa.Column('cost', types.Exact(40, 28), nullable=False),
            sa.Column('map_type', sa.Enum('flat', 'rate', name='enum_map_type', native_enum=False,
                                          create_constraint=False, length=5), nullable=False))


def _parents():
    parents = (('service_id', 'hashmap_services.id', 'CASCADE'),
               ('field_id', 'hashmap_fields.id', 'CASCADE'),
               ('group_id', 'hashmap_groups.id', 'SET NULL'))
    return (*(sa.Column(name, sa.Integer, sa.ForeignKey(parent, ondelete=on_delete))
              for name, parent, on_delete in parents),
            sa.Column('tenant_id', types.name(255)))


def _sums():
    return (sa.Column('qty', types.Exact(), nullable=False),
            sa.Column('price', types.Exact(), nullable=False),
            sa.Column('points', sa.BigInteger, nullable=False))
