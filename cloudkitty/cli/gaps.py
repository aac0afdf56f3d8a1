"""Commands of cloudkitty-status for times in which the source has no samples of a metric."""

import getpass
import sys
from datetime import UTC, datetime, timedelta

import prettytable

from cloudkitty import collector, db, errors
from cloudkitty.audit import trail
from cloudkitty.collector import metrics_file
from cloudkitty.core import metrics, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration
from cloudkitty.scopes import source_gaps
from cloudkitty.scopes import state as scope_state

LIST_HELP = (
    'list the times without samples of a metric in the source; exit status 0: all are resolved, 1: '
    'some are not, 255: unknown'
)
ACCEPT_HELP = (
    'accept that a metric has no samples in a time range: its periods no longer wait, and become '
    'final; the audit trail records who accepted it'
)
EXPLAINED = 0
UNEXPLAINED = 1
# By default so long is looked back.
LISTED = timedelta(days=35)
ROWS_MAX = 1000
REASON_LENGTH_MAX = 255


def add_commands(subparsers):
    """Add the commands to those of cloudkitty-status."""
    parser = subparsers.add_parser('gaps', help=LIST_HELP, description=LIST_HELP)
    parser.add_argument('--begin', metavar='TIME', help='ISO 8601; default: 35 days ago')
    parser.add_argument('--end', metavar='TIME', help='ISO 8601; default: now')
    parser.add_argument('--all', action='store_true', help='also list accepted and unused ones')
    parser.set_defaults(run=_list)
    parser = subparsers.add_parser('accept-gap', help=ACCEPT_HELP, description=ACCEPT_HELP)
    parser.add_argument(
        '--metric', required=True, metavar='NAME', help='metric, as `gaps` lists it'
    )
    parser.add_argument('--begin', required=True, metavar='TIME', help='ISO 8601')
    parser.add_argument('--end', required=True, metavar='TIME', help='ISO 8601, exclusive')
    parser.add_argument('--reason', required=True, metavar='TEXT', help='why there are none')
    parser.set_defaults(run=_accept)


def _list(conf, arguments):
    now = datetime.now(UTC)
    window = _span(arguments.begin or (now - LISTED).isoformat(), arguments.end or now.isoformat())
    database = db.Database(conf)
    migration.check(database)
    states = (source_gaps.HELD, *source_gaps.OPEN)
    with database.reader() as connection:
        found = source_gaps.list_gaps(
            connection,
            scope_state.Identity.of(conf),
            window=window,
            states=source_gaps.STATES if arguments.all else states,
        )
    if found:
        print(_table(found[:ROWS_MAX]))
    if len(found) > ROWS_MAX:
        print(f'{len(found) - ROWS_MAX} more are not shown; choose a shorter time.')
    for name in collector.list_unmeasured(conf):
        print(f'Collector {name} cannot tell where it has no samples: nothing is known of that.')
    return UNEXPLAINED if any(gap.state in states for gap in found) else EXPLAINED


def _table(found):
    table = prettytable.PrettyTable(
        ['Metric', 'Begin', 'End', 'State', 'Sign', 'Accepted'], align='l', max_width=60
    )
    for gap in found:
        accepted = f'{gap.accepted_by}: {gap.reason}' if gap.accepted_at else ''
        table.add_row(
            [
                gap.metric,
                timeframe.render(gap.begin),
                timeframe.render(gap.end),
                gap.state,
                gap.sign,
                accepted,
            ]
        )
    return table


def _accept(conf, arguments):
    span = _span(arguments.begin, arguments.end)
    reason = arguments.reason[:REASON_LENGTH_MAX]
    database = db.Database(conf)
    migration.check(database)
    metric = _metric_named(conf, database, arguments.metric)
    by, now = getpass.getuser(), datetime.now(UTC)

    def change(connection):
        before = source_gaps.accept(
            connection,
            scope_state.Identity.of(conf),
            metric,
            span,
            by=by,
            reason=reason,
            now=now,
        )
        trail.record_acceptance(
            connection,
            trail.Actor(user_id=by),
            metric=metric,
            before=[
                {
                    'begin': timeframe.render(gap.begin),
                    'end': timeframe.render(gap.end),
                    'state': gap.state,
                    'sign': gap.sign,
                }
                for gap in before
            ],
            after={
                'begin': timeframe.render(span.begin),
                'end': timeframe.render(span.end),
                'reason': reason,
            },
            now=now,
        )
        return before

    if not database.write(change):
        print('No gap of this metric was known in this time.', file=sys.stderr)
    return EXPLAINED


def _span(begin, end):
    span = Period(timeframe.parse(begin), timeframe.parse(end))
    if span.end <= span.begin:
        raise errors.InvalidInput(
            reason=f'The end, {timeframe.render(span.end)}, is not after the begin, '
            f'{timeframe.render(span.begin)}'
        )
    return span


def _metric_named(conf, database, name):
    """Return the internal key of a metric: one that has gaps, or one that is defined.

    :raises InvalidInput: there is none, or several, of that name.
    """
    with database.reader() as connection:
        # It may have left the definition file.
        if source_gaps.list_gaps(connection, scope_state.Identity.of(conf), metrics=[name]):
            return name
    content = metrics_file.load(conf.collect.metrics_conf)
    found = metrics.parse(
        content, scope_key=conf.collect.scope_key, check_extra_args=metrics.mapping
    )
    if name in found:
        return name
    keys = [key for key, metric in found.items() if name in (metric.name, metric.published_name)]
    if len(keys) != 1:
        several = f'several metrics {name!r}: {", ".join(keys)}' if keys else f'no metric {name!r}'
        raise errors.InvalidInput(reason=f'--metric: {conf.collect.metrics_conf} has {several}')
    return keys[0]
