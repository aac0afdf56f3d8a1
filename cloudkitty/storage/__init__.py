"""Where rated data is kept. Two interfaces of drivers; all else sees the second."""

from oslo_config import cfg

from cloudkitty import plugins
from cloudkitty.storage import v1, v2


def get_driver(conf: cfg.ConfigOpts) -> v2.BaseStorage:
    """Return the storage that [storage]backend names; one of interface 1 behind an adapter.

    :raises ConfigurationError: no such driver, or its options are wrong.
    """
    namespace = v1.NAMESPACE if conf.storage.version == 1 else v2.NAMESPACE
    driver = plugins.load(namespace, conf.storage.backend, group='storage', option='backend')(conf)
    return driver.as_v2() if conf.storage.version == 1 else driver
