"""cloudkitty-dbsync: make or upgrade the schema of the SQL database."""

import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors
from cloudkitty.db import migration

# One tree holds all tables; the names are those of the trees that earlier releases had.
MODULES = ('cloudkitty', 'hashmap')
REVISION_HELP = 'a revision, base or head (default)'


def main() -> None:
    configuration.run(_main)


def _main():
    conf = cfg.CONF
    conf.register_cli_opt(cfg.SubCommandOpt('command', title='commands', handler=_add_commands))
    configuration.load(sys.argv[1:], conf=conf)
    _check_module(conf.command.module)
    return conf.command.run(db.Database(conf), conf.command)


def _add_commands(subparsers):
    """Declare the commands, with the arguments that operators' scripts already give."""
    for name, run, text in (('upgrade', _upgrade, 'make the schema, or bring it to a revision'),
                            ('stamp', _stamp, 'record a revision and change nothing else'),
                            ('revision', _revision, 'write a new revision script (developers)'),
                            ('version', _version, 'print the revision of the database')):
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.add_argument('--module', nargs='?', metavar='NAME',
                            help=f'accepted and not needed: {", ".join(MODULES)}')
        parser.set_defaults(run=run)
        if name in ('upgrade', 'stamp'):
            parser.add_argument('--revision', nargs='?', default='head', const='head',
                                help=REVISION_HELP)
        if name == 'revision':
            parser.add_argument('-m', '--message', help='what the revision does')
            parser.add_argument('--autogenerate', action='store_true',
                                help='fill it with what the models have and the database has not')


def _check_module(module):
    if module is not None and module not in MODULES:
        raise errors.InvalidInput(
            reason=f'--module: unknown module {module!r}; allowed: {", ".join(MODULES)}')


def _upgrade(database, arguments):
    migration.upgrade(database, arguments.revision)


def _stamp(database, arguments):
    migration.stamp(database, arguments.revision)


def _revision(database, arguments):
    print(migration.create_revision(database, arguments.message,
                                    autogenerate=arguments.autogenerate))


def _version(database, arguments):
    print(migration.version(database) or 'none')
