"""cloudkitty-metrics: check a metric definition file, and try it on the source."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from oslo_config import cfg

from cloudkitty import collector, dataframe, errors, timeframe
from cloudkitty import conf as configuration
from cloudkitty.collector import assignment, definitions
from cloudkitty.timeframe import Period

CHECK_HELP = (
    'Say everything that is wrong with FILE, as FILE:LINE:COLUMN: TEXT. No source is asked. '
    'Exit status 1 when anything is wrong.')
TRY_HELP = (
    'Collect the metrics of FILE for one scope from the configured source: show the queries that '
    'are sent and the points that come back. Nothing is rated or stored. Exit status 1 when a '
    'metric cannot be collected.')
# Whose debug lines are the queries that they send.
QUERYING = ('cloudkitty.clients', 'cloudkitty.collector', 'keystoneauth')
# keystoneauth tells of answers, too.
ANSWERS = ('RESP', 'GET call to', 'POST call to')


def main() -> None:
    """Entry point of the command."""
    configuration.run(_main)


def _main():
    conf = cfg.CONF
    conf.register_cli_opt(cfg.SubCommandOpt('command', title='commands', handler=_add_commands))
    configuration.load(sys.argv[1:], conf=conf)
    if conf.command.collector:
        conf.set_override('collector', conf.command.collector, 'collect')
    return conf.command.run(conf, conf.command)


def _add_commands(subparsers):
    for name, run, text in (('check', _check, CHECK_HELP), ('try', _try, TRY_HELP)):
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.add_argument('file', metavar='FILE', help='metric definition file, YAML')
        parser.add_argument('--collector', metavar='NAME',
                            help='collector the definitions are for; default: that of the '
                                 'configuration')
        parser.set_defaults(run=run)
    parser.add_argument('--scope', required=True, metavar='ID', help='scope to ask for')
    parser.add_argument('--metric', action='append', metavar='NAME',
                        help='only this metric, by its name in FILE or its alt_name; may be '
                             'given several times')
    parser.add_argument('--begin', metavar='TIME',
                        help='begin of the first period, ISO 8601, UTC if it has no zone; default: '
                             'the newest period that would be rated now')
    parser.add_argument('--end', metavar='TIME',
                        help='end of the last period; default: one period')


def _check(conf, arguments):
    path = arguments.file
    members = collector.get_members(conf)
    try:
        document = definitions.read(path)
    except errors.MetricsFileError as exc:
        if 'place' not in exc.facts:
            raise
        found = [(exc.facts['place'], exc.facts['reason'])]
    else:
        found = sorted(
            (document.place_of(problem.path), problem.text) for problem in
            assignment.find_problems(document.content, members, conf.collect.scope_key))
    for (line, column), text in found:
        print(f'{path}:{line}:{column}: {text}')
    if not found:
        print(f'{path}: nothing is wrong for collector '
              f'{", ".join(member.name for member in members)}')
    return 1 if found else 0


def _try(conf, arguments):
    conf.set_override('metrics_conf', arguments.file, 'collect')
    driver = collector.get_driver(conf)
    periods = _periods(conf, arguments)
    chosen = [metric for metric in driver.conf.values()
              if not arguments.metric
              or {metric.name, metric.published_name}.intersection(arguments.metric)]
    if not chosen:
        raise errors.InvalidInput(reason=f'--metric: {arguments.file} has no such metric')
    print(f'Scope {arguments.scope!r}, from {timeframe.render(periods[0].begin)} to '
          f'{timeframe.render(periods[-1].end)}, periods: {len(periods)}')
    return 0 if all([_try_metric(driver, metric, periods, arguments.scope)
                     for metric in chosen]) else 1


def _try_metric(driver, metric, periods, scope_id) -> bool:
    """Show queries and points; say whether it worked."""
    print(f'\n{metric.key}' + (f' as {metric.alt_name}' if metric.alt_name else ''))
    with _show_queries():
        try:
            found = list(driver.collect(metric.key, periods, [scope_id]))
        except errors.NoDataCollected:
            found = []
        # A foreign driver may raise anything.
        except Exception as exc:
            print(f'  error: {errors.describe(exc)}')
            return False
    rows = [(timeframe.render(period.begin), dataframe.render_decimal(point.qty), point.unit,
             *_attributes(point.series))
            for _, period, points in found for point in points]
    if rows:
        _print_table([('begin', 'quantity', 'unit', *metric.groupby, *metric.metadata), *rows])
    else:
        print('  no points')
    return True


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
        return [timeframe.period_at(now - length * (1 + max(conf.collect.wait_periods, 1)),
                                    conf.collect.period)]
    begin = timeframe.parse(arguments.begin)
    end = begin + length if arguments.end is None else timeframe.parse(arguments.end)
    count, rest = divmod(end - begin, length)
    if rest or not 0 < count <= conf.orchestrator.batch_periods:
        raise errors.InvalidInput(
            reason='--begin, --end: there must be 1 to '
                   f'{conf.orchestrator.batch_periods} whole periods of {conf.collect.period} s '
                   'between them')
    return [Period(begin + length * number, begin + length * (number + 1))
            for number in range(count)]


class _Printer(logging.Handler):
    """Prints what drivers log: queries at level debug, and what they warn of."""

    def emit(self, record):
        text = record.getMessage()
        if not text.startswith(ANSWERS):
            kind = 'query' if record.levelno < logging.INFO else record.levelname.lower()
            print(f'  {kind}: {text}')


@contextlib.contextmanager
def _show_queries() -> Iterator[None]:
    printer = _Printer()
    loggers = [logging.getLogger(name) for name in QUERYING]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(printer)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagates) in zip(loggers, before, strict=True):
            logger.removeHandler(printer)
            logger.setLevel(level)
            logger.propagate = propagates
