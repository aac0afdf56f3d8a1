"""Locks, message bus, Keystone and storage: whether they answer with the given credentials."""

from collections.abc import Iterator

from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading, session
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import doctor, errors, locks, rpc, storage
from cloudkitty.api import app, middleware
from cloudkitty.clients import keystone
from cloudkitty.doctor import Finding
from cloudkitty.doctor.site import Site
from cloudkitty.processor import service

CONNECT_S = 5


def check_locks(site: Site) -> Iterator[Finding]:
    """Yield problems of the lock service."""
    subject = 'lock service'
    try:
        locks.check(site.conf.orchestrator.coordination_url)
    except errors.ConfigurationError as exc:
        remedy = 'start the lock service, or correct the URL: nothing is rated without it'
        yield doctor.error(subject, str(exc), remedy)
        return
    remark = service.lock_remark(site.conf, site.database)
    if remark:
        remedy = 'choose a lock service before a second host runs cloudkitty-processor'
        yield doctor.warning(subject, remark, remedy)


def check_bus(site: Site) -> Iterator[Finding]:
    """Yield each broker that does not answer, or refuses the account."""
    for address, reason in rpc.list_unreachable(site.conf):
        yield doctor.warning(
            'message bus',
            f'[DEFAULT]transport_url: {address}: {reason}',
            'start the broker, or correct account and virtual host: orders wait up to a minute '
            'without it',
        )


def check_keystone(site: Site) -> Iterator[Finding]:
    """Yield why the account of [keystone_authtoken] gets no token, or clients find no endpoint."""
    conf = site.conf
    if conf.auth_strategy != 'keystone':
        return
    for group, options in app.library_options(conf):
        configuration.register_driver(conf, group, options)
    try:
        opened = _session(conf)
        opened.get_token()
    except (keystone_exceptions.ClientException, cfg.Error) as exc:
        reason = ' '.join(str(exc).split())
        yield doctor.error(
            'Keystone',
            f'[keystone_authtoken]: {reason}',
            'correct auth_url and account: the API refuses all callers so far',
        )
        return
    try:
        opened.get_endpoint(service_type=middleware.SERVICE_TYPE)
    except keystone_exceptions.CatalogException:
        yield doctor.warning(
            'Keystone',
            'the catalog has no endpoint of the type rating: clients do not find the API',
            'run `openstack service create rating --name cloudkitty`, then create its endpoints',
        )


def _session(conf):
    options = conf.keystone_authtoken
    keystone.register_auth_section(conf, 'keystone_authtoken')
    auth = loading.load_auth_from_conf_options(conf, 'keystone_authtoken')
    if auth is None:
        raise keystone_exceptions.MissingRequiredOptions([loading.Opt('auth_type')])
    verify = False if options.insecure else options.cafile or True
    return session.Session(auth, verify=verify, timeout=CONNECT_S)


def check_storage(site: Site) -> Iterator[Finding]:
    """Yield why rated data cannot be read."""
    begin = site.now()
    storage.get_driver(site.conf).total(begin=begin, end=begin, limit=1)
    if site.conf.storage.version == 1:
        yield doctor.warning(
            'storage',
            '[storage]version = 1: the table of earlier releases keeps 5 digits of quantities',
            'copy it with `cloudkitty-storage migrate`, and set version = 2, backend = sql',
        )
