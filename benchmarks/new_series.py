"""100,000 and 1,000,000 new series to PostgreSQL: the first period of a cloud"""

import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from benchmarks import rated, sessions, sizing
from benchmarks.figure import Figure
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.db import tables
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import ScopeBatch

COUNTS = (100_000, 1_000_000)
PARTS = tuple(map(str, COUNTS))
SERIES_PER_SCOPE = 1000
SCOPES_PER_COMMIT = 20  # of 20,000 points, the default of [orchestrator]batch_points
HOUR = timedelta(hours=1)
AT_MOST_S = {1_000_000: 120}


def measure(folder: Path, *parts: str) -> list[Figure]:
    """Return the figures of some numbers of series, or of all."""
    return [figure for part in parts or PARTS for figure in _measure(folder, int(part))]


def _measure(folder, count):
    names = [f'project-{number:05}' for number in range(count // SERIES_PER_SCOPE)]
    with rated.store('postgresql', folder) as storage:
        states = _prepare(storage, names)
        backends, worker, seconds = sessions.busy_s(storage.database.engine), 0, 0
        for first in range(0, len(names), SCOPES_PER_COMMIT):
            chosen = names[first : first + SCOPES_PER_COMMIT]
            batch = [
                ScopeBatch(states[name], name, rated.MAY - HOUR, rated.MAY, _usage(name))
                for name in chosen
            ]
            began = time.perf_counter()
            worker += sizing.commit_s(storage, batch)
            seconds += time.perf_counter() - began
        backends = sessions.busy_s(storage.database.engine) - backends
    title = f'{count:,} new series'
    return [
        Figure(title, seconds, 's', at_most=AT_MOST_S.get(count)),
        Figure(f'{title}: processor time of the worker', worker, 's'),
        Figure(f'{title}: processor time of the database', backends, 's'),
    ]


def _prepare(storage, names):
    """Return the keys of new scopes."""
    with storage.database.writer() as connection:
        scope_state.record_seen(
            connection,
            Settings.of(storage.conf).identity,
            names,
            now=rated.MAY,
            initial_mark=rated.MAY - HOUR,
            final_mark=rated.MAY,
        )
        table = tables.scopes
        return {
            row.identifier: row.id
            for row in connection.execute(sa.select(table.c.identifier, table.c.id))
        }


def _usage(name):
    """Return the first period of a scope: each point has a series of its own."""
    frame = DataFrame(rated.MAY, rated.MAY + HOUR)
    for metric in rated.METRICS:
        frame.add_points(
            [
                DataPoint.of(
                    Series(
                        'unit',
                        {
                            'project_id': name,
                            'id': f'{name}-{metric}-{number}',
                            'user_id': f'user-{number % 3}-{name}',
                            'department': f'department-{number % rated.DEPARTMENTS}',
                        },
                        {'flavor': f'f{number % 3}'},
                    ),
                    Decimal(number % 8 + 1),
                    Decimal('0.0123') * (number % 8 + 1),
                )
                for number in range(SERIES_PER_SCOPE // len(rated.METRICS))
            ],
            metric,
        )
    return ScopePeriods.of_frames(name, [frame])
