"""Unknown options in the configuration files, with the names that were probably meant."""

import difflib
import itertools
import logging
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from oslo_config import cfg

from cloudkitty import opts, plugins, rpc

LOG = logging.getLogger(__name__)

# Libraries that the service configures, by their entry points.
LIBRARIES = (
    'cotyledon',
    'keystonemiddleware.auth_token',
    'oslo.db',
    'oslo.log',
    'oslo.messaging',
    'oslo.middleware.cors',
    'oslo.middleware.healthcheck',
    'oslo.middleware.http_proxy_to_wsgi',
    'oslo.middleware.sizelimit',
    'oslo.policy',
)
# Sections that installers write for libraries that this service does not use; harmless.
FOREIGN_SECTIONS = (
    'audit_middleware_notifications',
    'oslo_concurrency',
    'oslo_messaging_notifications',
    'oslo_reports',
    'profiler',
)
# What to do instead; an option None stands for its whole section.
MEANINGS: Mapping[tuple[str, str | None], str] = {
    ('DEFAULT', 'verbose'): 'set debug = true to log more',
    ('api', 'host_ip'): 'the WSGI server decides where the API listens',
    ('api', 'pecan_debug'): 'set [DEFAULT]debug = true to log more',
    ('collect', 'services'): 'the file of metrics_conf names what is rated',
    ('collect', 'window'): '[orchestrator]batch_periods bounds what is collected at once',
    ('keystone_authtoken', 'auth_uri'): 'did you mean www_authenticate_uri?',
    ('output', None): 'the API answers reports, `cloudkitty-storage export` writes files',
    ('state', None): 'the progress of scopes is in the database',
    ('storage_influxdb', 'user'): 'did you mean username?',
    ('tenant_fetcher', 'backend'): 'did you mean [fetcher]backend?',
}
# Sections whose options mean the same wherever somebody writes them.
DISTINCT_SECTIONS = ('collect', 'orchestrator')
# Least similarity of a misspelt name to the right one.
ALIKE = 0.75
WARNINGS_MAX = 20


class Unread(NamedTuple):
    """An unknown option.

    :ivar meaning: what was probably meant, or what to do; None: unknown.
    """

    section: str
    name: str
    meaning: str | None

    def __str__(self) -> str:
        return f'[{self.section}]{self.name}'

    def explain(self) -> str:
        """Return one sentence: what it is and what to do."""
        if self.meaning is None:
            return f'{self} has no effect'
        if self.meaning.startswith('did you mean'):
            return f'{self}: no such option; {self.meaning}'
        return f'{self} has no effect: {self.meaning}'


def files_of(conf: cfg.ConfigOpts) -> list[pathlib.Path]:
    """Return the configuration files that *conf* was read from, in their order."""
    folders = [pathlib.Path(folder) for folder in conf.config_dir or []]
    return [
        *map(pathlib.Path, conf.config_file or []),
        *itertools.chain.from_iterable(sorted(folder.glob('*.conf')) for folder in folders),
    ]


def list_unread(conf: cfg.ConfigOpts) -> list[Unread]:
    """Return the unknown options in the files of *conf*, each once."""
    written = _written(files_of(conf))
    known = _known(written)
    return [
        Unread(section, name, _meaning(section, name, known))
        for section, values in written.items()
        for name in values
        if section not in FOREIGN_SECTIONS and _plain(name) not in known.get(section, ())
    ]


def warn(conf: cfg.ConfigOpts) -> None:
    """Log which files were read, and a warning for options in them that have no effect.

    One for each that was probably meant otherwise, and one for all others.
    """
    files = ', '.join(map(str, files_of(conf)))
    if files:
        LOG.info('Configuration: %s', files)
    else:
        LOG.warning('No configuration file was found: every option has its default')
    unread = list_unread(conf)
    told = [one for one in unread if one.meaning][:WARNINGS_MAX]
    for one in told:
        LOG.warning('%s', one.explain())
    others = [str(one) for one in unread if one not in told]
    if others:
        LOG.warning(
            '%d further options have no effect, such as %s; `cloudkitty-status upgrade check` '
            'lists them',
            len(others),
            ', '.join(others[:3]),
        )


