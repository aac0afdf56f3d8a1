"""Processor time of the sessions of a PostgreSQL on this machine."""

import os
from pathlib import Path

import sqlalchemy as sa

_SESSIONS = sa.text(
    'SELECT pid FROM pg_stat_activity WHERE datname = current_database() '
    "AND (:name = '' OR application_name = :name)"
)


def busy_s(engine: sa.Engine, name: str = '') -> float:
    """Return the processor time of the processes that serve the database of *engine* now.

    :param name: only of sessions with this application name; '': of all.
    """
    with engine.connect() as connection:
        pids = connection.execute(_SESSIONS, {'name': name}).scalars().all()
    ticks = 0
    for pid in pids:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')
