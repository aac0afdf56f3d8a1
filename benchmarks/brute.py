"""The rival of the totals: DuckDB over one narrow row a point, and the table of series."""

import functools
import time

import duckdb

from benchmarks import rated

POINTS = rated.SERIES * 1000
QUESTIONS = {
    'by type': 'SELECT metric, sum(quantity), sum(price) FROM points JOIN series USING (series) '
    'WHERE {month} GROUP BY ALL',
    'by scope and type': 'SELECT scope, metric, sum(quantity), sum(price) FROM points '
    'JOIN series USING (series) WHERE {month} GROUP BY ALL',
    'by department': 'SELECT department, sum(quantity), sum(price) FROM points '
    'JOIN series USING (series) WHERE {month} GROUP BY ALL',
}
MONTH = "begin >= TIMESTAMP '2024-05-01' AND begin < TIMESTAMP '2024-06-01'"
ROUNDS = 5


def seconds(usage: rated.Usage) -> dict[str, float]:
    """Return how many seconds each question takes over ten million points."""
    return _measured(usage.periods)


@functools.cache
def _measured(periods):
    database = duckdb.connect()
    per_scope = rated.SERIES // len(rated.SCOPES)
    database.execute(f"""
        CREATE TABLE series AS SELECT i AS series, 'project-' || (i // {per_scope}) AS scope,
        'metric-' || (i % {len(rated.METRICS)}) AS metric,
        'department-' || ((i // {per_scope} + i * 7) % {rated.DEPARTMENTS}) AS department
        FROM range({rated.SERIES}) t(i)""")
    database.execute(f"""
        CREATE TABLE points AS SELECT
        TIMESTAMP '2024-05-01' + to_microseconds(CAST(p * {31 * 86400 * 10**6 // periods} AS
        BIGINT)) AS begin, i AS series,
        CAST(random() * 10000 AS DECIMAL(28, 10)) AS quantity,
        CAST(random() * 100 AS DECIMAL(28, 10)) AS price
        FROM range({periods}) a(p), range({rated.SERIES}) b(i)""")
    assert database.execute('SELECT count(*) FROM points').fetchone() == (POINTS,)
    return {
        name: _median(database, question.format(month=MONTH))
        for name, question in QUESTIONS.items()
    }


def _median(database, question):
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        database.execute(question).fetchall()
        times.append(time.perf_counter() - began)
    return sorted(times)[ROUNDS // 2]