def _written(files: Iterable[os.PathLike[str]]) -> dict[str, dict[str, str]]:
    """Return the last value of each option in *files* by section and name."""
    found: dict[str, dict[str, str]] = {}
    for path in files:
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(os.fspath(path), sections).parse()
        for section, values in sections.items():
            for name, texts in values.items():
                found.setdefault(section, {})[name] = texts[-1]
    return found


def _known(written: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """Return the names of all options by section; some depend on what is *written*."""
    known: dict[str, set[str]] = {}
    for section, options in (*opts.list_opts(), *_library_options(), *_foreign_drivers()):
        _add(known, section or 'DEFAULT', options)
    for section, values in written.items():
        _add(known, section, _instance_options(section, values))
        # A section may take the account of another one.
        shared = values.get('auth_section', section)
        _add(known, shared, _account_options(written.get(shared, {}), is_shared=shared != section))
    return known


def _add(known, section, options):
    for option in options:
        known.setdefault(section, set()).update({_plain(option.name), option.dest})
        for former in option.deprecated_opts:
            # Either part may be missing, which means that of the option itself.
            name = _plain(former.name or option.name)
            known.setdefault(former.group or section, set()).add(name)


def _plain(name):
    return name.replace('-', '_')


def _library_options() -> Iterator[tuple[str | None, list[cfg.Opt]]]:
    # First, because oslo.service must use threads before the options of oslo.messaging are loaded.
    assert rpc.TOPIC
    for entry in metadata.entry_points(group='oslo.config.opts'):
        if entry.name in LIBRARIES:
            for group, options in entry.load()():
                yield getattr(group, 'name', group), options


def _foreign_drivers() -> Iterator[tuple[str, list[cfg.Opt]]]:
    for namespace in opts.FAMILIES:
        for driver in plugins.load_all(namespace).values():
            if isinstance(driver, type) and driver.GROUP:
                yield driver.GROUP, driver.OPTS


def _instance_options(section, values) -> list[cfg.Opt]:
    """Return the options of a section that is an instance of a driver."""
    if 'driver' not in values or not section.startswith(('collector_', 'fetcher_')):
        return []
    drivers = {
        name: driver
        for namespace in opts.FAMILIES
        if namespace.split('.')[1].startswith(section.partition('_')[0])
        for name, driver in plugins.load_all(namespace).items()
    }
    return [plugins.DRIVER_OPT, *getattr(drivers.get(values['driver']), 'OPTS', ())]


def _account_options(values, *, is_shared) -> list[cfg.Opt]:
    """Return the options of keystoneauth in a section that names a way to authenticate."""
    kind = values.get('auth_type') or values.get('auth_plugin')
    if kind is None and not is_shared:
        return []
    try:
        plugin = loading.get_auth_plugin_conf_options(kind or 'password')
    except keystone_exceptions.NoMatchingPlugin:
        plugin = []
    return [
        *plugin,
        *loading.get_auth_common_conf_options(),
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(),
    ]


def _meaning(section, name, known) -> str | None:
    told = MEANINGS.get((section, name)) or MEANINGS.get((section, None))
    if told:
        return told
    plain = _plain(name)
    # Sections of earlier releases were named the other way round: [keystone_fetcher].
    swapped = '_'.join(reversed(section.split('_')))
    similar = difflib.get_close_matches(section, known, 1, ALIKE) if section not in known else []
    for other in (swapped, *similar, *DISTINCT_SECTIONS):
        if plain in known.get(other, ()):
            return f'did you mean [{other}]{plain}?'
    near = difflib.get_close_matches(plain, known.get(section, ()), 1, ALIKE)
    return f'did you mean {near[0]}?' if near else None
