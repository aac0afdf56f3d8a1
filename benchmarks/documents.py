"""Files: usage and statements in each format, in processor time."""

import io
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import orjson

from benchmarks import rated
from benchmarks.figure import Figure
from cloudkitty import writer
from cloudkitty.core.billing import canonical
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.tests.drivers.billing.world import OCTOBER, World
from cloudkitty.writer.csv_rows import CSVWriter
from cloudkitty.writer.focus import FocusParquetWriter, FocusWriter
from cloudkitty.writer.osrf import OSRFWriter
from cloudkitty.writer.statement_html import HTMLWriter
from cloudkitty.writer.statement_pdf import PDFWriter

HOUR = timedelta(hours=1)
PERIODS, POINTS = 200, 100
LINES = 60
STATEMENTS = 100
PAGES = 20
DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [
                {
                    'name': 'cpu',
                    'metric': 'cpu',
                    'by': ['flavor'],
                    'price': {'graduated': [{'up_to': '100', 'unit': '0.05'}, {'unit': '0.03'}]},
                }
            ],
        }
    },
    'defaults': {'plan': 'p'},
}


def measure(folder: Path) -> Iterator[Figure]:
    yield from _usage()
    with rated.store('sqlite', folder) as storage:
        statement = _statement(World(storage.conf))
    yield from _tables(statement)
    yield from _pages(statement)


def _usage():
    """Yield how fast points are written, beside making JSON of as many bare values."""
    frames = [DataFrame(OCTOBER + n * HOUR, OCTOBER + (n + 1) * HOUR) for n in range(PERIODS)]
    for frame in frames:
        for number in range(POINTS):
            groupby = {'project_id': 'a', 'id': f'id-{number}'}
            point = DataPoint('GiB', Decimal(number) / 7, '0.125', groupby, {'flavor': 'm1'})
            frame.add_point(point, rated.METRICS[number % 5])
    count = PERIODS * POINTS
    values = [[point.as_dict() for _, point in frame.iterpoints()] for frame in frames]
    bare_s = _spent(lambda: [orjson.dumps(one, default=str) for one in values])
    for name, made in (('osrf', OSRFWriter()), ('csv', CSVWriter())):
        periods = [writer.RatedPeriod('a', writer.RATED, frame) for frame in frames]
        report = writer.Report('project_id', [], periods)
        spent = _spent(lambda made=made, report=report: list(made.write(report, io.BytesIO())))
        yield Figure(f'{name}: points a second', count / spent)
        yield Figure(f'{name}: time, of that for bare JSON', spent / bare_s, 'times')


def _statement(world):
    """Return a statement of so many lines, with two tiers each."""
    world.apply(DOCUMENT)
    world.store(
        [('a', OCTOBER, 'cpu', '1234.5', '60', {'flavor': f'm{n:02}'}) for n in range(LINES)]
    )
    content = world.draft('a').to_form()
    return writer.Statement(content, canonical.encode(content))


def _tables(statement):
    """Yield how fast rows of FOCUS are written."""
    for name, made in (('focus', FocusWriter()), ('focus-parquet', FocusParquetWriter())):
        rows = 2 * LINES * STATEMENTS
        spent = _spent(lambda made=made: made.write(STATEMENTS * [statement], io.BytesIO()))
        yield Figure(f'{name}: rows a second', rows / spent)


def _pages(statement):
    """Yield how long a page of 60 lines takes; the first one loads fonts and templates."""
    for name, made in (('html', HTMLWriter()), ('pdf', PDFWriter())):
        made.write(statement, io.BytesIO())
        spent = _spent(
            lambda made=made: [made.write(statement, io.BytesIO()) for _ in range(PAGES)]
        )
        yield Figure(f'{name}: a statement of {LINES} lines', spent / PAGES * 1000, 'ms')


def _spent(work) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin
