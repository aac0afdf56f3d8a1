"""What our statements are in Debian's ClickHouse 18.16, for tests of a cluster.

That release has no decimals of 76 digits, no times before 1970 or finer than a second, no maps,
constraints and window functions; what stands for them is enough for whole numbers and hours, and
for series without attributes. Snapshots, revisions and the order of rows are those of the product.
"""

import json
import re

from cloudkitty.storage.v2.clickhouse.client import Client

REPLACED = [
    (re.compile(pattern), text)
    for pattern, text in [
        (r'Decimal\(76, 38\)', 'Decimal(38, 18)'),
        (r'toDecimal256\(0, 38\)', 'toDecimal128(0, 18)'),
        (r'CODEC\((Delta, )?ZSTD\)', ''),
        (r', CONSTRAINT in_time CHECK until > now\(\)', ''),
        (r"DateTime64\(6, 'UTC'\)", "DateTime('UTC')"),
        (r'Date32', 'Date'),
        (r', groupby Map\(String, String\), metadata Map\(String, String\)', ''),
        (r' LIGHTWEIGHT', ''),
        (r'LowCardinality\(String\)', 'String'),
        (r'toUnixTimestamp64Micro\(', '1000000 * toUInt32('),
        # Only whether there is a row; 0 is not asked for.
        (r'count\(\) OVER \(\) AS total', '0 AS total'),
        (r'metric, unit, groupby FROM', 'metric, unit FROM'),
        (r'SEMI LEFT JOIN', 'ANY INNER JOIN'),
    ]
]
INSTANT = re.compile(r"fromUnixTimestamp64Micro\((-?\d+), 'UTC'\)")
# What it has of our settings; it refuses others.
SETTINGS = {
    'wait_end_of_query',
    'output_format_json_quote_64bit_integers',
    'max_query_size',
    'max_ast_elements',
    'max_expanded_ast_elements',
    'max_execution_time',
    'receive_timeout',
    'insert_quorum',
}
LINES = b'FORMAT JSONCompactEachRow'
TIME_MAX = 2**32 - 1


def translate(statement: str) -> str:
    """Return *statement* as 18.16 understands it."""
    for pattern, text in REPLACED:
        statement = pattern.sub(text, statement)
    return INSTANT.sub(_instant, statement)


def _instant(found):
    # Rounded up: what begins before the next microsecond begins before the next second.
    seconds = min(max(-(-int(found[1]) // 1_000_000), 0), TIME_MAX)
    return f"toDateTime({seconds}, 'UTC')"


class OldServer:
    """A server whose statements are translated.

    :param server: a http.Server.
    """

    def __init__(self, server):
        self._server = server
        self.error = server.error

    def lines(self, method, path, *, params, data):
        """Implement http.Server.lines()."""
        known = {name: value for name, value in params.items() if name in SETTINGS}
        # Series without their attributes.
        known['input_format_skip_unknown_fields'] = 1
        # Or it would drop what is inserted twice.
        known['insert_deduplicate'] = 0
        statement, _, rows = data.partition(b'\n')
        if rows == LINES:
            rows = b'FORMAT JSONCompact'
        data = translate(statement.decode()).encode() + b'\n' + rows
        found = self._server.lines(method, path, params=known, data=data)
        if rows != b'FORMAT JSONCompact':
            return found
        answer = json.loads(b'\n'.join(found), parse_float=str)
        return (json.dumps(row).encode() for row in answer['data'])


class OldClient(Client):
    """A client of servers of 18.16."""

    def _servers(self):
        return [OldServer(server) for server in super()._servers()]


def adapt(storage):
    """Let *storage* talk to servers of 18.16."""
    for body in storage.body.all:
        body.client = OldClient(storage.options, body.client._urls, body.database)
