"""Progress: whether processors run, and which scopes do not advance, with the reasons."""

from collections.abc import Iterator
from datetime import timedelta

from cloudkitty import doctor
from cloudkitty.core import timeframe
from cloudkitty.doctor import Finding
from cloudkitty.doctor.site import Site
from cloudkitty.scopes import counts, source_lag, state

SUBJECT = 'progress'
SHOWN_MAX = 3
# Scopes whose failure reasons are examined.
ROWS_MAX = 1000
START = 'start cloudkitty-processor, and see its log'
LAGS = {
    source_lag.HELD: 'periods wait for it',
    source_lag.LATE: 'periods are rated without it',
    source_lag.NOWHERE: 'the source never had data of it',
}


def check(site: Site) -> Iterator[Finding]:
    """Yield why periods are not rated."""
    conf, identity, now = site.conf, site.identity, site.now()
    length = timedelta(seconds=conf.collect.period)
    wait = length * (3 + max(conf.collect.wait_periods, 1))
    mark_max = now - wait - timedelta(seconds=conf.collect.lag_max)
    with site.database.reader() as connection:
        count = counts.count(connection, identity)
        fetched_at = state.last_fetch(connection, identity)
        behind = counts.list_behind(connection, identity, mark_max=mark_max, limit=ROWS_MAX)
        lags = source_lag.list_lags(connection, identity)
        known, scopes = state.list_scopes(connection, active=[True], limit=ROWS_MAX)
    others = {scope.identity for scope in scopes} - {tuple(identity)}
    if not count.working and others:
        yield _of_others(known, identity, others)
    elif fetched_at is None:
        yield doctor.warning(SUBJECT, 'no processor has fetched scopes yet', START)
    elif fetched_at < now - length - timedelta(seconds=conf.orchestrator.worker_silence_max):
        what = f'no processor has fetched scopes since {timeframe.render(fetched_at)}'
        yield doctor.error(SUBJECT, what, START)
    failing = [scope for scope in scopes if scope.failure_reason]
    yield from _failures(failing, count.held)
    if behind and len(behind) > count.held:
        scope_id, mark = behind[0]
        yield doctor.warning(
            SUBJECT,
            f'{len(behind)} scopes are behind, {scope_id} since {timeframe.render(mark + length)}',
            'run more workers, or see why the source is slow; `cloudkitty-status complete` '
            'lists them',
        )
    for metric, lag in list(lags.items())[:SHOWN_MAX]:
        yield doctor.warning(
            SUBJECT,
            f'the source lags with {metric} since {timeframe.render(lag.since)}: {LAGS[lag.state]}',
            'see why the exporter or agent is late, or raise [collect]wait_periods',
        )


def _of_others(known, identity, others):
    key, fetcher, collector = next(iter(others))
    return doctor.error(
        SUBJECT,
        f'{known} scopes are of scope_key {key}, fetcher {fetcher} and collector {collector}, '
        f'and none of {", ".join(identity)}: all start again under the new identity',
        'set [collect]scope_key, [fetcher]backend and [collect]collector back, unless a change '
        'was meant',
    )


def _failures(failing, held) -> Iterator[Finding]:
    reasons: dict[str, list[str]] = {}
    for scope in failing:
        reasons.setdefault(scope.failure_reason, []).append(scope.scope_id)
    for reason, scope_ids in list(reasons.items())[:SHOWN_MAX]:
        yield doctor.error(
            SUBJECT,
            f'{len(scope_ids)} of {held} scopes that are held back, such as {scope_ids[0]}: '
            f'{reason}',
            'remove the cause: they are tried again by themselves',
        )
