"""An HTTP server that misbehaves as a test tells it."""

import contextlib
import http.server
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple
from urllib import parse

import requests


class Request(NamedTuple):
    """What a client asked.

    :ivar parameters: of the URL, or of the form in the body; the last one of each name.
    :ivar query: that of the URL, as it came.
    """

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    query: str
    body: str


class FaultyServer:
    """A server on a loopback port that answers every request with *answer*.

    :param answer: see the functions below; may be exchanged at any time.
    :ivar requests: what was asked so far.
    """

    def __init__(self, answer: 'Answer'):
        self.answer = answer
        self.requests: list[Request] = []
        self.is_closing = threading.Event()
        self._server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
        self._server.daemon_threads = True
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Base URL, as option prometheus_url wants it."""
        return f'http://{self.address}/api/v1'

    @property
    def address(self) -> str:
        return f'127.0.0.1:{self._server.server_port}'

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self.is_closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    # Headers and body leave one by one: the second would wait for the answer to the first.
    disable_nagle_algorithm = True

    def handle_one(self):
        url = parse.urlsplit(self.path)
        form = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode()
        request = Request(
            self.command,
            url.path,
            dict(parse.parse_qsl(form or url.query)),
            dict(self.headers),
            url.query,
            form,
        )
        self.server.owner.requests.append(request)
        try:
            self.server.owner.answer(self, request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_DELETE = handle_one

    def log_message(self, *arguments):
        """Say nothing."""

    def send(
        self,
        status: int,
        body: bytes,
        content_type: str = 'application/json',
        *,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header('Content-Type', content_type)
        self.send_header('Content-Length', str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


Answer = Callable[[_Handler, Request], None]


def text(body: str, *, status: int = 200, content_type: str = 'text/html') -> Answer:
    """Answer *body*."""
    return lambda handler, request: handler.send(status, body.encode(), content_type)


def as_json(value, *, status: int = 200) -> Answer:
    """Answer *value* as JSON."""
    return text(json.dumps(value), status=status, content_type='application/json')


def redirect(url: str) -> Answer:
    """Say that the answer is elsewhere."""
    return lambda handler, request: handler.send(302, b'', headers={'Location': url})


def vector(*series: tuple[dict, str]) -> Answer:
    """Answer as Prometheus does to an instant query: (labels, value) of each series."""

    def answer(handler, request):
        at = request.parameters.get('time', '1970-01-01T00:00:00+00:00')
        instant = int(datetime.fromisoformat(at).timestamp())
        result = [{'metric': labels, 'value': [instant, value]} for labels, value in series]
        as_json({'status': 'success', 'data': {'resultType': 'vector', 'result': result}})(
            handler, request
        )

    return answer


def nothing(handler: _Handler, request: Request) -> None:
    """Answer as Prometheus does when no series fits the question."""
    kind = 'matrix' if request.path.endswith('query_range') else 'vector'
    as_json({'status': 'success', 'data': {'resultType': kind, 'result': []}})(handler, request)


def error(kind: str, reason: str, *, status: int) -> Answer:
    """Answer Prometheus' error object."""
    return as_json({'status': 'error', 'errorType': kind, 'error': reason}, status=status)


def truncated(handler: _Handler, request: Request) -> None:
    """Promise more than is sent, then hang up."""
    handler.send(200, b'{"status": "success", "data": {"resu', length=5000)
    handler.close_connection = True


def hang(handler: _Handler, request: Request) -> None:
    """Say nothing until the test is over."""
    handler.server.owner.is_closing.wait()
    handler.close_connection = True


def drip(handler: _Handler, request: Request) -> None:
    """Send a byte now and then, without end."""
    handler.send(200, b'', length=10**9)
    while not handler.server.owner.is_closing.wait(0.05):
        handler.wfile.write(b' ')
    handler.close_connection = True


def drip_head(handler: _Handler, request: Request) -> None:
    """Send a byte of a header now and then, without end."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nX-Slow: ')
    with contextlib.suppress(OSError):
        while not handler.server.owner.is_closing.wait(0.05):
            handler.wfile.write(b'x')
    handler.close_connection = True


def reset(handler: _Handler, request: Request) -> None:
    """Hang up without a word."""
    handler.close_connection = True


def huge(handler: _Handler, request: Request) -> None:
    """Answer 64 MiB of blanks."""
    handler.send(200, b'', length=64 * 2**20)
    for _ in range(64):
        handler.wfile.write(b' ' * 2**20)


def in_turn(*answers: Answer) -> Answer:
    """Give one answer after the other; the last one again and again."""
    # One step of an iterator made in C: requests at the same time take one answer each.
    left = itertools.chain(answers, itertools.repeat(answers[-1]))

    def answer(handler, request):
        next(left)(handler, request)

    return answer


def empty(handler: _Handler, request: Request) -> None:
    """Answer as a Prometheus that has nothing: a query over a range, or for an instant."""
    is_range = request.path.endswith('/query_range') or '[' in request.parameters['query']
    as_json(
        {
            'status': 'success',
            'data': {'resultType': 'matrix' if is_range else 'vector', 'result': []},
        }
    )(handler, request)


def pass_on(url: str) -> Answer:
    """Answer what the server at base URL *url* answers."""

    def answer(handler, request):
        reply = requests.post(
            url + request.path.removeprefix('/api/v1'), timeout=60, data=request.parameters
        )
        handler.send(
            reply.status_code, reply.content, reply.headers.get('Content-Type', 'application/json')
        )

    return answer


def forward(url: str) -> Answer:
    """Answer what the server at *url* answers to the same request, a Keystone for one."""
    passed = ('X-Auth-Token', 'X-Subject-Token', 'Content-Type', 'Authorization')

    def answer(handler, request):
        reply = requests.request(
            request.method,
            f'{url}{request.path}?{request.query}',
            timeout=60,
            data=request.body.encode(),
            headers={name: request.headers[name] for name in passed if name in request.headers},
        )
        handler.send(
            reply.status_code,
            reply.content,
            headers={
                name: reply.headers[name] for name in (*passed[:2], 'Link') if name in reply.headers
            },
        )

    return answer
