"""Storage of rated data. Drivers have interface 1 or 2; the service only uses interface 2."""

from oslo_config import cfg

from cloudkitty import errors, plugins
from cloudkitty.storage import v1, v2
from cloudkitty.storage.v2.series.driver import SeriesStorage

# Backends that only earlier releases have.
FORMER_STORES = ('influxdb', 'elasticsearch', 'opensearch', 'loki', 'hybrid')


def get_driver(conf: cfg.ConfigOpts) -> v2.BaseStorage:
    """Return the storage that [storage]backend names; one of interface 1 behind an adapter.

    :raises ConfigurationError: no such driver, or its options are wrong.
    """
    namespace = v1.NAMESPACE if conf.storage.version == 1 else v2.NAMESPACE
    name = conf.storage.backend
    if name in FORMER_STORES and name not in plugins.names(namespace):
        raise errors.ConfigurationError(reason=explain_former(name))
    driver = plugins.load(namespace, name, group='storage', option='backend')(conf)
    used: v2.BaseStorage = driver.as_v2() if conf.storage.version == 1 else driver
    return used


def get_series_driver(conf: cfg.ConfigOpts, name: str | None = None) -> SeriesStorage:
    """Return the storage whose points can be read and written whole, see SeriesStorage.cells.

    :param name: sql or clickhouse; None: clickhouse if it is configured, or else sql, whatever
        another release or driver is configured.
    """
    if name is None:
        is_clickhouse = (conf.storage.version, conf.storage.backend) == (2, 'clickhouse')
        name = 'clickhouse' if is_clickhouse else 'sql'
    made: SeriesStorage = plugins.load(v2.NAMESPACE, name, group='storage', option='backend')(conf)
    return made


def explain_former(name: str) -> str:
    """Return what to do about [storage]backend = *name*, a store of earlier releases."""
    if name == 'hybrid':
        return (
            "[storage]backend: 'hybrid' kept no quantities and cannot be read; set version = 2 and "
            'backend = sql: what is rated from now on is kept in the SQL database'
        )
    return (
        f'[storage]backend: {name!r} is only read, by `cloudkitty-storage import --from {name}`; '
        'set backend = sql (or remove it)'
    )
