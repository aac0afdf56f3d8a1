"""Commands that explain a price."""

import argparse
from collections.abc import Iterator
from typing import Any

from osc_lib.command import command

from cloudkitty.osc.commands import Command, Table

PRICE = ('metric', 'module', 'step', 'amount')
LINE = ('step', 'operand', 'result')
Row = tuple[str, ...]


class ExplainPrice(Command, command.Lister):
    """Explain the price of a resource in a period, from its measured samples on."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('scope', metavar='PROJECT', help='id of the project')
        parser.add_argument('resource', metavar='RESOURCE', help='id of the resource')
        parser.add_argument(
            'period', metavar='PERIOD', help='its begin, ISO 8601, such as 2026-10-01T12:00'
        )
        parser.add_argument(
            '--stored',
            action='store_true',
            help='explain the stored price; the source is not asked, so there are no samples',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        found = self.client.get(
            '/v2/explain/stored' if parsed_args.stored else '/v2/explain',
            scope_id=parsed_args.scope,
            resource=parsed_args.resource,
            period=parsed_args.period,
        )
        rows = [
            (one['type'], *row)
            for one in found['results']
            for part in (_samples(one), *map(_point, one['points']))
            for row in part
        ]
        return PRICE, rows


class ExplainLine(Command, command.Lister):
    """Explain a line of a statement or of a draft: how its amount is computed, and of what."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('position', metavar='LINE', type=int, help='number of the line, from 1')
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument('--number', help='of the statement, such as CK-2026-000001')
        group.add_argument('--account', metavar='ID', help='whose draft has the line')
        parser.add_argument('--month', metavar='MONTH', help='of the draft, such as 2026-10')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        found = self.client.get(
            '/v2/statements/explain',
            number=parsed_args.number,
            account_id=parsed_args.account,
            month=parsed_args.month,
            position=parsed_args.position,
        )
        line = found['line']
        rows = [
            (f'usage of {one["resource"] or "no resource"}', one['quantity'], one['list'])
            for one in found['resources']
        ]
        if found['others']:
            rows.append((f'usage of {found["others"]} more', '', ''))
        rows += [(one['name'], one['operand'], one['result']) for one in line['steps']]
        rows.append(('amount', '', line['amount']))
        if not found['current']:
            self.app.stderr.write('the usage has changed since the line was computed\n')
        return LINE, rows


def _samples(found: dict[str, Any]) -> Iterator[Row]:
    """Yield the samples of a metric; stored usage has none."""
    for one in found.get('series', ()):
        labels = ', '.join(f'{name}={value}' for name, value in sorted(one['labels'].items()))
        for run in one['samples']:
            told = f'{run["samples"]} samples from {run["begin"]} to {run["end"]} of {labels}'
            yield '', told, run['value']


def _point(point: dict[str, Any]) -> Iterator[Row]:
    attributes = ', '.join(f'{name}={value}' for name, value in sorted(point['groupby'].items()))
    yield '', f'quantity of {attributes}', f'{point["qty"]} {point["unit"]}'
    for step in point['steps']:
        for rule in step['rules']:
            yield step['module'], rule, ''
        for amount in step['amounts']:
            where = '' if amount['group'] is None else f'group {amount["group"]}: '
            yield step['module'], f'{where}{amount["expression"]}', str(amount['amount'])
        price = step['price']
        yield step['module'], 'price', 'the point is left out' if price is None else str(price)
    if point['price'] is not None:
        yield '', 'price', str(point['price'])
    if 'stored' in point:
        yield '', 'stored price', str(point['stored'])
