"""HTTP client of ClickHouse: statements go to one of several servers, answers are lines of JSON."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson
import requests
import urllib3
from oslo_config import cfg, types

from cloudkitty import errors
from cloudkitty.storage import http

LOG = logging.getLogger(__name__)

T = TypeVar('T')
Rows = list[list[Any]]
GROUP = 'storage_clickhouse'
# Lists of ids are literals of a statement.
STATEMENT_SIZE_MAX = 1 << 28
SETTINGS = {
    'max_query_size': STATEMENT_SIZE_MAX,
    'max_ast_elements': 10_000_000,
    'max_expanded_ast_elements': 10_000_000,
    # With an answer that breaks off, the status says so.
    'wait_end_of_query': 1,
    'output_format_json_quote_decimals': 1,
    'output_format_json_quote_64bit_integers': 0,
}
OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        'urls',
        default=['http://127.0.0.1:8123'],
        help='Base URLs of the HTTP interface of a ClickHouse server, 24 or newer, or of all '
        'replicas of it: the first one that answers is used.',
    ),
    cfg.MultiOpt(
        'shards',
        item_type=types.List(),
        default=[],
        help='Instead of urls, the base URLs of one shard, that is of all replicas of it; repeat '
        'the option for each shard. Each scope is on one shard, so neither their number nor their '
        'order may change later.',
    ),
    cfg.StrOpt('database', default='cloudkitty', regex='[A-Za-z_][A-Za-z0-9_]*', help='Database.'),
    cfg.StrOpt('username', default='default', help='User.'),
    cfg.StrOpt('password', default='', secret=True, help='Password of the user.'),
    cfg.IntOpt(
        'timeout',
        default=60,
        min=1,
        help='Seconds to wait for an answer. The server ends a query that takes longer.',
    ),
    *http.tls_options(),
    cfg.BoolOpt(
        'replicated',
        default=False,
        help='Whether cloudkitty-storage-init makes replicated tables, on each server; '
        'the macros shard and replica of each server, and Keeper or ZooKeeper, are needed.',
    ),
    cfg.IntOpt(
        'insert_quorum',
        default=0,
        min=0,
        help='With replicated tables, the number of replicas that must have usage before it '
        'counts as stored, such as 2 of 3. With less than 2, usage is lost with the disk of the '
        'replica that took it.',
    ),
    cfg.BoolOpt(
        'sync_before_read',
        default=True,
        help='With replicated tables, whether a replica fetches what it lacks before it answers. '
        'Disable it only if each replica is written with insert_quorum = number of replicas.',
    ),
]


class Client:
    """Sends statements to the first replica that answers.

    :param options: section [storage_clickhouse].
    :param urls: base URLs of the replicas.
    :param database: what is brought up to date before a replica is read.
    """

    def __init__(self, options: Any, urls: Sequence[str], database: str) -> None:
        self._options = options
        self._urls = urls
        self._database = database
        self._local = threading.local()
        # Number of the server that answered last.
        self._first = 0

    def execute(self, statement: str, data: bytes = b'', **settings: Any) -> None:
        """Run a statement without an answer; it may be sent several times.

        :param data: rows of an INSERT, in the format that the statement names.
        :raises DatabaseAway: no server runs it.
        """
        body = f'{statement}\n'.encode() + data

        def ask(server: http.Server) -> None:
            self._sync(server, statement)
            _done(server, body, settings)

        self._run(ask)

    def execute_everywhere(self, statement: str) -> None:
        """Run a statement on every replica.

        :raises SourceError: one of them refuses or does not answer.
        """
        for server in self._servers():
            http.ask_any([server], lambda server: _done(server, statement.encode(), {}))

    def rows(self, statement: str) -> Rows:
        """Return the rows of a query; decimals are text.

        :raises DatabaseAway: no replica answers it.
        """

        def ask(server: http.Server) -> Rows:
            self._sync(server, statement)
            return self._rows(server, statement)

        return self._run(ask)

    def rows_everywhere(self, statement: str) -> list[Rows]:
        """Return what every replica has as the rows of a query.

        :raises SourceError: one of them refuses or does not answer.
        """
        return [
            http.ask_any([server], lambda server: self._rows(server, statement))
            for server in self._servers()
        ]

    def _rows(self, server: http.Server, statement: str) -> Rows:
        body = f'{statement}\nFORMAT JSONCompactEachRow'.encode()
        settings = {'max_execution_time': self._options.timeout}
        return [orjson.loads(line) for line in _lines(server, body, settings)]

    def _sync(self, server: http.Server, statement: str) -> None:
        """Let a replica fetch what it lacks of the tables that *statement* reads."""
        if not (self._options.replicated and self._options.sync_before_read):
            return
        for table in ('frames', 'days', 'series'):
            name = f'{self._database}.{table}'
            if f'FROM {name} ' in statement:
                _done(
                    server,
                    # It need not merge what it has.
                    f'SYSTEM SYNC REPLICA {name} LIGHTWEIGHT'.encode(),
                    {'receive_timeout': self._options.timeout},
                )

    def _run(self, ask: Callable[[http.Server], T]) -> T:
        servers, first = self._servers(), self._first

        def ask_noted(server: http.Server) -> T:
            try:
                answer = ask(server)
            except errors.SourceError as exc:
                LOG.warning('ClickHouse: %s', exc)
                raise
            self._first = servers.index(server)
            return answer

        try:
            return http.ask_any(servers[first:] + servers[:first], ask_noted)
        except errors.SourceError as exc:
            raise errors.DatabaseAway from exc

    def _servers(self) -> list[http.Server]:
        """Return the servers, with connections that no other thread uses."""
        if not hasattr(self._local, 'servers'):
            options = self._options
            self._local.servers = [
                http.Server(
                    GROUP,
                    url,
                    timeout_s=options.timeout,
                    cafile=options.cafile,
                    is_insecure=options.insecure,
                    login=(options.username, options.password),
                )
                for url in self._urls
            ]
        servers: list[http.Server] = self._local.servers
        return servers


def _done(server: http.Server, body: bytes, settings: Mapping[str, Any]) -> None:
    for _ in _lines(server, body, settings):
        pass


def _lines(server: http.Server, body: bytes, settings: Mapping[str, Any]) -> Iterator[bytes]:
    try:
        yield from server.lines('POST', '', params={**SETTINGS, **settings}, data=body)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
        raise server.error(type(exc).__name__) from exc
