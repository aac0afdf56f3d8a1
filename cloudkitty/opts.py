"""Every option, for oslo.config's generator of the sample file and of the documentation."""

from cloudkitty import collector, conf, fetcher, plugins, pollster, rating
from cloudkitty.clients import keystone
from cloudkitty.storage import v1, v2
from cloudkitty.storage.former import rest, stores

# Sections of instances, which operators name.
INSTANCES = {f'{family}_NAME': [plugins.DRIVER_OPT] for family in ('collector', 'fetcher')}
FAMILIES = (
    fetcher.NAMESPACE,
    collector.NAMESPACE,
    rating.NAMESPACE,
    v1.NAMESPACE,
    v2.NAMESPACE,
    *map(pollster.namespace, pollster.NAMESPACES),
)
OURS = 'cloudkitty.'


def list_opts() -> list[tuple[str | None, list]]:
    """Return (section, options) of the service, its drivers, their instances, former stores."""
    return [
        *conf.GROUPS.items(),
        *_drivers().items(),
        *INSTANCES.items(),
        *stores.GROUPS.items(),
        (rest.GROUP, [*rest.OPTS, *keystone.plugin_options(rest.OPTS)]),
    ]


def _drivers():
    """Return the options of our drivers by section; foreign packages list their own."""
    found = {}
    for namespace in FAMILIES:
        for driver in plugins.load_all(namespace).values():
            if isinstance(driver, type) and driver.__module__.startswith(OURS) and driver.GROUP:
                found[driver.GROUP] = [*driver.OPTS, *keystone.plugin_options(driver.OPTS)]
    return found
