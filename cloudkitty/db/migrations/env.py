"""Alembic environment; cloudkitty.db.migration passes the connection."""

from alembic import context

from cloudkitty.db import migration

context.configure(connection=context.config.attributes['connection'], **migration.OPTIONS)
with context.begin_transaction():
    context.run_migrations()
