"""Loading of drivers; ours and third-party ones alike are stevedore entry points."""

import importlib
import logging
from collections.abc import Iterable
from importlib import metadata
from typing import Any, NamedTuple, NoReturn

import stevedore
from oslo_config import cfg
from stevedore import exception

from cloudkitty import errors

LOG = logging.getLogger(__name__)

# A longer name would not fit into the row of a scope.
NAME_LENGTH_MAX = 40
# Option in a section `[FAMILY_NAME]` that makes NAME an instance of a driver.
DRIVER_OPT = cfg.StrOpt(
    'driver',
    help='Driver that this section configures; the options of the driver are set in the same '
    'section. Without a section the name is that of a driver.',
)


class Instance(NamedTuple):
    """A configured driver.

    :ivar name: name of the driver, or that of a section with the option driver.
    :ivar driver: its class.
    :ivar group: section of its options; None: the driver's own.
    """

    name: str
    driver: type[Any]
    group: str | None


def find(
    conf: cfg.ConfigOpts, name: str, *, namespace: str, family: str, group: str, option: str
) -> Instance:
    """Return the instance called *name*.

    :param family: prefix of the sections of instances: `collector`, `fetcher`.
    :param group, option: what named it, for errors.
    :raises UnknownDriver, DriverLoadError: see load().
    :raises ConfigurationError: the name is too long.
    """
    if len(name) > NAME_LENGTH_MAX:
        raise errors.ConfigurationError(
            reason=f'[{group}]{option}: {name!r} has more than {NAME_LENGTH_MAX} characters'
        )
    section = f'{family}_{name}'
    conf.register_opt(DRIVER_OPT, group=section)
    driver = conf[section].driver
    if driver:
        return Instance(name, load(namespace, driver, group=section, option='driver'), section)
    try:
        return Instance(name, load(namespace, name, group=group, option=option), None)
    except errors.UnknownDriver as exc:
        hint = (
            f'{exc.facts["allowed"]}, or any name with a section [{section}] that has the '
            'option driver'
        )
        raise errors.UnknownDriver(**{**exc.facts, 'allowed': hint}) from exc


def find_all(
    conf: cfg.ConfigOpts, wanted: list[str], *, namespace: str, family: str, group: str, option: str
) -> list[Instance]:
    """Return the instances that a list in the configuration names, see find().

    :raises ConfigurationError: the list is empty or has duplicates.
    """
    twice = [name for name in wanted if wanted.count(name) > 1]
    if twice or not wanted:
        what = f'has {twice[0]!r} twice' if twice else f'is empty; allowed: names of {family}s'
        raise errors.ConfigurationError(reason=f'[{group}]{option} {what}')
    return [
        find(conf, name, namespace=namespace, family=family, group=group, option=option)
        for name in wanted
    ]


def names(namespace: str) -> list[str]:
    """Return the names of the drivers installed in *namespace*, sorted; none is imported."""
    return sorted({entry.name for entry in metadata.entry_points(group=namespace)})


def is_ours(namespace: str, name: str) -> bool:
    """Return whether a driver is of this package, not of another one."""
    return any(
        entry.value.startswith('cloudkitty.')
        for entry in metadata.entry_points(group=namespace, name=name)
    )


def load(namespace: str, name: str, *, group: str, option: str) -> type[Any]:
    """Return the driver class *name* of *namespace*.

    :param group: section of the option that named the driver, for the error.
    :param option: name of that option.
    :raises UnknownDriver: nothing of that name is installed.
    :raises DriverLoadError: it is installed and cannot be imported.
    """
    try:
        manager: stevedore.DriverManager[Any] = stevedore.DriverManager(
            namespace, name, on_load_failure_callback=_raise, warn_on_missing_entrypoint=False
        )
    except exception.NoMatches as exc:
        raise errors.UnknownDriver(
            group=group, option=option, name=name, allowed=', '.join(names(namespace)) or 'none'
        ) from exc
    except (ImportError, AttributeError) as exc:
        raise errors.DriverLoadError(group=group, option=option, name=name, reason=exc) from exc
    driver: Any = manager.driver
    return driver


