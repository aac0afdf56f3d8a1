"""Definitions, scopes and source: whether there is data to rate, and whether it can be right."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from cloudkitty import collector, doctor, errors
from cloudkitty.collector import metrics_file, routing, survey
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.doctor import Finding
from cloudkitty.doctor.database import check_clock
from cloudkitty.doctor.site import Site
from cloudkitty.scopes import state

# Scopes for which each metric is examined.
SCOPES_MAX = 3
NAMES_MAX = 5
# Stands for a scope when the fetcher lists none.
NO_SCOPE = 'cloudkitty-doctor'
TRY = 'try it with `cloudkitty-metrics try`'
# What to do when a fetcher that asks no source of measurements lists no scope.
NO_SCOPES = {
    'keystone': 'give the user of [fetcher_keystone] the role rating on the projects to rate, or '
    'set ignore_rating_role there',
    'source': 'name the scopes in [fetcher_source]sources',
}


def check_definitions(site: Site) -> Iterator[Finding]:
    """Yield errors and warnings of the definition file."""
    path = site.conf.collect.metrics_conf
    members = collector.get_members(site.conf)
    document = metrics_file.read(path)
    scope_key = site.conf.collect.scope_key
    for problem in routing.find_problems(document.content, members, scope_key):
        line, column = document.place_of(problem.path)
        what = f'{path}:{line}:{column}: {problem.text}'
        yield doctor.error('definitions', what, 'correct the definition')
    for warning in routing.find_warnings(document.content, members, scope_key):
        line, column = document.place_of(warning.path)
        yield doctor.warning('definitions', f'{path}:{line}:{column}: {warning.text}', TRY)


def check_scopes(site: Site) -> Iterator[Finding]:
    """Yield why there is nothing to rate."""
    where = f'[fetcher]backend = {site.conf.fetcher.backend}'
    try:
        listed = site.scope_ids
    except errors.FetcherError as exc:
        yield doctor.error('scopes', f'{where}: {exc}', 'see whether the source answers there')
        return
    if not listed:
        yield doctor.error(
            'scopes',
            f'{where} lists no scope: nothing is rated',
            NO_SCOPES.get(site.conf.fetcher.backend)
            or 'see that the source has the attribute or label of the fetcher, and [collect]'
            f'scope_key = {site.conf.collect.scope_key} names the same',
        )
    refused = [scope_id for scope_id in listed if not state.is_storable(scope_id)]
    if refused:
        yield doctor.warning(
            'scopes',
            f'{len(refused)} ids cannot be stored, such as {refused[0]!r:.80}',
            'let the source name scopes with 1 to 256 printable characters',
        )


def check_source(site: Site) -> Iterator[Finding]:
    """Yield metrics without data or with old data, and definitions that cannot be right."""
    driver, now = site.driver, site.now()
    length = timedelta(seconds=site.conf.collect.period)
    driver.refresh()
    told = driver.clock()
    if told is not None:
        yield from check_clock('source', told, site.now())
    wait = max(site.conf.collect.wait_periods, 1)
    due = timeframe.period_at(now - length * (1 + wait), site.conf.collect.period)
    scope_ids = _scope_ids(site)
    absent = set()
    if not scope_ids:
        # Whether the source answers at all is known without a scope.
        for key in list(driver.conf)[:1]:
            list(driver.collect(key, [due], [NO_SCOPE]))
    for key, metric in driver.conf.items():
        notes, faults = _survey(driver, key, due, scope_ids)
        if survey.NO_METRIC in notes:
            absent.add(key)
            yield doctor.warning(
                'source', f'{metric.name}: {survey.NO_METRIC}', f'see how it is called there; {TRY}'
            )
        for text in sorted(faults):
            yield doctor.error('source', f'{metric.published_name}: {text}', TRY)
        for text in sorted(notes - {survey.NO_METRIC}):
            yield doctor.warning('source', f'{metric.published_name}: {text}', TRY)
    yield from _check_age(driver, [key for key in driver.conf if key not in absent], due, now)


def _scope_ids(site):
    """Return some scopes; none if the fetcher fails, which is a finding of check_scopes()."""
    try:
        return sorted(filter(state.is_storable, site.scope_ids))[:SCOPES_MAX]
    except errors.FetcherError:
        return []


def _survey(driver, key, period, scope_ids: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return notes and faults of a metric for some scopes.

    :raises CollectError: the source does not answer.
    """
    notes: set[str] = set()
    faults: set[str] = set()
    for scope_id in scope_ids:
        found = driver.survey(key, period, scope_id)
        if found is None:
            # It can only tell whether it answers.
            list(driver.collect(key, [period], [scope_id]))
            break
        notes.update(text for text in found.notes if not survey.is_usual(text))
        notes.update(text for text in found.facts if text == survey.NO_METRIC)
        faults.update(found.faults)
    return notes, faults


def _check_age(driver, keys, due: Period, now):
    """Yield metrics whose newest data is older than the due period."""
    newest = driver.newest(keys, since=due.begin - timedelta(days=2), now=now)
    for key, instant in newest.items():
        if instant is not None and instant < due.begin:
            yield doctor.error(
                'source',
                f'{driver.conf[key].published_name}: the newest data is of '
                f'{timeframe.render(instant)}, before the period that is due',
                'see why the exporter or agent has stopped: periods wait for it, then go without',
            )
