"""cloudkitty-dbsync: create or upgrade the schema of the SQL database."""

import pathlib
import sys
from datetime import timedelta

from oslo_config import cfg

from cloudkitty import db, errors
from cloudkitty.cli import adopting, manual
from cloudkitty.db import migration
from cloudkitty.db.adoption import release

# All tables are in one alembic tree; the names are those of the trees of earlier releases.
MODULES = ('cloudkitty', 'hashmap', 'pyscripts')
REHEARSED = (
    'nothing was changed; next: stop the API and the processor of the earlier CloudKitty, make a '
    'copy of the database, and run this without --dry-run'
)
ADOPTED = (
    'next: see `cloudkitty-status upgrade check`, start the processor and the API, and see '
    '`cloudkitty-status doctor`'
)
COPY_REHEARSED = 'nothing was changed; next: run this without --dry-run'
COPIED = (
    'next: start the processor and the API on this database, and run this again for what changes '
    'in the former one meanwhile'
)
RELEASE_REHEARSED = (
    'nothing was changed; next: stop the API and the processor, and run this without --dry-run'
)
REVISION_HELP = 'a revision, base or head (default)'


def main() -> None:
    manual.run(_main, MANUAL)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf)
    _check_module(conf.command.module)
    return conf.command.run(db.Database(conf), conf.command, conf)


def _add_commands(subparsers):
    """Declare the commands, with the arguments that existing scripts of operators use."""
    for name, run, text in (
        ('upgrade', _upgrade, 'make the schema, or bring it to a revision'),
        (
            'adopt',
            _adopt,
            'copy a database of an earlier CloudKitty into this one, or what changed since',
        ),
        ('release', _release, 'give an adopted database back to the earlier CloudKitty'),
        ('stamp', _stamp, 'record a revision and change nothing else'),
        ('revision', _revision, 'write a new revision script (developers)'),
        ('version', _version, 'print the revision of the database'),
    ):
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.add_argument(
            '--module',
            nargs='?',
            metavar='NAME',
            help=f'accepted and not needed: {", ".join(MODULES)}',
        )
        parser.set_defaults(run=run)
        if name in ('upgrade', 'stamp'):
            parser.add_argument(
                '--revision', nargs='?', default='head', const='head', help=REVISION_HELP
            )
        if name in ('upgrade', 'adopt'):
            _add_zone(parser)
            _add_adoption(parser)
        if name in ('upgrade', 'adopt', 'release'):
            parser.add_argument(
                '--dry-run',
                action='store_true',
                help='print what would be changed in a database of an earlier CloudKitty, and '
                'change nothing',
            )
        if name in ('upgrade', 'release'):
            parser.add_argument(
                '--force',
                action='store_true',
                help='continue although a processor seems to be running on the database',
            )
        _add_own(parser, name)


def _add_own(parser, name):
    """Declare the arguments that no other command has."""
    if name == 'release':
        parser.add_argument(
            '--set-marks-back',
            action='store_true',
            help='make the earlier CloudKitty rate again what was rated since adoption',
        )
    if name == 'adopt':
        parser.add_argument(
            '--source',
            required=True,
            metavar='URL',
            help='[database]connection of the earlier CloudKitty, which is only read, or @PATH of '
            'a file that contains it',
        )
    if name == 'revision':
        parser.add_argument('-m', '--message', help='message of the revision')
        parser.add_argument(
            '--autogenerate',
            action='store_true',
            help='generate its operations from the differences between models and database',
        )


def _add_zone(parser):
    parser.add_argument(
        '--timezone',
        metavar='ZONE',
        help='time zone of the host that ran the API of the earlier CloudKitty, in which it '
        'stored the times of rules, for example Europe/Berlin; default: the zone of this host',
    )


def _add_adoption(parser):
    """Declare the arguments for a database of an earlier CloudKitty that is adopted."""
    parser.add_argument(
        '--keep-retention',
        action='store_true',
        help='adopt a database although [storage]retention_period removes rated points, which '
        'earlier releases did not do',
    )


def _check_module(module):
    if module is not None and module not in MODULES:
        raise errors.InvalidInput(
            reason=f'--module: unknown module {module!r}; allowed: {", ".join(MODULES)}'
        )


def _upgrade(database, arguments, conf):
    adopter = adopting.adopter(
        database,
        conf,
        zone_name=arguments.timezone,
        is_forced=arguments.force,
        is_dry_run=arguments.dry_run,
        keeps_retention=arguments.keep_retention,
    )
    is_former = migration.upgrade(database, arguments.revision, adopter=adopter)
    if not arguments.dry_run:
        _print_version(database)
    elif not is_former:
        print('this is no database of an earlier CloudKitty: there is nothing to adopt')
    if is_former:
        adopting.print_next_steps(conf, database, REHEARSED if arguments.dry_run else ADOPTED)


def _print_version(database):
    print(f'the schema is at {migration.version(database) or "none"}')


def _adopt(database, arguments, conf):
    copier = adopting.copier(
        conf,
        _read_source(arguments.source),
        zone_name=arguments.timezone,
        is_dry_run=arguments.dry_run,
        keeps_retention=arguments.keep_retention,
    )
    migration.copy(database, copier)
    if not arguments.dry_run:
        _print_version(database)
    adopting.print_next_steps(conf, database, COPY_REHEARSED if arguments.dry_run else COPIED)


def _release(database, arguments, conf):
    if not (arguments.force or arguments.dry_run):
        adopting.refuse_running(database, conf)
    request = release.Request(
        timedelta(seconds=conf.collect.period),
        is_forced=arguments.force,
        is_setting_back=arguments.set_marks_back,
    )
    migration.release(database, request, print, is_dry_run=arguments.dry_run)
    print(RELEASE_REHEARSED if arguments.dry_run else 'start the former service on this database')


def _read_source(text):
    """Return the URL in --source, or in the file that it names after an @."""
    if not text.startswith('@'):
        return text
    try:
        return pathlib.Path(text[1:]).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.InvalidInput(reason=f'--source: {text[1:]}: {exc}') from exc


def _stamp(database, arguments, conf):
    migration.stamp(database, arguments.revision)


def _revision(database, arguments, conf):
    print(
        migration.create_revision(database, arguments.message, autogenerate=arguments.autogenerate)
    )


def _version(database, arguments, conf):
    found = migration.version(database)
    print(found or 'none')
    if found is None and migration.is_former(database):
        print(
            'the tables are those of an earlier CloudKitty; `cloudkitty-dbsync upgrade --dry-run` '
            'tells how they are adopted',
            file=sys.stderr,
        )


MANUAL = manual.Manual(
    'Create or upgrade the schema of the SQL database, or adopt that of an earlier release.',
    (
        'upgrade',
        'upgrade --dry-run --timezone Europe/Berlin',
        'adopt --source @/etc/cloudkitty/former-database --timezone Europe/Berlin',
        'release --dry-run',
    ),
    _add_commands,
)
