"""cloudkitty-storage compare: the bill of an earlier release beside ours."""

import json
import pathlib
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import prettytable

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.cli import storage_import
from cloudkitty.cli.comparing import DIFFERENT, SAME, ratio
from cloudkitty.cli.progress import bar, say
from cloudkitty.clients import keystone
from cloudkitty.core import timeframe
from cloudkitty.core.decimals import render_decimal
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import http
from cloudkitty.storage.former import bills, causes, rest
from cloudkitty.storage.v2.series.driver import SeriesStorage

DAY = timedelta(days=1)
TIMEOUT_S = 120
# Days of a metric of a scope that are investigated: each takes a request for each period.
INQUIRIES_MAX = 50


def add_arguments(parser) -> None:
    """Declare the arguments that only compare has."""
    parser.add_argument(
        '--with',
        dest='url',
        metavar='URL',
        required=True,
        help='base URL of the API of the earlier release, without /v1 or /v2',
    )
    parser.add_argument(
        '--token-file',
        metavar='FILE',
        help='file with the token of an admin; default: a token from Keystone with the '
        'credentials in section [compare], or none if that has no auth_type',
    )
    parser.add_argument(
        '--v1', action='store_true', help='use version 1 of the API, which returns prices only'
    )
    parser.add_argument(
        '--periods', action='store_true', help='compare each period; default: each day (UTC)'
    )
    parser.add_argument(
        '--loki',
        action='store_true',
        help='query each period of each scope: with Loki the sums of the earlier release cover at '
        'most 1,000 points',
    )
    parser.add_argument(
        '--tolerance',
        metavar='R',
        type=ratio,
        help='relative difference that is ignored, for example 1e-6 with OpenSearch',
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')


def run(conf, store: SeriesStorage, arguments) -> int:
    """Compare as *arguments* say; return the exit status.

    :raises SourceError: the earlier release does not answer as it should.
    """
    return _Comparison(conf, store, arguments).run()


class _Comparison:
    """One run."""

    def __init__(self, conf, store, arguments):
        self.arguments = arguments
        self.store = store
        self.length = timedelta(seconds=conf.collect.period)
        options = configuration.register_driver(conf, rest.GROUP, rest.OPTS)
        server = http.PatientServer(
            rest.GROUP,
            arguments.url,
            timeout_s=TIMEOUT_S,
            cafile=options.cafile,
            is_insecure=options.insecure,
        )
        self.api = rest.FormerAPI(
            server,
            _tokens(conf, options, arguments.token_file),
            scope_key=conf.collect.scope_key,
            is_v1=arguments.v1,
        )
        self.tolerance = bills.SINGLES if arguments.v1 else bills.FLOATS
        if arguments.tolerance is not None:
            self.tolerance = bills.Tolerance(
                arguments.tolerance, Decimal(0), f'--tolerance {arguments.tolerance}'
            )
        self.investigator = causes.Investigator(
            self.store.database,
            causes.Evidence(self.api.count_points, self._groups),
            self.tolerance,
            self.length,
        )
        self._inquiries = {}

    def run(self):
        window = self._window()
        step = self.length if self.arguments.periods or self.arguments.loki else DAY
        lines = []
        parts = list(bills.windows(window, step))
        with bar('periods' if step == self.length else 'days', len(parts)) as done:
            for part in parts:
                lines += self._explained(list(self._compare(part)))
                done(1)
        counts = Counter(_kind(line.outcome) for line in lines)
        counts.update(dict.fromkeys(('equal', 'within', 'different'), 0))
        different = [line for line in lines if line.outcome in bills.DIFFERING]
        (_print_json if self.arguments.json else _print_table)(different, counts, self.tolerance)
        return DIFFERENT if different else SAME

    def _window(self):
        """Return what is compared: by default yesterday (UTC)."""
        today = timeframe.midnight(datetime.now(UTC).date())
        window = Period(self.arguments.begin or today - DAY, self.arguments.end or today)
        if window.begin >= window.end:
            raise errors.InvalidInput(reason='--begin must be before --end')
        return window

    def _compare(self, window):
        scope_ids = self.arguments.scope
        if self.arguments.loki and not scope_ids:
            scope_ids = sorted({scope_id for scope_id, _ in self._ours(window)})
        for scope_id in scope_ids or (None,):
            old = self.api.amounts(window, scope_id)
            new = self._ours(window, scope_id)
            yield from bills.compare(window, old, new, self.tolerance)

    def _explained(self, lines):
        different = [line for line in lines if line.outcome in bills.DIFFERING]
        found = causes.renamed(different, self.tolerance)
        return [self._explain(line, found) if line in different else line for line in lines]

    def _explain(self, line, found):
        return line._replace(cause=found.get(line) or self._inquire(line))

    def _inquire(self, line):
        """Return the cause of a difference; a day of a metric of a scope is investigated once."""
        begin = timeframe.midnight(line.window.begin.date())
        key = begin, line.scope_id, line.metric
        if key not in self._inquiries:
            if len(self._inquiries) >= INQUIRIES_MAX:
                return 'not investigated'
            pairs = self._pairs(Period(begin, begin + DAY), *key[1:])
            self._inquiries[key] = self.investigator.cause(*key[1:], pairs)
        return self._inquiries[key]

    def _pairs(self, day, scope_id, metric):
        """Return what both bills have in each period of a day."""
        key = scope_id, metric
        return [
            causes.Pair(
                window,
                self.api.amounts(window, *key).get(key, bills.NOTHING),
                self._ours(window, scope_id).get(key, bills.NOTHING),
            )
            for window in bills.windows(day, self.length)
        ]

    def _groups(self, window, scope_id, metric):
        """Return the attributes to group by of each of our points."""
        frames = self.store.retrieve(
            *window, {self.api.scope_key: scope_id}, metric, paginate=False
        )['dataframes']
        return [point.series.groupby for frame in frames for _, point in frame]

    def _ours(self, window, scope_id=None):
        """Return what this service has, see FormerAPI.amounts()."""
        chosen = {self.api.scope_key: scope_id} if scope_id else None
        found = storage_import.totals(self.store, window, self.api.scope_key, chosen)
        return {key: rest.Amount(*numbers) for key, numbers in found.items()}


def _tokens(conf, options, path):
    """Return a function that returns the token to send."""
    if path:
        try:
            token = pathlib.Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise errors.InvalidInput(reason=f'--token-file: {path}: {exc}') from exc
        # A line break is invalid in a header, and the resulting error would show the token.
        if not token.isascii() or not token.isprintable() or not token:
            raise errors.InvalidInput(reason=f'--token-file: {path} holds no token')
        return lambda: token
    if options.auth_type or options.auth_section:
        return keystone.load_session(conf, rest.GROUP).get_token
    return lambda: None


def _kind(outcome):
    return 'different' if outcome in bills.DIFFERING else str(outcome)


def _shown(line):
    """Return (name, old, new) of the numbers of a line that differ; prices before quantities."""
    old, new = line.old or bills.NOTHING, line.new or bills.NOTHING
    name = 'qty' if old.price == new.price and old.qty is not None else 'price'
    return name, getattr(old, name), getattr(new, name)


def _print_table(lines, counts, tolerance):
    if lines:
        table = prettytable.PrettyTable(
            ['Begin', 'Scope', 'Type', 'What', 'Old', 'New', 'Difference', 'Cause'], align='l'
        )
        for line in lines:
            name, old, new = _shown(line)
            table.add_row(
                [
                    timeframe.render(line.window.begin),
                    line.scope_id,
                    line.metric,
                    name,
                    render_decimal(old),
                    render_decimal(new),
                    render_decimal(new - old),
                    line.cause or 'unknown',
                ]
            )
        print(table)
    if counts['within']:
        say(f'{counts["within"]} differ by rounding only: {tolerance.reason}')
    print(_sentence(counts))


def _sentence(counts):
    return f'{counts["equal"]} equal, {counts["within"]} within, {counts["different"]} different'


def _print_json(lines, counts, tolerance):
    rows = []
    for line in lines:
        name, old, new = _shown(line)
        rows.append(
            {
                'begin': timeframe.render(line.window.begin),
                'end': timeframe.render(line.window.end),
                'scope_id': line.scope_id,
                'type': line.metric,
                'what': name,
                'old': render_decimal(old),
                'new': render_decimal(new),
                'outcome': line.outcome,
                'cause': line.cause or None,
            }
        )
    numbers = {name: counts[name] for name in ('equal', 'within', 'different')}
    json.dump({**numbers, 'tolerance': tolerance.reason, 'differences': rows}, sys.stdout, indent=1)
    print()
