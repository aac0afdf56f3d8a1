"""What the demo rates, at which prices, and how the bill looks."""

from decimal import Decimal
from typing import NamedTuple

from rich import table as rich_table

PERIOD_S = 10
HOURS_A_MONTH = 730
ROWS_MAX = 25
# A gauge is a level: times the length of a period in hours it is a quantity. A counter's rate is a
# second's: times the length of a period in seconds.
HOURS = f'{PERIOD_S}/3600'

METRICS = {
    'metrics': {
        'node_cpu_seconds_total': {
            'alt_name': 'cpu',
            'unit': 'core-h',
            'description': 'Time of processors, by what they do',
            'factor': HOURS,
            'groupby': ['cpu', 'mode'],
            'skip_datapoints_expression': "datapoint['groupby']['mode'] == 'idle'",
            'extra_args': {'aggregation_method': 'sum', 'range_function': 'rate'},
        },
        'node_memory_Active_bytes': {
            'alt_name': 'memory',
            'unit': 'GiB-h',
            'description': 'Memory in use',
            'factor': f'{PERIOD_S}/{3600 * 2**30}',
            'extra_args': {'aggregation_method': 'avg'},
        },
        'node_filesystem_size_bytes': {
            'alt_name': 'disk',
            'unit': 'GiB-h',
            'description': 'File systems, by their size',
            'factor': f'{PERIOD_S}/{3600 * 2**30}',
            'groupby': ['device'],
            'metadata': ['fstype'],
            'extra_args': {'aggregation_method': 'max'},
        },
        'node_network_transmit_bytes_total': {
            'alt_name': 'network.out',
            'unit': 'GB',
            'description': 'Traffic from this machine',
            'factor': f'{PERIOD_S}/{10**9}',
            'groupby': ['device'],
            'extra_args': {'aggregation_method': 'sum', 'range_function': 'rate'},
        },
        'node_network_receive_bytes_total': {
            'alt_name': 'network.in',
            'unit': 'GB',
            'description': 'Traffic to this machine',
            'factor': f'{PERIOD_S}/{10**9}',
            'groupby': ['device'],
            'extra_args': {'aggregation_method': 'sum', 'range_function': 'rate'},
        },
    }
}
UNITS = {metric['alt_name']: metric['unit'] for metric in METRICS['metrics'].values()}
# Credits for a unit of each service ...
FLAT_PRICES = {'memory': '0.004', 'disk': '0.0001', 'network.out': '0.05', 'network.in': '0.01'}
# ... and for a core-hour by the value of field `mode`; other modes cost nothing.
MODE_PRICES = {
    'user': '0.03',
    'system': '0.03',
    'nice': '0.01',
    'softirq': '0.03',
    'irq': '0.03',
    'iowait': '0.005',
}
# Attributes that tell the resources of a metric apart.
IDENTITY = ('cpu', 'device')


class Line(NamedTuple):
    """One resource of the bill; quantity and cost since the begin."""

    type: str
    resource: str
    quantity: Decimal
    cost: Decimal


def make_rules(rest) -> int:
    """Make the prices over REST, enable hashmap, and return how many rules there are."""
    hashmap = '/v1/rating/module_config/hashmap'
    for name, cost in FLAT_PRICES.items():
        service = rest.ask('POST', f'{hashmap}/services', json={'name': name})
        rest.ask(
            'POST',
            f'{hashmap}/mappings',
            json={'service_id': service['service_id'], 'type': 'flat', 'cost': cost},
        )
    service = rest.ask('POST', f'{hashmap}/services', json={'name': 'cpu'})
    field = rest.ask(
        'POST', f'{hashmap}/fields', json={'name': 'mode', 'service_id': service['service_id']}
    )
    for mode, cost in MODE_PRICES.items():
        rest.ask(
            'POST',
            f'{hashmap}/mappings',
            json={'field_id': field['field_id'], 'value': mode, 'type': 'flat', 'cost': cost},
        )
    rest.ask('PUT', '/v1/rating/modules/hashmap', json={'module_id': 'hashmap', 'enabled': True})
    return len(FLAT_PRICES) + len(MODE_PRICES)


def summary_path(begin, end) -> str:
    """Return where the API tells the cost by resource."""
    groups = '&'.join(f'groupby={name}' for name in ('type', *IDENTITY))
    return (
        f'/v2/summary?{groups}&begin={begin:%Y-%m-%dT%H:%M:%SZ}&end={end:%Y-%m-%dT%H:%M:%SZ}'
        '&response_format=object&limit=1000'
    )


def read(answer: dict) -> list[Line]:
    """Return the lines in an answer of the summary, the dearest first."""
    lines = [
        Line(
            row['type'],
            ' '.join(filter(None, (row[name] for name in IDENTITY))) or 'all',
            row['qty'],
            row['rate'],
        )
        for row in answer['results']
    ]
    return sorted(lines, key=lambda line: (-line.cost, line.type, line.resource))


def total(lines: list[Line]) -> Decimal:
    return sum((line.cost for line in lines), Decimal(0))


def render(lines: list[Line], *, scope: str, periods: int) -> rich_table.Table:
    """Return the bill as a table."""
    table = rich_table.Table(
        title=f'{scope}: {periods} periods of {PERIOD_S} s rated', caption=_caption(lines, periods)
    )
    for name in ('metric', 'resource'):
        table.add_column(name)
    for name in ('used', 'cost so far', 'per month'):
        table.add_column(name, justify='right')
    for line in lines[:ROWS_MAX]:
        table.add_row(
            line.type,
            line.resource,
            f'{line.quantity:.6f} {UNITS[line.type]}',
            f'{line.cost:.8f}',
            f'{monthly(line.cost, periods):.2f}',
        )
    return table


def monthly(cost: Decimal, periods: int) -> Decimal:
    """Return what a month costs if *periods* cost so much."""
    return cost / periods * 3600 / PERIOD_S * HOURS_A_MONTH


def _caption(lines, periods):
    hidden = f'{len(lines) - ROWS_MAX} more resources; ' if len(lines) > ROWS_MAX else ''
    cost = total(lines)
    return f'{hidden}total {cost:.8f} credits, a month at this pace {monthly(cost, periods):.2f}'
