"""Values as literals of ClickHouse's SQL: nothing else of a caller is ever in a statement. Pure."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from cloudkitty.core.timeframe import EPOCH

# What a DateTime64 with microseconds can have.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2299, 12, 31, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# The function whose result from_micros() reads.
MICROS = 'toUnixTimestamp64Micro'
_ESCAPES = str.maketrans({'\\': r'\\', "'": r'\'', '\0': r'\0'})


def text(value: str) -> str:
    """Return a literal of type String."""
    return f"'{value.translate(_ESCAPES)}'"


def instant(at: datetime) -> str:
    """Return a literal for an instant, aware UTC; the nearest one, if there is none for it."""
    micros = (min(max(at, EARLIEST), LATEST) - EPOCH) // MICROSECOND
    return f"fromUnixTimestamp64Micro({micros}, 'UTC')"


def day(value: date) -> str:
    """Return a literal of type Date32."""
    return f"toDate32('{value.isoformat()}')"


def from_micros(micros: int) -> datetime:
    """Return the instant, aware UTC, for microseconds since 1970."""
    return EPOCH + micros * MICROSECOND


def from_day_number(number: int) -> date:
    """Return the day for a number of days since 1970."""
    return EPOCH.date() + timedelta(days=number)


def is_in(expression: str, values: Collection[str] | Collection[int]) -> str:
    """Return the condition that *expression* is one of *values*, of which there may be none."""
    if not values:
        return '0'
    found = (text(one) if isinstance(one, str) else str(int(one)) for one in values)
    return f'{expression} IN ({", ".join(found)})'
