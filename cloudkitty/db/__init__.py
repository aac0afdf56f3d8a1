"""The SQL database: the engine and the schema. Each subject owns the code of its tables."""

# The schema is whole when all modules of tables are imported.
from cloudkitty.db import billing_tables as billing_tables
from cloudkitty.db import clickhouse_tables as clickhouse_tables
from cloudkitty.db import output_tables as output_tables
from cloudkitty.db import usage_tables as usage_tables
from cloudkitty.db.engine import Database, hold_snapshot

__all__ = ('Database', 'hold_snapshot')
