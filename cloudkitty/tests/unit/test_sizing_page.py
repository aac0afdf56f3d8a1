"""The page for planners: its examples follow from its constants, and benchmarks print these."""

import math
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[3]
TEXT = (ROOT / 'doc' / 'source' / 'admin' / 'sizing.rst').read_text()
M, T, K, L = 5, 3600, 13, 0.1
RESOURCES = (1_000, 50_000, 1_000_000)
GB = 10**9


def _constants():
    return {
        name: float(value) for name, value in re.findall(r'\* - ``(\w+)``\n +- ([\d.]+)\n', TEXT)
    }


def _sizes(resources, c):
    """Return what the page says about so many resources."""
    series = resources * M
    points = series / T
    processors = 2 * points * (c['rate'] + c['store']) / 1e6
    workers = max(2, math.ceil(processors))
    return {
        'Points a second': points,
        'Processors of the workers': processors,
        'Processors of the database': 2 * points * c['database'] / 1e6,
        'Workers': workers,
        'Memory of the workers (MiB)': 300 * workers,
        'Memory of the database (GB)': series * 31 * c['day'] / GB,
        'Write-ahead log a day (GB)': points * 86_400 * c['pages'] / GB,
        'Points on disk (GB)': points * 86_400 * 30.4 * K * c['point'] / GB,
        'Series on disk (GB)': series * (1 + L * K) * c['series'] / GB,
        'Sums on disk (GB)': series * K * (30.4 * c['day'] + c['month']) / GB,
    }


def _shown(value):
    if value < 0.001:
        return '< 0.001'
    return f'{value:,.0f}' if value >= 100 else f'{float(f"{value:.3g}"):g}'


def test_the_examples_follow_from_the_constants():
    constants = _constants()
    assert len(constants) == 9
    columns = [_sizes(resources, constants) for resources in RESOURCES]

    for name in columns[0]:
        found = re.search(rf'\* - {re.escape(name)}\n((?: +- .*\n){{3}})', TEXT)
        assert found, name
        values = [line.strip().removeprefix('- ') for line in found[1].splitlines()]
        assert values == [_shown(column[name]) for column in columns], name


def test_benchmarks_print_every_constant():
    printed = re.findall(r'- ``(\w+)``: (?:on disk, )?(.+)\n', TEXT)
    assert len(printed) == 9
    for benchmark, figure in printed:
        assert f"'{figure}'" in (ROOT / 'benchmarks' / f'{benchmark}.py').read_text(), figure
