"""How much a worker takes on at once."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.core.timeframe import Period
from cloudkitty.pipeline import Batch
from cloudkitty.processor.batch_sizing import BatchSizer

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def batch(scopes, periods):
    """Return a batch; of its scopes only the number matters."""
    return Batch(
        list(range(scopes)),
        [Period(BEGIN + n * HOUR, BEGIN + (n + 1) * HOUR) for n in range(periods)],
    )


def size(part):
    return len(part.scopes), len(part.periods)


def test_without_experience_a_batch_is_taken_whole():
    assert [size(one) for one in BatchSizer(10).split(batch(100, 48))] == [(100, 48)]


@pytest.mark.parametrize(
    'points, periods, expected',
    [
        # Of a scope and period: few points, many, and more than a part may have.
        (1, 1, (100, 1)),
        (20, 1, (50, 1)),
        (300, 1, (3, 1)),
        (5000, 1, (1, 1)),
        # Several periods have the same series: three times the points.
        (20, 2, (50, 2)),
        (20, 10, (15, 10)),
        (300, 10, (1, 10)),
        (900, 10, (1, 3)),
        (1500, 10, (1, 1)),
    ],
)
def test_a_portion_has_fewer_scopes_then_fewer_periods(points, periods, expected):
    """1,000 points are allowed in one period."""
    batch_sizer = BatchSizer(1000)
    batch_sizer.record_size(batch(1, 1), points)

    assert size(batch_sizer.first_part(batch(100, periods))) == expected


def test_what_was_too_large_comes_again_in_ever_smaller_parts():
    """In the end it is one scope and one period, which is taken whatever it holds."""
    batch_sizer, seen = BatchSizer(1000), []
    for part in batch_sizer.split(batch(20, 1)):
        seen.append((part.scopes[0], size(part)))
        if size(part) == (1, 1):
            break
        batch_sizer.record_too_large(part)

    assert seen == [(0, (20, 1)), (0, (5, 1)), (0, (1, 1))]


def test_every_scope_is_taken_once_however_sizes_change():
    batch_sizer, seen = BatchSizer(1000), []
    for number, part in enumerate(batch_sizer.split(batch(60, 1))):
        if number in (0, 3):
            batch_sizer.record_too_large(part)
        else:
            seen += part.scopes
            batch_sizer.record_size(part, 40 * len(part.scopes))

    assert seen == list(range(60))


def test_after_something_large_portions_grow_step_by_step():
    batch_sizer = BatchSizer(1000)
    batch_sizer.record_size(batch(1, 1), 1000)
    sizes = []
    for _ in range(4):
        batch_sizer.record_size(batch(1, 1), 1)
        sizes.append(size(batch_sizer.first_part(batch(100, 1)))[0])

    assert sizes == [4, 16, 64, 100]
