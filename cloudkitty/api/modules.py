"""Rating modules as v1 and v2 show and change them: what is installed, and its state."""

from typing import NamedTuple

from cloudkitty import errors
from cloudkitty.api import hooks
from cloudkitty.db import modules


class Module(NamedTuple):
    """One module; the order of members is that of answers."""

    module_id: str
    description: str
    enabled: bool
    hot_config: bool
    priority: int


def list_modules(services: hooks.Services) -> list[Module]:
    """Return every installed module, by name."""
    with services.database.reader() as connection:
        states = modules.states(connection)
    return [_describe(services, name, states.get(name, modules.State()))
            for name in sorted(services.modules)]


def get_module(services: hooks.Services, name: str) -> Module:
    """Return one module.

    :raises NotFound: it is not installed.
    """
    if name not in services.modules:
        raise errors.NotFound(reason='Module not found.')
    with services.database.reader() as connection:
        return _describe(services, name, modules.get(connection, name))


def update_module(services: hooks.Services, name: str, *, enabled: bool | None = None,
                  priority: int | None = None) -> None:
    """Set what is not None; the same twice changes nothing.

    :raises NotFound: it is not installed.
    """
    if name not in services.modules:
        raise errors.NotFound(reason='Module not found.')
    services.database.write(lambda connection: modules.update(
        connection, name, enabled=enabled, priority=priority))


def _describe(services, name, state):
    module = services.modules[name]
    return Module(name, module.description, state.enabled, bool(module.hot_config), state.priority)
