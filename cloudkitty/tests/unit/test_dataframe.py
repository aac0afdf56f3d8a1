"""Series by the 100,000."""

import tracemalloc

from cloudkitty.dataframe import Series


def test_an_identity_needs_no_more_memory_than_its_text():
    many = [Series('unit', {'id': f'resource-{number}'}, {}) for number in range(1000)]
    tracemalloc.start()
    try:
        size = sum(len(one.identity) for one in many)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < size + 100 * len(many)
