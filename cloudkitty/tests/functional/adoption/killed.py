"""Adopt a database as if it were killed at the begin of each step: a program for the tests.

On MariaDB, which keeps what was done, a run is killed when it comes to its second step; on
PostgreSQL, which undoes it, run N is killed when it comes to step N. Prints how many were killed.
"""

import os
import signal
import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.tests.functional.adoption import conftest


def _adopt_and_die(connection_url, zone_name, step):
    conf = configuration.read([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', connection_url, 'database')
    left = [step]

    def tell(line):
        left[0] -= line.startswith('step: ')
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    conftest.adopt(db.Database(conf), zone_name, tell=tell)


def main(connection_url, zone_name):
    kills = 0
    while True:
        pid = os.fork()
        if pid == 0:
            keeps = connection_url.startswith('mysql')
            _adopt_and_die(connection_url, zone_name, 2 if keeps else kills + 1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            print(kills)
            return os.waitstatus_to_exitcode(status)
        kills += 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
