"""cloudkitty-storage-init: prepare the storage of rated data and the other tables."""

import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, storage
from cloudkitty.cli import adopting, dbsync, manual
from cloudkitty.db import migration


def main() -> None:
    manual.run(_main, MANUAL)


def _main():
    conf = configuration.load(sys.argv[1:], conf=cfg.CONF)
    driver = storage.get_driver(conf)
    # Scopes and their progress are in the SQL database, whatever the store is.
    database = db.Database(conf)
    is_former = migration.upgrade(database, adopter=adopting.adopter(database, conf))
    driver.init()
    if is_former:
        adopting.print_next_steps(conf, database, dbsync.ADOPTED)


MANUAL = manual.Manual(
    'Prepare the storage of rated data and the schema of the SQL database.',
    (
        '',
        '--config-file /etc/cloudkitty/cloudkitty.conf',
    ),
)
