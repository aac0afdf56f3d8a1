"""The SQL database: whether it is reachable, writable, and has the right schema and time."""

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from cloudkitty import doctor, errors
from cloudkitty.db import migration
from cloudkitty.doctor import Finding
from cloudkitty.doctor.site import Site

SUBJECT = 'database'
# More than the latency to a server, and less than what matters for the begin of a rule.
CLOCK_S = 30
SYNCHRONISE = 'synchronise the clocks of all hosts, for instance with chrony'
MARIADB = {
    'time': 'SELECT UTC_TIMESTAMP(6)',
    'read only': 'SELECT @@global.read_only',
    'connections': 'SELECT @@global.max_connections',
}
STATEMENTS = {
    'postgresql': {
        'time': "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
        'read only': "SELECT current_setting('transaction_read_only') = 'on'",
        'connections': "SELECT current_setting('max_connections')::int",
    },
    'mysql': MARIADB,
    'mariadb': MARIADB,
}
# Connections that a process opens: for a batch, an order, a quote and its locks.
CONNECTIONS_OF_WORKER = 4


def check(site: Site) -> Iterator[Finding]:
    """Yield problems of the database."""
    try:
        migration.check(site.database)
    except errors.SchemaMismatch as exc:
        is_older = migration.UPGRADE in str(exc)
        remedy = migration.UPGRADE if is_older else 'run the newer release, or restore a back-up'
        yield doctor.error(SUBJECT, str(exc), remedy)
        return
    except errors.DatabaseUnavailable as exc:
        yield doctor.error(SUBJECT, str(exc), 'start the database, or correct [database]connection')
        return
    statements = STATEMENTS.get(site.database.engine.dialect.name)
    if statements:
        yield from _check_server(site, statements)
    if site.conf.database.slave_connection:
        yield from _check_replica(site)


def _check_server(site, statements):
    with site.database.reader() as connection:
        told = connection.scalar(sa.text(statements['time']))
        own = site.now()
        is_read_only = connection.scalar(sa.text(statements['read only']))
        connections = connection.scalar(sa.text(statements['connections']))
    yield from check_clock(SUBJECT, told.replace(tzinfo=UTC), own)
    if is_read_only:
        yield doctor.error(
            SUBJECT,
            f'{site.database.safe_url} cannot be written to',
            'let [database]connection name the primary server',
        )
    options = site.conf.orchestrator
    needed = CONNECTIONS_OF_WORKER * max(options.max_workers, options.max_workers_reprocessing)
    if connections < needed:
        yield doctor.warning(
            SUBJECT,
            f'the server allows {connections} connections, and the workers of this host alone '
            f'may open {needed}',
            'raise max_connections of the server, or lower [orchestrator]max_workers',
        )


def check_clock(subject: str, told: datetime, own: datetime) -> Iterator[Finding]:
    """Yield a finding if the clock of a server is not that of this host.

    :param told, own: time of the server and of this host, aware UTC.
    """
    ahead_s = (told - own).total_seconds()
    if abs(ahead_s) > CLOCK_S:
        word = 'ahead of' if ahead_s > 0 else 'behind'
        yield doctor.error(
            subject, f'its clock is {abs(ahead_s):.0f} s {word} that of this host', SYNCHRONISE
        )


def _check_replica(site):
    try:
        with site.database.replica() as connection:
            connection.execute(sa.text('SELECT 1'))
    except (sa_exc.SQLAlchemyError, db_exception.DBError) as exc:
        reason = str(exc).strip().partition('\n')[0]
        yield doctor.error(
            SUBJECT,
            f'[database]slave_connection does not answer: {reason}',
            'start the replica, or remove the option: reports fail so far',
        )
