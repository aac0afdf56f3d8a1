"""cloudkitty-storage-init: prepare the store of rated data and the tables beside it."""

import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, storage
from cloudkitty.db import migration


def main() -> None:
    configuration.run(_main)


def _main():
    conf = configuration.load(sys.argv[1:], conf=cfg.CONF)
    driver = storage.get_driver(conf)
    # Scopes and their progress are in the SQL database, whatever the store is.
    migration.upgrade(db.Database(conf))
    driver.init()