def load_all(namespace: str) -> dict[str, type[Any] | BaseException]:
    """Return every driver of *namespace* by name, or its error if it cannot be imported."""
    found: dict[str, type[Any] | BaseException] = {}
    manager: stevedore.ExtensionManager[Any] = stevedore.ExtensionManager(
        namespace, on_load_failure_callback=lambda _, entry, exc: found.update({entry.name: exc})
    )
    found.update({extension.name: extension.plugin for extension in manager})
    return dict(sorted(found.items()))


def load_enabled(
    conf: cfg.ConfigOpts,
    kind: str,
    group: str,
    namespaces: Iterable[str],
    every: Iterable[str] | None = None,
) -> list[tuple[str, Any]]:
    """Return name and plug-in of all that are installed and are to work.

    A plug-in is built with *conf*, and says by is_enabled() whether there is anything to do for it,
    with `reason` for the log if not.

    :param kind: what they are, for the log and errors.
    :param group: section of the option `disabled`, the names of those that are not to work.
    :param every: all namespaces whose names that option may have; None: *namespaces*.
    :raises ConfigurationError: the option has a name that nobody has, or an option of a plug-in is
        wrong.
    :raises DriverLoadError: one of ours cannot be imported.
    """
    namespaces, disabled = list(namespaces), conf[group].disabled
    known = sorted({name for where in every or namespaces for name in names(where)})
    unknown = sorted(set(disabled) - set(known))
    if unknown:
        raise errors.ConfigurationError(
            reason=f'[{group}]disabled: there is no {kind} {unknown[0]!r}; allowed: '
            f'{", ".join(known)}'
        )
    built = [
        (name, _build(conf, kind, group, where, name, plugin))
        for where in namespaces
        for name, plugin in load_all(where).items()
        if name not in disabled
    ]
    return [(name, plugin) for name, plugin in built if plugin is not None]


def _build(
    conf: cfg.ConfigOpts,
    kind: str,
    group: str,
    namespace: str,
    name: str,
    plugin: type[Any] | BaseException,
) -> Any:
    """Return a plug-in; None: it is not to work, which is logged."""
    title = f'{kind.capitalize()} {name}'
    if isinstance(plugin, BaseException):
        if is_ours(namespace, name):
            raise errors.DriverLoadError(
                group=group, option='disabled', name=name, reason=plugin
            ) from plugin
        LOG.error('%s is left out, it cannot be imported: %s', title, plugin)
        return None
    try:
        made = plugin(conf)
        is_enabled = made.is_enabled()
    except (errors.ServiceError, cfg.Error):
        raise
    # A plug-in of another package must not keep ours from working.
    except Exception as exc:
        if is_ours(namespace, name):
            raise
        LOG.error('%s is left out: %s: %s', title, type(exc).__name__, exc)
        return None
    if is_enabled:
        return made
    LOG.info('%s is off: %s', title, getattr(made, 'reason', '') or 'it says so')
    return None


def import_extra(reason: str, *modules: str) -> Any:
    """Return the first of *modules* with the others imported: those of a package of an extra.

    :param reason: what needs it and how it is installed, for the error.
    :raises NotInstalled: it is not.
    """
    try:
        return [importlib.import_module(name) for name in modules][0]
    except ImportError as exc:
        raise errors.NotInstalled(reason=reason) from exc


def is_current(kind: type, shortcut: str, *methods: str) -> bool:
    """Return whether *kind* has the method *shortcut*, and no subclass of it overrides *methods*.

    A shortcut does in one call what the methods do step by step. A driver derived from one of ours
    may override a method without knowing the shortcut.
    """
    for base in kind.__mro__:
        if shortcut in vars(base):
            return vars(base)[shortcut] is not None
        if not vars(base).keys().isdisjoint(methods):
            return False
    return False


def _raise(
    manager: stevedore.ExtensionManager[Any], entry_point: metadata.EntryPoint, exc: BaseException
) -> NoReturn:
    raise exc
