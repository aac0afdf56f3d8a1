"""Benchmarks that run for some minutes: their command line."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path


def main(name: str, measure: Callable[[Path, float], dict[str, float]]) -> None:
    """Print the figures of the benchmark benchmarks.*name*.

    :param measure: returns them; it is given a folder, and for how many seconds to run.
    """
    parser = argparse.ArgumentParser(prog=f'python -m benchmarks.{name}')
    parser.add_argument('--minutes', type=float, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.minutes * 60)
    for title, figure in figures.items():
        print(f'{title}: {figure:,.4g}')
