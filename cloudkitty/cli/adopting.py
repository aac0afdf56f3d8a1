"""Common parts of the commands that can adopt a former database."""

import functools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db, errors, locks, storage
from cloudkitty.core import timeframe
from cloudkitty.db import adoption
from cloudkitty.db.adoption import copy, former, options, shape, zone
from cloudkitty.rating import module_state
from cloudkitty.scopes import state

# A busy processor moves marks all the time, and an idle one holds no lock.
WATCH_S = 3
# Number of scopes whose locks are tried: those that were rated last.
LOCKS_MAX = 100
# The table of storage v1.
RATED_DATA = 'rated_data_frames'


def adopter(
    database: db.Database,
    conf: cfg.ConfigOpts,
    *,
    zone_name: str | None = None,
    is_forced: bool = False,
    is_dry_run: bool = False,
    keeps_retention: bool = False,
) -> adoption.Adoption:
    """Return the adopter of a former database, if there is one.

    :param zone_name: zone of the local times in it; None: that of this machine.
    :param is_forced: do not check whether the former service is running.
    :param keeps_retention: adopt although [storage]retention_period removes rated points.
    :raises InvalidInput: there is no such zone.
    """
    told = _options(conf, zone_name, is_dry_run=is_dry_run, keeps_retention=keeps_retention)
    guard = _nothing if is_forced else functools.partial(refuse_running, database, conf)
    return adoption.Adoption(told, print, guard)


def copier(
    conf: cfg.ConfigOpts,
    source_url: str,
    *,
    zone_name: str | None = None,
    is_dry_run: bool = False,
    keeps_retention: bool = False,
) -> copy.Copier:
    """Return what copies the former database at *source_url*; see adopter().

    :raises InvalidInput: there is no such zone.
    """
    told = _options(conf, zone_name, is_dry_run=is_dry_run, keeps_retention=keeps_retention)
    return copy.Copier(told, print, source_url, module_state.bump_version)


def _options(conf, zone_name, *, is_dry_run, keeps_retention):
    identity = state.Identity.of(conf)
    return options.Options(
        zone=zone.named(zone_name),
        identity=(identity.scope_key, identity.fetcher, identity.collector),
        period_s=conf.collect.period,
        now=timeframe.to_naive(datetime.now(UTC)).replace(microsecond=0),
        is_dry_run=is_dry_run,
        objection='' if keeps_retention else _objection(conf),
    )


def _objection(conf):
    """Return why a former database is not adopted with this configuration; '': it is."""
    hours = conf.storage.retention_period
    if hours is None:
        return ''
    last = datetime.now(UTC) - timedelta(hours=hours)
    return (
        f'[storage]retention_period = {hours} removes rated points before '
        f'{timeframe.render(last)[:10]}, which earlier releases did not do: unset it, or run '
        '`cloudkitty-dbsync` with --keep-retention'
    )


def _nothing():
    """Guard that allows everything."""


def refuse_running(
    database: db.Database, conf: cfg.ConfigOpts, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Raise SchemaMismatch if a processor is running: if it holds a lock or moves marks."""
    with database.reader() as connection:
        if _mark(connection) is None:
            return
        names = list(_lock_names(connection, conf))
        before = _progress(connection)
    if _is_held(conf.orchestrator.coordination_url, names):
        raise _at_work('it holds a lock')
    sleep(WATCH_S)
    with database.reader() as connection:
        if _progress(connection) != before:
            raise _at_work('marks of scopes are moving')


def _at_work(sign):
    return errors.SchemaMismatch(
        reason=f'a processor is running on this database ({sign}): stop it first, or use --force '
        'to continue anyway'
    )


def _mark(connection):
    """Return the column of marks of a former database, None if it has no scopes."""
    present = shape.existing_columns(connection, former.SCOPES.name)
    for name in ('last_processed_timestamp', 'state'):
        if name in present:
            return sa.column(name, sa.DateTime())
    return None


def _progress(connection):
    mark = _mark(connection)
    table = sa.table(former.SCOPES.name)
    return connection.execute(
        sa.select(sa.func.count(), sa.func.count(mark.distinct()), sa.func.max(mark)).select_from(
            table
        )
    ).one()


def _lock_names(connection, conf) -> Iterator[bytes]:
    identity = state.Identity.of(conf)
    scopes = former.SCOPES
    found = sa.select(scopes.c.identifier).order_by(_mark(connection).desc()).limit(LOCKS_MAX)
    for scope_id in connection.scalars(found):
        yield locks.name(scope_id, **identity._asdict())


def _is_held(url, names):
    """Return whether another process holds one of the locks; a service that is down holds none."""
    service = locks.Locks(url)
    try:
        for name in names:
            with service.hold(name) as had:
                if not had:
                    return service.answers
        return False
    finally:
        service.close()


def print_next_steps(conf: cfg.ConfigOpts, database: db.Database, following: str) -> None:
    """Print what an operator does next: about the rated data, then *following*."""
    store = conf.storage.backend
    if conf.storage.version != 1 and store in storage.FORMER_STORES:
        print(storage.explain_former(store))
    elif _has_rated_data(database):
        print(
            f'rated data of [storage]version = 1 stays in table {RATED_DATA}; '
            '`cloudkitty-storage migrate` copies it to version 2'
        )
    print(following)


def _has_rated_data(database):
    with database.reader() as connection:
        return sa.inspect(connection).has_table(RATED_DATA)
