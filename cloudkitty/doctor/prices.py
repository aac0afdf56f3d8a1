"""Rating modules and rules: usage that is rated at the price 0, and rules that never apply."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from cloudkitty import doctor, errors
from cloudkitty.core import metrics, timeframe
from cloudkitty.core.pricing import rules
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.doctor import Finding
from cloudkitty.doctor.site import Site
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import rules as rule_store
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.rating.pyscripts import store as script_store

SUBJECT = 'prices'
HASHMAP = 'hashmap'
PYSCRIPTS = 'pyscripts'
CREATE = 'create a mapping of its service or of one of its fields'
ALIKE = 0.6


def check(site: Site) -> Iterator[Finding]:
    """Yield why usage is stored at the price 0, or not at all."""
    with site.database.reader() as connection:
        enabled = module_state.list_enabled(connection)
    try:
        ModuleSet(site.conf, site.database).refresh()
    except errors.ModuleLoadError as exc:
        remedy = 'install or correct the module, or disable it: nothing is rated so far'
        yield doctor.error(SUBJECT, str(exc), remedy)
    if enabled <= set(module_state.FIXED):
        yield doctor.error(
            SUBJECT,
            'no rating module is enabled: all usage is stored at the price 0',
            'run `openstack rating module enable hashmap` and create rules; what is stored '
            'already can be rated again',
        )
    yield from check_rules(site)


def check_rules(site: Site) -> Iterator[Finding]:
    """Yield problems of the rules of the enabled modules."""
    now = site.now()
    with site.database.reader() as connection:
        pricing = module_state.list_enabled(connection) - set(module_state.FIXED)
        known = [rule for rule in rule_store.load(connection) if not _is_over(rule, now)]
        scripts = script_store.load(connection)
    if PYSCRIPTS in pricing and not any(script.is_valid(now) for script in scripts):
        yield doctor.warning(
            SUBJECT, 'pyscripts is enabled and has no valid script', 'create one, or disable it'
        )
    if HASHMAP in pricing:
        definitions = _definitions(site)
        yield from _check_names(known, definitions)
        # The effect of other modules is unknown.
        if pricing == {HASHMAP}:
            yield from _check_metrics(known, definitions, now)
    elif known and pricing:
        yield doctor.warning(
            SUBJECT,
            f'hashmap has {len(known)} rules and is not enabled',
            'run `openstack rating module enable hashmap`',
        )


def _is_over(rule: Rule, now: datetime) -> bool:
    return rule.until is not None and rule.until <= now


def _definitions(site) -> Mapping[str, metrics.Metric]:
    """Return the definitions by the name that rules use; none if the file is wrong."""
    try:
        return {metric.published_name: metric for metric in site.driver.conf.values()}
    except errors.ConfigurationError:
        return {}


def _check_metrics(
    known: Iterable[Rule], definitions: Mapping[str, metrics.Metric], now: datetime
) -> Iterator[Finding]:
    """Yield metrics that cost nothing."""
    for name in definitions:
        mine = [rule for rule in known if rule.service == name]
        valid = [rule for rule in mine if rule.is_in_force(now)]
        if not mine:
            yield doctor.warning(SUBJECT, f'{name} has no price: no rule is of it', CREATE)
        elif not valid:
            first = min(rule.start for rule in mine if rule.start is not None)
            yield doctor.warning(
                SUBJECT,
                f'{name} has no price yet: its first rule begins at {timeframe.render(first)}',
                'give it a start in the past with force, if usage of before has a price too',
            )
        elif all(rule.type == rules.RATE for rule in valid):
            yield doctor.error(
                SUBJECT,
                f'{name} costs 0: its rules are all of the type rate, factors of no flat price',
                'create one of the type flat, in the same group',
            )
        elif all(rule.scope is not None for rule in valid):
            yield doctor.warning(
                SUBJECT,
                f'{name} has a price for {len({rule.scope for rule in valid})} scopes only, and '
                'costs all others nothing',
                'create a rule without tenant for the others',
            )


def _check_names(
    known: Iterable[Rule], definitions: Mapping[str, metrics.Metric]
) -> Iterator[Finding]:
    """Yield rules of services and fields that no metric has."""
    if not definitions:
        return
    for service in sorted({rule.service for rule in known} - definitions.keys()):
        yield doctor.warning(
            SUBJECT,
            f'rules of the service {service} never apply: no metric has this name',
            _rename('service', service, definitions),
        )
    for service, field in sorted({(rule.service, rule.field) for rule in known if rule.field}):
        metric = definitions.get(service)
        attributes = (*metric.groupby, *metric.metadata) if metric else ()
        if metric and field not in (*attributes, *timeframe.CALENDAR_KEYS):
            yield doctor.warning(
                SUBJECT,
                f'rules of the field {field} of {service} never apply: the metric has no such '
                'attribute',
                f'add it to groupby or metadata, or {_rename("field", field, attributes)}',
            )


def _rename(what: str, name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), 1, ALIKE)
    if near:
        return f'make a {what} {near[0]} with these rules'
    return f'make a {what} with one of these names: {", ".join(sorted(names)[:5])}'
