"""cloudkitty-usage: maintenance of usage: verify, rebuild, rejects, dump, compare, census."""

import sys
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty import db
from cloudkitty.cli import argument_types, comparing, manual, usage_compare
from cloudkitty.cli.progress import say
from cloudkitty.core import dataframe
from cloudkitty.core.metering import facts
from cloudkitty.db import migration
from cloudkitty.usage import census_rows, late, listing, messages, rejects, verify
from cloudkitty.usage.census import Censuses
from cloudkitty.usage.intake import Intake

FAULTY = 1  # exit status
COMMANDS = {
    'verify': 'Compare messages with their digests, facts with their messages, and lives with the '
    'facts. Print one line for each wrong row; exit status 1 if there is one. Changes nothing.',
    'rebuild': 'Recompute attributes from the messages, which is needed after a change of '
    '[metering]attributes_ignored, and lives from the facts. Periods whose usage changes are rated '
    'again.',
    'rejects': 'Print refused messages with the reason, as JSON lines.',
    'dump': 'Print facts as JSON lines, by series and time.',
    'compare': 'Compare the usage from another collector with that of embedded metering, by '
    'period, scope, metric and resource, and print the causes of differences. Nothing is stored. '
    'Exit status 1 if they differ, 255 if the comparison failed.',
    'census': 'Print the newest census (list of resources) of each agent, as JSON lines. With '
    '--accept, end the resources that are missing in one of them instead, such as in a census that '
    'is held because too many are missing.',
}


def main() -> None:
    """Entry point of the command."""
    # The answer to compare is unknown when it fails.
    failure = comparing.UNKNOWN if 'compare' in sys.argv else FAULTY
    manual.run(_main, MANUAL, failure)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf, results=True)
    database = db.Database(conf)
    migration.check(database)
    return {
        'verify': _verify,
        'rebuild': _rebuild,
        'rejects': _rejects,
        'dump': _dump,
        'census': _census,
        'compare': usage_compare.run,
    }[conf.command.name](conf, database)


def _add_commands(subparsers):
    parsers = {
        name: subparsers.add_parser(name, help=text.partition('. ')[0], description=text)
        for name, text in COMMANDS.items()
    }
    parsers['rejects'].add_argument(
        '--remove-before',
        metavar='TIME',
        type=argument_types.exact_moment,
        help='remove those whose last arrival is before TIME instead (ISO 8601, UTC)',
    )
    dump = parsers['dump']
    dump.add_argument('--scope', action='append', metavar='ID', help='only this scope; repeatable')
    dump.add_argument('--meter', help='only this meter')
    dump.add_argument(
        '--begin', metavar='TIME', type=argument_types.exact_moment, help='only facts from TIME on'
    )
    dump.add_argument(
        '--end', metavar='TIME', type=argument_types.exact_moment, help='only facts before TIME'
    )
    dump.add_argument(
        '--messages', action='store_true', help='print the message that stated each, as received'
    )
    usage_compare.add_arguments(parsers['compare'])
    parsers['census'].add_argument(
        '--accept',
        nargs=2,
        metavar=('PRODUCER', 'SUBJECT'),
        help='end the resources that are missing in this list, at the time when they were last '
        'seen',
    )


def _ignored(conf):
    return frozenset(conf.metering.attributes_ignored)


def _verify(conf, database):
    faults = 0
    for fault in verify.check(database, _ignored(conf)):
        faults += 1
        print(fault)
    say(f'{faults} faults found')
    return FAULTY if faults else 0


def _rebuild(conf, database):
    changed, healed = verify.rebuild(
        database, _ignored(conf), limits=late.Limits.of(conf), now=datetime.now(UTC)
    )
    say(f'attributes of {changed} facts and lives of {healed} series corrected')
    return 0


def _rejects(conf, database):
    before = conf.command.remove_before
    if before is not None:
        removed = database.write(lambda connection: rejects.remove(connection, facts.to_us(before)))
        say(f'{removed} messages removed')
        return 0
    with database.reader() as connection:
        for one in rejects.read(connection):
            _print(one.to_form())
    return 0


def _dump(conf, database):
    chosen = conf.command
    selection = listing.Selection(
        chosen.scope,
        chosen.meter,
        begin=None if chosen.begin is None else facts.to_us(chosen.begin),
        end=None if chosen.end is None else facts.to_us(chosen.end),
    )
    batches = messages.Batches()
    for page in verify.sample_pages(database, selection):
        if chosen.messages:
            with database.reader() as connection:
                for row in page:
                    batch = batches.get(connection, row.location.batch_id)
                    if batch is not None:
                        print(batch.texts[row.location.position])
            continue
        for row in page:
            _print(listing.render_sample(row))
    return 0


def _census(conf, database):
    if conf.command.accept:
        secrets = conf.metering.secrets
        censuses = Censuses.of(
            conf,
            database,
            Intake.of(conf, database),
            clock=lambda: datetime.now(UTC),
            secret=secrets[0] if secrets else '',
        )
        say(f'{censuses.accept(*conf.command.accept)} resources have ended')
        return 0
    with database.reader() as connection:
        for one, missing in census_rows.read(connection):
            _print(
                {
                    'producer': one.producer,
                    'subject': one.subject,
                    'begin': facts.render_us(one.begun_at),
                    'state': one.state,
                    'listed': one.listed,
                    'missing': missing,
                }
            )
    return 0


def _print(form):
    sys.stdout.buffer.write(dataframe.to_json(form) + b'\n')


MANUAL = manual.Manual(
    'Verify and repair the usage of embedded metering, list refused messages, print usage.',
    (
        'verify',
        'dump --scope 5a0b --begin 2026-10-01',
        'compare --with gnocchi --begin 2026-10-01 --end 2026-10-02',
    ),
    _add_commands,
)
