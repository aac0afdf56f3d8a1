"""The web page in a browser: 1,000 projects with 10 resources in a month under way, and the demo"""

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from oslo_config import cfg

from benchmarks.figure import Figure
from benchmarks.neighbours import Uwsgi
from cloudkitty import conf as configuration
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.functional.ui.browser import Browser

PARTS = ('projects', 'demo')
PROJECTS, RESOURCES = 1000, 10
METRICS = ('instance', 'volume', 'image', 'network.in', 'network.out')
# Pages, and in how many seconds a person sees them.
PAGES = {
    'My costs': ('costs?project=p500', 1),
    'All projects': ('projects', 2),
}
REQUESTS_MAX, BYTES_MAX = 8, 300_000
ROUNDS = 5
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DEMO = Path(__file__).parents[1] / 'tools' / 'demo.py'
DEMO_S, DEMO_MAX_S = 90, 5
CONFIGURATION = """
[DEFAULT]
auth_strategy = noauth
[database]
connection = sqlite:///{folder}/cloudkitty.sqlite
[ui]
enabled = true
[rating]
currency = EUR
"""


def measure(folder: Path, part: str | None = None) -> list[Figure]:
    """Return the figures."""
    found = {'projects': _measure_projects, 'demo': _measure_demo}
    return [figure for name in PARTS if part in (None, name) for figure in found[name](folder)]


def _measure_projects(folder: Path) -> Iterator[Figure]:
    (folder / 'cloudkitty.conf').write_text(CONFIGURATION.format(folder=folder))
    conf = configuration.load([], files=[f'{folder}/cloudkitty.conf'], conf=cfg.ConfigOpts())
    storage = SQLStorage(conf)
    storage.init()
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    yield Figure('points stored', _fill(storage, conf, now))
    storage.database.engine.dispose()
    with Uwsgi(folder) as server, Browser(f'http://{server.address}') as browser:
        for title, (address, seconds_max) in PAGES.items():
            times = [_open(browser, address) for _ in range(ROUNDS)]
            answers = [size for url, size in browser.requests().items() if '/v' in url]
            assert browser.messages() == []
            yield Figure(f'{title}: seen the first time', times[0], 's')
            yield Figure(
                f'{title}: seen, median', statistics.median(times), 's', at_most=seconds_max
            )
            yield Figure(f'{title}: requests', len(answers), at_most=REQUESTS_MAX)
            yield Figure(f'{title}: bytes of the answers', sum(answers), at_most=BYTES_MAX)


def _fill(storage, conf, now: datetime) -> int:
    """Store the hours of this month and the days of the month before; return how many points."""
    month = timeframe.month_at(now)
    before = timeframe.month_at(month.begin - DAY)
    points, names = 0, [f'p{number}' for number in range(PROJECTS)]
    for name in names:
        series = [
            Series('unit', {'project_id': name, 'id': f'{name}-r{n}'}, {'name': f'machine {n}'})
            for n in range(RESOURCES)
        ]
        spans = [(before.begin, month.begin, DAY), (month.begin, now, HOUR)]
        frames = [
            _frame(series, timeframe.Period(begin + n * length, begin + (n + 1) * length))
            for begin, end, length in spans
            for n in range((end - begin) // length)
        ]
        storage.push(frames, name)
        points += len(frames) * RESOURCES
    with storage.database.writer() as connection:
        identity = scope_state.Identity.of(conf)
        scope_state.record_seen(
            connection, identity, names, now=now, initial_mark=now, final_mark=now
        )
        scope_state.claim_fetch(connection, identity, seen=None, now=now)
    return points


def _frame(series, span):
    frame = DataFrame(span.begin, span.end)
    for number, one in enumerate(series):
        price = Decimal('0.0123') * (number + 1)
        frame.add_point(DataPoint.of(one, Decimal(number + 1), price), METRICS[number % 5])
    return frame


def _open(browser: Browser, address: str) -> float:
    """Return how many seconds a page takes from its address to the last number."""
    begin = time.perf_counter()
    browser.open(address)
    return time.perf_counter() - begin


def _measure_demo(folder: Path) -> Iterator[Figure]:
    """Yield when somebody who opens the page of the demo sees what this machine costs."""
    command = [sys.executable, DEMO, '--seconds', str(DEMO_S), '--folder', str(folder / 'demo')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        try:
            url = ''
            for line in demo.stdout:
                url = url or (re.search(r'http://[\d.:]+(?=/ui/)', line) or [''])[0]
                # The first bill is made.
                if ' credits' in line:
                    break
            with Browser(url) as browser:
                seconds = _open(browser, 'costs')
                cost = Decimal(browser.find('.figure [title]').get_attribute('title'))
                assert cost > 0, browser.text
                yield Figure('costs of the demo: seen', seconds, 's', at_most=DEMO_MAX_S)
        finally:
            demo.terminate()
            demo.stdout.read()
