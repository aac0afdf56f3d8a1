"""Which former databases can be adopted: the revisions of releases 9.0 to 25.0.

A former database has one version table for each of its parts; none of them names the release.
"""

import sqlalchemy as sa

from cloudkitty import errors

# The last revisions of releases 9.0 to 25.0, and two that only an interrupted upgrade between
# them leaves behind.
REVISIONS = {
    'cloudkitty_alembic': ('385e33fef139',),
    'hashmap_alembic': ('644faa4491fd', 'Ifbf5b2515c7', '4e0232ce', '8a591f85865f'),
    'pyscripts_alembic': ('4f9efa4601c0', '75c205f6f1a2', 'c6e4cda29654'),
    'storage_states_alembic': (
        'd9d103dd4dcf',
        '750d3050cf71',
        'c50ed2c19204',
        '4d69395f',
        '9feccd32',
    ),
    'storage_sqlalchemy_alembic': ('c703a1bad612', 'd875621d0384'),
    'storage_hybrid_alembic': ('03da4bb002b9',),
}


def version_tables(connection: sa.Connection) -> list[str]:
    """Return the version tables of the former schema that the database has."""
    return sorted(set(REVISIONS).intersection(sa.inspect(connection).get_table_names()))


def read(connection: sa.Connection) -> dict[str, str]:
    """Return the former revisions by version table; empty when there is no former schema.

    :raises SchemaMismatch: a revision is not one of releases 9.0 to 25.0.
    """
    found = {}
    for table in version_tables(connection):
        rows = connection.scalars(sa.text(f'SELECT version_num FROM {table}')).all()
        found[table] = ', '.join(sorted(rows)) or 'none'
        if found[table] not in REVISIONS[table]:
            raise errors.SchemaMismatch(
                reason=f'table {table} is at revision {found[table]}, which is not the last one of '
                'any of the releases 9.0 to 25.0: first run the cloudkitty-dbsync of one of these '
                'releases on this database'
            )
    return found
