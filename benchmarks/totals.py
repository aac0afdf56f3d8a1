"""Month total over 1,000,000 points, answered by the API over SQLite"""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import webob
from oslo_config import cfg

from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.api import app
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.storage.v2.sql import SQLStorage

MAY = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
METRICS = ('instance', 'volume', 'image', 'network.in', 'network.out')
SCOPES = 45
SERIES_PER_SCOPE = 30
HOURS = 744
ROUNDS = 30
MONTH = '/v2/summary?begin=2024-05-01&end=2024-06-01'
QUESTIONS = {
    'by type': (f'{MONTH}&groupby=type', 20),
    'by scope and type': (f'{MONTH}&groupby=project_id,type', None),
    'one scope by type': (f'{MONTH}&groupby=type&filters=project_id:p7', None),
    'one scope by day': (f'{MONTH}&groupby=time-d&filters=project_id:p7', None),
    'one scope by hour': (f'{MONTH}&groupby=time&filters=project_id:p7', None),
}


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', f'sqlite:///{folder}/rated.sqlite', 'database')
    conf.set_override('auth_strategy', 'noauth')
    storage = SQLStorage(conf)
    storage.init()
    points = fill(storage)
    application = app.build(conf, database=storage.database, storage=storage)
    figures = [Figure('points stored', points)]
    for name, (path, target) in QUESTIONS.items():
        figures.append(
            Figure(f'month total {name}', _median_ms(application, path), 'ms', at_most=target)
        )
    size = sum(file.stat().st_size for file in folder.glob('rated.sqlite*'))
    figures.append(Figure('bytes per point, everything included', size / points, 'bytes'))
    return figures


def fill(storage) -> int:
    """Store a month of points; return how many."""
    for number in range(SCOPES):
        scope_id = f'p{number}'
        series = [
            Series(
                'unit', {'project_id': scope_id, 'id': f'{scope_id}-r{n}'}, {'flavor': f'f{n % 7}'}
            )
            for n in range(SERIES_PER_SCOPE)
        ]
        storage.push([_frame(series, hour) for hour in range(HOURS)], scope_id)
    return SCOPES * SERIES_PER_SCOPE * HOURS


def _frame(series, hour):
    frame = DataFrame(MAY + hour * HOUR, MAY + (hour + 1) * HOUR)
    for number, one in enumerate(series):
        frame.add_point(
            DataPoint.of(one, Decimal(number % 4 + 1), Decimal('0.0123')),
            METRICS[number % len(METRICS)],
        )
    return frame


def _median_ms(application, path):
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        answer = webob.Request.blank(f'{path}&limit=1000').get_response(application)
        times.append(time.perf_counter() - begin)
        assert answer.json['total'] > 0
    return sorted(times)[len(times) // 2] * 1000
