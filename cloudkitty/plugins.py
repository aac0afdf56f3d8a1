"""Loading drivers: ours and foreign ones alike are stevedore entry points."""

from importlib import metadata

import stevedore
from stevedore import exception

from cloudkitty import errors


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
