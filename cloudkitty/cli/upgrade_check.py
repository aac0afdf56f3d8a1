"""cloudkitty-status upgrade check: obstacles to an upgrade to this release, and its effects.

Table, JSON and exit status are those of oslo.upgradecheck, which OpenStack installers parse.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

import prettytable
from oslo_config import cfg
from oslo_policy import opts as policy_opts

from cloudkitty import conf as configuration
from cloudkitty import db, errors, locks, storage
from cloudkitty.api import paste
from cloudkitty.core import timeframe
from cloudkitty.db import migration
from cloudkitty.db.adoption import heads, zone
from cloudkitty.doctor import options, web_server
from cloudkitty.processor import service

TITLE = 'Upgrade Check Results'


class Code(IntEnum):
    """Result codes of checks; the highest of all is the exit status."""

    SUCCESS = 0
    WARNING = 1
    FAILURE = 2


class Result(NamedTuple):
    """Result of a check; *details* is None on success."""

    code: Code
    details: str | None = None


OK = Result(Code.SUCCESS)


def storage_version(conf: cfg.ConfigOpts) -> Result:
    """Warn of the older interface of storage."""
    if conf.storage.version >= 2:
        return OK
    return Result(
        Code.WARNING,
        'Storage version is inferior to 2. Support for v1 storage will be dropped in a future '
        'release.',
    )


def policy_file(conf: cfg.ConfigOpts) -> Result:
    """Fail when the policy file is JSON, which is not read any more."""
    for group, policy_options in policy_opts.list_opts():
        configuration.register_driver(conf, group, policy_options)
    path = conf.find_file(conf.oslo_policy.policy_file)
    former = conf.find_file('policy.json')
    if path is None and former is not None:
        return Result(Code.FAILURE, f'{former} is not read: convert it to policy.yaml')
    if path is None or not _is_json(path):
        return OK
    return Result(Code.FAILURE, f'{path} is JSON: convert it to YAML')


def _is_json(path):
    try:
        with open(path) as file:
            json.load(file)
    except (ValueError, OSError):
        return False
    return True


def database_schema(conf: cfg.ConfigOpts) -> Result:
    """Fail when the database does not hold the schema that this release needs."""
    try:
        migration.check(db.Database(conf))
    except errors.ServiceError as exc:
        return Result(Code.FAILURE, str(exc))
    return OK


def former_storage(conf: cfg.ConfigOpts) -> Result:
    """Fail when rated data is to be kept in a store that this release does not have."""
    name = conf.storage.backend
    if name not in storage.FORMER_STORES:
        return OK
    return Result(Code.FAILURE, storage.explain_former(name))


def retention_period(conf: cfg.ConfigOpts) -> Result:
    """Warn that an option without effect in earlier releases removes points."""
    hours = conf.storage.retention_period
    if hours is None:
        return OK
    last = datetime.now(UTC) - timedelta(hours=hours)
    return Result(
        Code.WARNING,
        f'[storage]retention_period = {hours}: rated points before {timeframe.render(last)[:10]} '
        'are removed, which earlier releases did not do',
    )


def unread_options(conf: cfg.ConfigOpts) -> Result:
    """Warn of options in the files that nothing reads, with what was probably meant."""
    unread = options.list_unread(conf)
    if not unread:
        return OK
    return Result(Code.WARNING, '; '.join(one.explain() for one in unread))


def paste_file(conf: cfg.ConfigOpts) -> Result:
    """Warn of filters in the paste file of earlier releases, which is not loaded."""
    told = paste.read(conf).explain()
    return Result(Code.WARNING, told) if told else OK


def rule_time_zone(conf: cfg.ConfigOpts) -> Result:
    """Warn if an adoption would take times of rules for ones of a zone other than UTC."""
    try:
        if migration.version(db.Database(conf)) is not None or not _is_former(conf):
            return OK
        own = zone.named(None)
    except errors.InvalidInput as exc:
        return Result(Code.WARNING, str(exc))
    except errors.ServiceError:
        # The check of the schema says why.
        return OK
    if zone.is_utc(own):
        return OK
    return Result(
        Code.WARNING,
        f'`cloudkitty-dbsync upgrade` takes the times of rules for times of {own.key}, the zone of '
        'this machine: name the zone of the host of the former API with --timezone if it differs',
    )


def _is_former(conf):
    database = db.Database(conf)
    if not database.url.startswith('sqlite'):
        with database.reader() as connection:
            return bool(heads.version_tables(connection))
    return False


def lock_service(conf: cfg.ConfigOpts) -> Result:
    """Fail when the lock service does not answer, warn when it does not suit."""
    try:
        locks.check(conf.orchestrator.coordination_url)
        remark = service.lock_remark(conf, db.Database(conf))
    except errors.ServiceError as exc:
        return Result(Code.FAILURE, str(exc))
    return Result(Code.WARNING, remark) if remark else OK


def wsgi_entry(conf: cfg.ConfigOpts) -> Result:
    """Fail when a web server's file names an entry point that is not there."""
    found = list(web_server.check_entries())
    if not found:
        return OK
    return Result(Code.FAILURE, '; '.join(f'{one.what}; {one.remedy}' for one in found))


CHECKS: tuple[tuple[str, Callable[[cfg.ConfigOpts], Result]], ...] = (
    ('Storage version', storage_version),
    ('Policy File JSON to YAML Migration', policy_file),
    ('Database schema', database_schema),
    ('Former storage', former_storage),
    ('Retention period', retention_period),
    ('Options without effect', unread_options),
    ('API paste file', paste_file),
    ('Rule time zone', rule_time_zone),
    ('Lock service', lock_service),
    ('WSGI entry', wsgi_entry),
)


def run(conf: cfg.ConfigOpts, *, is_json: bool) -> int:
    """Print what all checks found; return the exit status."""
    results = [(name, check(conf)) for name, check in CHECKS]
    print(_json(results) if is_json else _table(results))
    return max(result.code for _, result in results)


def _json(results):
    checks = [
        {'check': name, 'result': int(result.code), 'details': result.details}
        for name, result in results
    ]
    return json.dumps({'name': TITLE, 'checks': checks})


def _table(results):
    table = prettytable.PrettyTable([TITLE], hrules=prettytable.HRuleStyle.ALL, align='l')
    table.max_width = 60
    for name, result in results:
        table.add_row(
            [f'Check: {name}\nResult: {result.code.name.title()}\nDetails: {result.details}']
        )
    return table
