"""The rival of the writes: one narrow row a point, by the fastest path each database has."""

import io
import time

import sqlalchemy as sa

from cloudkitty.core import timeframe

CREATE = {
    'sqlite': 'CREATE TABLE narrow (begin TEXT, series INTEGER, quantity TEXT, price TEXT)',
    'postgresql': 'CREATE TABLE narrow (begin timestamp, series bigint, quantity numeric, '
    'price numeric)',
    'mysql': 'CREATE TABLE narrow (begin datetime(6), series bigint, quantity decimal(65, 38), '
    'price decimal(65, 38))',
}
ROWS_PER_INSERT = 2000


class Narrow:
    """A table of narrow rows in the database of *engine*."""

    def __init__(self, engine: sa.Engine):
        self._kind = engine.dialect.name
        self._numbers = {}
        self._raw = engine.raw_connection()
        cursor = self._raw.cursor()
        cursor.execute('DROP TABLE IF EXISTS narrow')
        cursor.execute(CREATE[self._kind])
        self._raw.commit()

    def insert(self, commit: list) -> float:
        """Return how many seconds the points of *commit* take in a transaction."""
        for part in commit:
            for column in part.usage.columns:
                self._numbers.setdefault(id(column.series), len(self._numbers) + 1)
        cursor = self._raw.cursor()
        began = time.perf_counter()
        if self._kind == 'sqlite':
            cursor.execute('BEGIN IMMEDIATE')
        PATHS[self._kind](cursor, _rows(commit, self._numbers))
        self._raw.commit()
        return time.perf_counter() - began

    def drop(self) -> None:
        """Remove the table."""
        self._raw.cursor().execute('DROP TABLE narrow')
        self._raw.commit()
        self._raw.close()


def _rows(commit, numbers):
    for part in commit:
        begins = [str(timeframe.to_naive(period.begin)) for period in part.usage.periods]
        for column in part.usage.columns:
            number = numbers[id(column.series)]
            for offset, qty, price in zip(
                column.offsets, column.quantities, column.prices, strict=True
            ):
                yield begins[offset], number, str(qty), str(price)


def _executemany(cursor, rows):
    cursor.executemany('INSERT INTO narrow VALUES (?, ?, ?, ?)', rows)


def _copy(cursor, rows):
    text = '\n'.join(
        [f'{begin}\t{series}\t{quantity}\t{price}' for begin, series, quantity, price in rows]
    )
    cursor.copy_expert('COPY narrow FROM STDIN', io.StringIO(text))


def _rows_per_statement(cursor, rows):
    # The driver's executemany escapes each value on its own; numbers and times need no escape.
    texts = [f"('{begin}',{series},{quantity},{price})" for begin, series, quantity, price in rows]
    for start in range(0, len(texts), ROWS_PER_INSERT):
        values = ','.join(texts[start : start + ROWS_PER_INSERT])
        cursor.execute(f'INSERT INTO narrow VALUES {values}')


PATHS = {'sqlite': _executemany, 'postgresql': _copy, 'mysql': _rows_per_statement}
