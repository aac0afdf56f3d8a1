"""A cheap call beside 32 of the most expensive ones of another project, as it is shipped"""

import http.client
import itertools
import statistics
import sys
import threading
import time
from pathlib import Path

from oslo_config import cfg

from benchmarks import totals
from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import services

INI = Path(__file__).parents[1] / 'etc' / 'cloudkitty' / 'cloudkitty-api-uwsgi.ini'
ADDRESS = 'http = :8889'
CONF = '/etc/cloudkitty/cloudkitty.conf'
MONTH = 'begin=2024-05-01&end=2024-06-01'
MEDIANS = ','.join(f'median({name})%20AS%20{name}' for name in ('qty', 'price'))
EXPENSIVE = (
    f'/v2/summary?{MONTH}&groupby=id&custom_fields={MEDIANS}',
    f'/v1/storage/dataframes?{MONTH}',
    f'/v2/dataframes?{MONTH}&limit=20000',
    f'/v2/summary?{MONTH}&groupby=time,id&limit=20000',
)
CHEAP = '/v1/rating/modules'
GREEDY, MODEST = ({'X-Project-Id': name} for name in ('greedy', 'modest'))
CALLS = 32
ROUNDS = 60
WAIT_MAX_S = 1
TIMEOUT_S = 600
CONFIGURATION = """
[DEFAULT]
auth_strategy = noauth
[database]
connection = sqlite:///{folder}/cloudkitty.sqlite
"""


class Uwsgi(services.Daemon):
    """The API as it is shipped, but for its port and the place of its configuration."""

    program = 'uwsgi'
    ready_path = '/healthcheck'

    def prepare(self):
        text = INI.read_text()
        # The file sets the variable itself, whatever its environment says.
        for old, new in (
            (ADDRESS, f'http = {self.address}'),
            (CONF, f'{self.folder}/cloudkitty.conf'),
        ):
            if old not in text:
                raise AssertionError(f'{INI} has no {old!r}')
            text = text.replace(old, new)
        (self.folder / 'uwsgi.ini').write_text(text)

    def command(self):
        return [
            sys.executable,
            '-c',
            'import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])',
            '--ini',
            f'{self.folder}/uwsgi.ini',
            '--disable-logging',
        ]


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    (folder / 'cloudkitty.conf').write_text(CONFIGURATION.format(folder=folder))
    conf = configuration.load([], files=[f'{folder}/cloudkitty.conf'], conf=cfg.ConfigOpts())
    storage = SQLStorage(conf)
    storage.init()
    points = totals.fill(storage)
    storage.database.engine.dispose()
    with Uwsgi(folder) as server:
        quiet = _ask_again_and_again(server.address)
        busy, statuses = _ask_beside_others(server.address)
    return [
        Figure('points stored', points),
        Figure('a cheap call alone, slowest', max(quiet), 's'),
        Figure('beside the others, median', statistics.median(busy), 's'),
        Figure('beside the others, slowest', max(busy), 's', at_most=WAIT_MAX_S),
        Figure('expensive calls answered', statuses.count(200)),
        Figure('expensive calls refused with 429', statuses.count(429)),
        Figure('other answers', sum(one not in (200, 400, 429) for one in statuses), at_most=0),
    ]


def _ask_again_and_again(address):
    """Return how long each cheap call took, seconds."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.monotonic()
        status = _ask(address, CHEAP, MODEST)
        taken.append(time.monotonic() - begin)
        if status != 200:
            raise AssertionError(f'{CHEAP} is answered with {status}')
    return taken


def _ask_beside_others(address):
    """Return the same while others ask, and the statuses of their answers."""
    statuses, is_over = [], threading.Event()

    def be_greedy(paths):
        for path in paths:
            if is_over.is_set():
                return
            statuses.append(_ask(address, path, GREEDY))
            if statuses[-1] == 429:
                # As Retry-After says.
                is_over.wait(1)

    greedy = [
        threading.Thread(target=be_greedy, args=(itertools.cycle(EXPENSIVE[n:] + EXPENSIVE[:n]),))
        for n in (number % len(EXPENSIVE) for number in range(CALLS))
    ]
    for thread in greedy:
        thread.start()
    try:
        taken = _ask_again_and_again(address)
    finally:
        is_over.set()
        for thread in greedy:
            thread.join()
    return taken, statuses


def _ask(address, path, headers):
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request('GET', path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
