"""Names of the former tables, and columns that older releases lack."""

from datetime import datetime

import sqlalchemy as sa

from cloudkitty.db import types

# Tables of ours that a former database has, parents before children.
TABLES = (
    'modules_state',
    'hashmap_services',
    'hashmap_fields',
    'hashmap_groups',
    'hashmap_mappings',
    'hashmap_thresholds',
    'pyscripts_scripts',
    'service_to_collector_mappings',
    'cloudkitty_storage_states',
    'storage_scope_reprocessing_schedule',
)
# (table, former name of a column, its name now)
RENAMED = (('cloudkitty_storage_states', 'state', 'last_processed_timestamp'),)
# Start of the rules of releases before 23, which had none: the value that the migrations of
# release 23 set, so that every period keeps its price.
_RULES_START = datetime(1970, 1, 1)
_SCRIPTS_START = datetime(2014, 1, 1)
_AUTHOR = 'migration'
NOW = object()
# Columns that an older release lacks and that need a value in each row: {table: {column: value}}.
# A text in braces is the column whose hexadecimal digits are taken, which are unique.
FILLED: dict[str, dict[str, object]] = {
    'hashmap_mappings': {
        'name': '{mapping_id}',
        'created_at': NOW,
        'start': _RULES_START,
        'created_by': _AUTHOR,
    },
    'pyscripts_scripts': {
        'created_at': NOW,
        'start': _SCRIPTS_START,
        'created_by': _AUTHOR,
    },
    'cloudkitty_storage_states': {'active': True, 'scope_activation_toggle_date': NOW},
}
# Times in these columns are local ones of the host that ran the former API.
LOCAL_TIMES = {
    'hashmap_mappings': ('created_at', 'start', 'end', 'deleted'),
    'pyscripts_scripts': ('created_at', 'start', 'end', 'deleted'),
}

# The parts of these tables that the steps use; the models change with later revisions.
SCOPES = sa.table(
    'cloudkitty_storage_states',
    sa.column('id'),
    sa.column('identifier', types.name(256)),
    sa.column('scope_key', types.name(40)),
    sa.column('fetcher', types.name(40)),
    sa.column('collector', types.name(40)),
    sa.column('last_processed_timestamp', sa.DateTime()),
)
TASKS = sa.table(
    'storage_scope_reprocessing_schedule',
    sa.column('id'),
    sa.column('identifier', types.name(256)),
    sa.column('end_reprocess_time', sa.DateTime()),
    sa.column('current_reprocess_time', sa.DateTime()),
)
SCRIPTS = sa.table(
    'pyscripts_scripts', sa.column('id'), sa.column('data'), sa.column('checksum', sa.String())
)
