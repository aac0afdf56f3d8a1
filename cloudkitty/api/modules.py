"""Reading and updating of rating modules for v1 and v2."""

from cloudkitty import errors
from cloudkitty.api import audit, hooks
from cloudkitty.audit import snapshots
from cloudkitty.rating import module_state as db_modules
from cloudkitty.rating.modules import Description


def get_module(services: hooks.Services, name: str) -> Description:
    """Return one module.

    :raises NotFound: it is not installed.
    """
    for module in services.modules.describe():
        if module.module_id == name:
            return module
    raise errors.NotFound(reason='Module not found.')


def update_module(
    services: hooks.Services, name: str, *, enabled: bool | None = None, priority: int | None = None
) -> None:
    """Set the values that are not None; idempotent.

    :raises NotFound: it is not installed.
    """
    get_module(services, name)
    audit.write(
        lambda connection: db_modules.update(connection, name, enabled=enabled, priority=priority),
        snapshots.MODULE,
        name,
    )
    if enabled is not None:
        services.bus.module_changed(name, enabled=enabled)
    if priority is not None:
        services.bus.module_changed(name)


def reload_modules(services: hooks.Services) -> None:
    """Make every rating process reload all rules at its next read of the database."""
    names = sorted(module.module_id for module in services.modules.describe())

    def change(connection):
        for name in names:
            db_modules.bump_version(connection, name)

    services.database.write(change)
    services.bus.orders_changed()
