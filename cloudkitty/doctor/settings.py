"""Configuration: options that are misspelt, without effect, unsafe, or remove data."""

import ipaddress
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import yaml
from oslo_policy import opts as policy_opts

from cloudkitty import conf as configuration
from cloudkitty import doctor, storage
from cloudkitty.api import paste
from cloudkitty.doctor import Finding, options, web_server
from cloudkitty.doctor.site import Site

SUBJECT = 'configuration'
# Bills may be checked and disputed at least this long.
RETENTION_MIN_H = 24 * 62
SECONDS_OF_DAY = 86400


def check(site: Site) -> Iterator[Finding]:
    """Yield problems of the values in the configuration files."""
    yield from _check_options(site.conf)
    yield from _check_storage(site)
    yield from _check_access(site.conf)
    yield from _check_policy(site.conf)
    if SECONDS_OF_DAY % site.conf.collect.period:
        yield doctor.warning(
            SUBJECT,
            f'[collect]period = {site.conf.collect.period} does not divide a day: sums by day and '
            'by month hold parts of periods',
            'take 3600, before anything is rated',
        )


def check_web_server(site: Site) -> Iterator[Finding]:
    """Yield problems of the Apache and uWSGI files that serve the API."""
    yield from web_server.check_entries(site.root)
    yield from web_server.check_settings(site.conf.api.threads, site.root)


def _check_options(conf):
    for one in options.list_unread(conf):
        yield doctor.warning(
            SUBJECT, one.explain(), 'remove it, or correct its name; the default counts so far'
        )
    told = paste.read(conf).explain()
    if told:
        yield doctor.warning(SUBJECT, told, 'remove the option, or move what the filters do')


def _check_storage(site):
    conf = site.conf
    if conf.storage.backend in storage.FORMER_STORES:
        yield doctor.error(
            SUBJECT, storage.explain_former(conf.storage.backend), 'set [storage]backend = sql'
        )
    hours, sums_hours = conf.storage.retention_period, conf.storage.rollup_retention_period
    if hours is not None and hours < RETENTION_MIN_H:
        last = site.now() - timedelta(hours=hours)
        yield doctor.warning(
            SUBJECT,
            f'[storage]retention_period = {hours}: points before {last:%Y-%m-%d} are removed, '
            'also those of the month before that may not be billed yet',
            'remove the option, or keep two months: 1488 hours',
        )
    if sums_hours is not None and sums_hours < (hours or RETENTION_MIN_H):
        yield doctor.warning(
            SUBJECT,
            f'[storage]rollup_retention_period = {sums_hours}: sums go before the points',
            'make it longer than retention_period',
        )


def _check_access(conf):
    if conf.auth_strategy == 'noauth' and not _is_loopback(conf.api.host):
        yield doctor.error(
            SUBJECT,
            f'[DEFAULT]auth_strategy = noauth and [api]host = {conf.api.host}: whoever reaches '
            'the API is the administrator',
            'set auth_strategy = keystone, or host = 127.0.0.1',
        )


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _check_policy(conf):
    for group, policy_options in policy_opts.list_opts():
        configuration.register_driver(conf, group, policy_options)
    former = conf.find_file('policy.json')
    path = conf.find_file(conf.oslo_policy.policy_file)
    if path is None and former is not None:
        yield doctor.error(
            SUBJECT, f'{former} is not read: the default rules count', 'convert it to policy.yaml'
        )
    if path is None:
        return
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, json.JSONDecodeError) as exc:
        reason = str(exc).partition('\n')[0]
        yield doctor.error(SUBJECT, f'{path} cannot be read: {reason}', 'correct the file')
        return
    if content is not None and not isinstance(content, dict):
        yield doctor.error(SUBJECT, f'{path} holds no rules', 'write NAME: RULE, one a line')
