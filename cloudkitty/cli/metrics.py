"""cloudkitty-metrics: check a metric definition file, try it on the source, explain a price."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from oslo_config import cfg

from cloudkitty import collector, db, errors, explain, fetcher
from cloudkitty.cli import explaining, manual, translating
from cloudkitty.collector import metrics_file, routing
from cloudkitty.core import decimals, timeframe
from cloudkitty.core.coverage import Coverage
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration
from cloudkitty.rating import modules

LOG = logging.getLogger(__name__)

CHECK_HELP = (
    'Report all errors in FILE, as FILE:LINE:COLUMN: TEXT. The source is not queried. Exit status '
    '1 if there are errors; a warning marks a valid definition that is probably not intended.'
)
TRY_HELP = (
    'Collect the metrics of FILE for one scope from the configured source: show the queries that '
    'are sent, the returned points, and facts about the source. Nothing is rated or stored. Exit '
    'status 1 if a metric cannot be collected, or its definition cannot be right.'
)
EXPLAIN_HELP = (
    'Explain how the price of a resource in a period is computed: its samples in the source, the '
    'quantity computed from them, the rules that match, and the price. Nothing is stored. Exit '
    'status 1 if the scope has no usage of the resource.'
)
SCOPES_MAX = 10
# Loggers whose debug lines are the queries that they send.
QUERYING = ('cloudkitty.clients', 'cloudkitty.collector', 'keystoneauth')
# keystoneauth also logs responses.
ANSWERS = ('RESP', 'GET call to', 'POST call to')


def main() -> None:
    """Entry point of the command."""
    manual.run(_main, MANUAL)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf, results=True)
    if conf.command.collector:
        conf.set_override('collector', conf.command.collector, 'collect')
    return conf.command.run(conf, conf.command)


def _add_commands(subparsers):
    for name, run, text in (('check', _check, CHECK_HELP), ('try', _try, TRY_HELP)):
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.add_argument('file', metavar='FILE', help='metric definition file, YAML')
        parser.add_argument(
            '--collector',
            metavar='NAME',
            help='collector the definitions are for; default: that of the configuration',
        )
        parser.set_defaults(run=run)
    _add_explain(subparsers)
    translating.add_command(subparsers)
    parser.add_argument(
        '--scope', metavar='ID', help='scope to collect; without it, some that there are are named'
    )
    parser.add_argument(
        '--metric',
        action='append',
        metavar='NAME',
        help='only this metric, by its name in FILE or its alt_name; may be given several times',
    )
    parser.add_argument(
        '--begin',
        metavar='TIME',
        help='begin of the first period, ISO 8601, UTC if it has no zone; default: '
        'the newest period that would be rated now',
    )
    parser.add_argument('--end', metavar='TIME', help='end of the last period; default: one period')


def _add_explain(subparsers):
    parser = subparsers.add_parser('explain', help=EXPLAIN_HELP, description=EXPLAIN_HELP)
    parser.add_argument('--scope', required=True, metavar='ID', help='scope of the resource')
    parser.add_argument(
        '--resource', required=True, metavar='ID', help='value of an attribute in groupby'
    )
    parser.add_argument(
        '--period', required=True, metavar='TIME', help='begin of the period, ISO 8601'
    )
    parser.set_defaults(run=_explain, collector=None)


def _explain(conf, arguments):
    driver = collector.get_driver(conf)
    begin = timeframe.parse(arguments.period)
    period = Period(begin, begin + timedelta(seconds=conf.collect.period))
    database = db.Database(conf)
    migration.check(database)
    driver.refresh()
    print(explaining.heading(arguments.scope, arguments.resource, period))
    found = explain.explain(
        driver,
        modules.ModuleSet(conf, database),
        scope_id=arguments.scope,
        resource=arguments.resource,
        period=period,
    )
    lines = [line for one in found for line in explaining.lines(one)]
    print('\n'.join(lines or ['  nothing was used']))
    return 0 if lines else 1


def _check(conf, arguments):
    path = arguments.file
    members = collector.get_members(conf)
    try:
        document = metrics_file.read(path)
    except errors.MetricsFileError as exc:
        if 'place' not in exc.facts:
            raise
        found, warnings = [(exc.facts['place'], exc.facts['reason'])], []
    else:
        found, warnings = (
            sorted(
                (document.place_of(problem.path), problem.text)
                for problem in find(document.content, members, conf.collect.scope_key)
            )
            for find in (routing.find_problems, routing.find_warnings)
        )
    for (line, column), text in found:
        print(f'{path}:{line}:{column}: {text}')
    for (line, column), text in warnings:
        print(f'{path}:{line}:{column}: warning: {text}')
    if not found:
        print(
            f'{path}: nothing is wrong for collector {", ".join(member.name for member in members)}'
        )
    return 1 if found else 0


def _refuse_no_scope(conf):
    """Raise InvalidInput, which names some of the scopes that the fetcher lists."""
    listed = sorted(fetcher.get_driver(conf).get_tenants())
    shown = ', '.join(listed[:SCOPES_MAX]) or 'none'
    more = f' and {len(listed) - SCOPES_MAX} more' if len(listed) > SCOPES_MAX else ''
    raise errors.InvalidInput(
        reason=f'--scope is needed; [fetcher]backend = {conf.fetcher.backend} lists {shown}{more}'
    )


def _try(conf, arguments):
    if arguments.scope is None:
        _refuse_no_scope(conf)
    conf.set_override('metrics_conf', arguments.file, 'collect')
    driver = collector.get_driver(conf)
    periods = _periods(conf, arguments)
    chosen = [
        metric
        for metric in driver.conf.values()
        if not arguments.metric
        or {metric.name, metric.published_name}.intersection(arguments.metric)
    ]
    if not chosen:
        raise errors.InvalidInput(reason=f'--metric: {arguments.file} has no such metric')
    print(
        f'Scope {arguments.scope!r}, from {timeframe.render(periods[0].begin)} to '
        f'{timeframe.render(periods[-1].end)}, periods: {len(periods)}'
    )
    return (
        0
        if all([_try_metric(driver, metric, periods, arguments.scope) for metric in chosen])
        else 1
    )


def _try_metric(driver, metric, periods, scope_id) -> bool:
    """Print queries and points; return whether it worked."""
    print(f'\n{metric.published_name}' + (f' ({metric.name})' if metric.alt_name else ''))
    # How far back a collector looks depends on it.
    with _show_logs(logging.INFO):
        covered = _coverage(driver, metric, periods)
    with _show_logs(logging.DEBUG):
        try:
            found = list(driver.collect(metric.key, periods, [scope_id]))
        except errors.NoDataCollected:
            found = []
        # A foreign driver may raise anything.
        except Exception as exc:
            print(f'  error: {errors.describe(exc)}')
            return False
    rows = [
        (
            timeframe.render(period.begin),
            decimals.render_decimal(point.qty),
            point.unit,
            *_attributes(point.series),
        )
        for _, period, points in found
        for point in points
    ]
    if rows:
        _print_table([('begin', 'quantity', 'unit', *metric.groupby, *metric.metadata), *rows])
    else:
        print('  no points')
    _print_gaps(covered)
    return _try_source(driver, metric, periods, scope_id)


def _coverage(driver, metric, periods) -> Coverage:
    """Return the coverage of all scopes; empty if the collector cannot tell."""
    try:
        found = driver.coverage([metric.key], periods, known={}, now=datetime.now(UTC))
    # A foreign driver may raise anything; collecting will show whether the source works.
    except Exception as exc:
        LOG.debug('No coverage of %s: %s', metric.key, exc)
        found = {}
    return found.get(metric.key, Coverage())


def _print_gaps(covered):
    """Print when no scope had samples."""
    for gap in covered.gaps:
        span = f'{timeframe.render(gap.begin)} to {timeframe.render(gap.end)}'
        kind = 'hole, of all scopes' if gap.is_hole else 'not used, by any scope'
        print(f'  {kind}: {span}: {gap.sign}')


def _try_source(driver, metric, periods, scope_id) -> bool:
    """Print the survey of the source; return whether the definition can be right."""
    right = True
    for period in periods:
        try:
            found = driver.survey(metric.key, period, scope_id)
        # A foreign driver may raise anything.
        except Exception as exc:
            print(f'  error: {errors.describe(exc)}')
            return False
        if found is None:
            continue
        if found.facts:
            print(f'  source, {timeframe.render(period.begin)}: {"; ".join(found.facts)}')
        for kind, texts in (('note', found.notes), ('wrong', found.faults)):
            for text in texts:
                print(f'  {kind}: {text}')
        right = right and not found.faults
    return right


def _attributes(series):
    return [str(value) for value in (*series.groupby.values(), *series.metadata.values())]


def _print_table(rows: Sequence[Sequence[str]]):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(f'  {"  ".join(cells)}'.rstrip())


def _periods(conf, arguments) -> list[Period]:
    length = timedelta(seconds=conf.collect.period)
    if arguments.begin is None:
        if arguments.end is not None:
            raise errors.InvalidInput(reason='--end needs --begin')
        now = datetime.now(UTC)
        return [
            timeframe.period_at(
                now - length * (1 + max(conf.collect.wait_periods, 1)), conf.collect.period
            )
        ]
    begin = timeframe.parse(arguments.begin)
    end = begin + length if arguments.end is None else timeframe.parse(arguments.end)
    count, rest = divmod(end - begin, length)
    if rest or not 0 < count <= conf.orchestrator.batch_periods:
        raise errors.InvalidInput(
            reason='--begin, --end: there must be 1 to '
            f'{conf.orchestrator.batch_periods} whole periods of {conf.collect.period} s '
            'between them'
        )
    return [
        Period(begin + length * number, begin + length * (number + 1)) for number in range(count)
    ]


class _Printer(logging.Handler):
    """Logging handler that prints the queries (level debug) and warnings of drivers."""

    def emit(self, record):
        text = record.getMessage()
        if not text.startswith(ANSWERS):
            kind = 'query' if record.levelno < logging.INFO else record.levelname.lower()
            print(f'  {kind}: {text}')


@contextlib.contextmanager
def _show_logs(level: int) -> Iterator[None]:
    """Print what drivers log, from *level* on: queries are of level debug."""
    printer = _Printer()
    loggers = [logging.getLogger(name) for name in QUERYING]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(printer)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (former, propagates) in zip(loggers, before, strict=True):
            logger.removeHandler(printer)
            logger.setLevel(former)
            logger.propagate = propagates


MANUAL = manual.Manual(
    'Check metric definitions, try them on the source, and explain a price.',
    (
        'check /etc/cloudkitty/metrics.yml',
        'try /etc/cloudkitty/metrics.yml --scope PROJECT_ID',
        'translate --from gnocchi /etc/cloudkitty/metrics.yml',
        'explain --scope PROJECT_ID --resource SERVER_ID --period 2026-10-01T12:00',
    ),
    _add_commands,
)
