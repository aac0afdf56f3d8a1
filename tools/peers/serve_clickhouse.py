"""Serve chdb, ClickHouse's engine in a process, by ClickHouse's HTTP interface: PORT FOLDER."""

import http.server
import sys
import threading
from urllib import parse

from chdb import session

# Of the interface, not of a query.
PARAMETERS = ('query', 'database', 'wait_end_of_query')


class Engine:
    """One session, one statement at a time."""

    def __init__(self, folder):
        self._session = session.Session(folder)
        self._lock = threading.Lock()
        self._settings = {}

    def run(self, settings, statement):
        with self._lock:
            for name, value in settings.items():
                if self._settings.get(name) != value:
                    self._session.query(f'SET {name} = {value}')
                    self._settings[name] = value
            return self._session.query(statement, 'TabSeparated').bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    # Head and body are two packets: the second must not wait until the first is acknowledged.
    disable_nagle_algorithm = True

    def do_GET(self):
        self._answer(200, b'Ok.\n')

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        given = dict(parse.parse_qsl(parse.urlsplit(self.path).query))
        settings = {name: given[name] for name in given if name not in PARAMETERS}
        try:
            answer = self.server.engine.run(settings, body.decode())
        except Exception as exc:
            self._answer(500, str(exc).encode())
        else:
            self._answer(200, answer or b'')

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, folder):
        self.engine = Engine(folder)
        super().__init__(('127.0.0.1', port), Handler)


if __name__ == '__main__':
    Server(int(sys.argv[1]), sys.argv[2]).serve_forever()
