"""The worker packs and removes old usage, and keeps what is still to be rated."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import locks
from cloudkitty.core import timeframe
from cloudkitty.core.metering import facts
from cloudkitty.db import tables, usage_tables
from cloudkitty.processor import settings
from cloudkitty.processor.usage_retention import UsageRetention
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import usage
from cloudkitty.tests.usage import NOW, fact, us
from cloudkitty.usage import retention

DAY = timedelta(days=1)
LATER = NOW + 200 * DAY
IDENTITY = scope_state.Identity('project_id', 'metering', 'metering')
TERMS = retention.Terms(*[36 * DAY] * 6)
# Of a scope that is rated up to the hour.
RATED = {'last_processed_timestamp': timeframe.to_naive(LATER), 'active': True}
OLD = timeframe.to_naive(facts.from_us(us(3, day=10)))


def put(database, table, **values):
    with database.writer() as connection:
        connection.execute(sa.insert(table).values(**values))


def put_scope(database, **values):
    put(
        database,
        tables.scopes,
        identifier='p1',
        **{**IDENTITY._asdict(), **RATED, 'scope_activation_toggle_date': OLD, **values},
    )


def put_task(database, **values):
    put(
        database,
        tables.tasks,
        identifier='p1',
        start_reprocess_time=OLD,
        end_reprocess_time=timeframe.to_naive(LATER),
        reason='r',
        **values,
    )


def put_late(database):
    put(
        database,
        usage_tables.late,
        scope_id='p1',
        begin=us(3, day=10),
        end=us(4, day=10),
        received_at=us(5, day=10),
    )


def run(database, tmp_path):
    """Let the job do all that is to be done; return the days of the samples that are left."""
    job = UsageRetention(
        database=database,
        terms=TERMS,
        locks=locks.Locks(f'file://{tmp_path}'),
        settings=settings.Settings(
            identity=IDENTITY,
            length_s=3600,
            wait_periods=1,
            shards=1,
            batch_scopes=1,
            batch_periods=1,
        ),
        clock=lambda: LATER,
    )
    while job.step():
        pass
    assert job.next_at == LATER + UsageRetention.PAUSE
    return [
        facts.from_us(begin).day for (begin,) in usage.rows(database, usage_tables.packs, 'begin')
    ]


@pytest.mark.parametrize(
    'prepare, kept',
    [
        (put_scope, []),
        # Not rated since then, so it may still be; and not if it is not rated any more.
        (lambda database: put_scope(database, last_processed_timestamp=OLD), [9, 11]),
        (lambda database: put_scope(database, last_processed_timestamp=OLD, active=False), []),
        (
            lambda database: put_scope(database, last_processed_timestamp=OLD, final_mark=OLD),
            [],
        ),
        (
            lambda database: put_scope(database, last_processed_timestamp=OLD, collector='x'),
            [],
        ),
        # To be rated again.
        (put_task, [9, 11]),
        (lambda database: put_task(database, current_reprocess_time=timeframe.to_naive(LATER)), []),
        (put_late, [9, 11]),
    ],
    ids=['rated', 'held', 'inactive', 'gone', 'of others', 'ordered', 'done', 'late'],
)
def test_what_is_still_to_be_rated_is_kept(database, tmp_path, prepare, kept):
    """And the day before it, which a gauge may hold from."""
    usage.store(database, *[fact(us(5, day=day)) for day in (8, 9, 11)])
    # It came late, which is done.
    with database.writer() as connection:
        connection.execute(sa.delete(usage_tables.late))
    prepare(database)

    assert run(database, tmp_path) == kept
