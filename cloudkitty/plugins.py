"""Loading drivers: ours and foreign ones alike are stevedore entry points."""

from importlib import metadata
from typing import NamedTuple

import stevedore
from oslo_config import cfg
from stevedore import exception

from cloudkitty import errors

# A name in the configuration longer than this does not fit into the row of a scope.
NAME_LENGTH_MAX = 40
# Option of a section `[FAMILY_NAME]`, which makes NAME an instance of a driver.
DRIVER_OPT = cfg.StrOpt(
    'driver', help='Driver of the instance that the section names; its options stand in the same '
                   'section. Without it, a name is that of a driver.')


class Instance(NamedTuple):
    """A driver, as the configuration names it.

    :ivar name: name of the driver, or that of a section with the option driver.
    :ivar driver: its class.
    :ivar group: section of its options; None: the driver's own.
    """

    name: str
    driver: type
    group: str | None


def find(conf: cfg.ConfigOpts, name: str, *, namespace: str, family: str, group: str,
         option: str) -> Instance:
    """Return the instance that *name* means.

    :param family: what the sections of instances begin with: `collector`, `fetcher`.
    :param group, option: what named it, for errors.
    :raises UnknownDriver, DriverLoadError: see load().
    :raises ConfigurationError: the name is too long.
    """
    if len(name) > NAME_LENGTH_MAX:
        raise errors.ConfigurationError(
            reason=f'[{group}]{option}: {name!r} has more than {NAME_LENGTH_MAX} characters')
    section = f'{family}_{name}'
    conf.register_opt(DRIVER_OPT, group=section)
    driver = conf[section].driver
    if driver:
        return Instance(name, load(namespace, driver, group=section, option='driver'), section)
    try:
        return Instance(name, load(namespace, name, group=group, option=option), None)
    except errors.UnknownDriver as exc:
        hint = f'{exc.facts["allowed"]}, or any name with a section [{section}] that has the ' \
               'option driver'
        raise errors.UnknownDriver(**{**exc.facts, 'allowed': hint}) from exc


def find_all(conf: cfg.ConfigOpts, wanted: list[str], *, namespace: str, family: str, group: str,
             option: str) -> list[Instance]:
    """Return the instances that a list in the configuration names, see find().

    :raises ConfigurationError: there are none, or one stands there twice.
    """
    twice = [name for name in wanted if wanted.count(name) > 1]
    if twice or not wanted:
        what = f'has {twice[0]!r} twice' if twice else f'is empty; allowed: names of {family}s'
        raise errors.ConfigurationError(reason=f'[{group}]{option} {what}')
    return [find(conf, name, namespace=namespace, family=family, group=group, option=option)
            for name in wanted]


def names(namespace: str) -> list[str]:
    """Return the names of the drivers installed in *namespace*, sorted; none is imported."""
    return sorted({entry.name for entry in metadata.entry_points(group=namespace)})


def load(namespace: str, name: str, *, group: str, option: str) -> type:
    """Return the driver class *name* of *namespace*.

    :param group: section of the option that named the driver, for the error.
    :param option: name of that option.
    :raises UnknownDriver: nothing of that name is installed.
    :raises DriverLoadError: it is installed and cannot be imported.
    """
    try:
        return stevedore.DriverManager(namespace, name, on_load_failure_callback=_raise,
                                       warn_on_missing_entrypoint=False).driver
    except exception.NoMatches as exc:
        raise errors.UnknownDriver(group=group, option=option, name=name,
                                   allowed=', '.join(names(namespace)) or 'none') from exc
    except (ImportError, AttributeError) as exc:
        raise errors.DriverLoadError(group=group, option=option, name=name, reason=exc) from exc


def load_all(namespace: str) -> dict[str, type | Exception]:
    """Return every driver of *namespace* by name; one that cannot be imported is its error."""
    found: dict[str, type | Exception] = {}
    manager = stevedore.ExtensionManager(
        namespace, on_load_failure_callback=lambda _, entry, exc: found.update({entry.name: exc}))
    found.update({extension.name: extension.plugin for extension in manager})
    return dict(sorted(found.items()))


def _raise(manager, entry_point, exc):
    raise exc
