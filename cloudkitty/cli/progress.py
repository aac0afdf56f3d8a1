"""Progress and results of commands: on standard error, which is for people."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich import console, progress

Step = Callable[[float], None]


@contextlib.contextmanager
def bar(unit: str, total: int | None) -> Iterator[Step]:
    """Yield a function that advances a progress bar, which is only shown on a terminal."""
    columns = (
        progress.TextColumn('{task.description}'),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(
        *columns, console=console.Console(file=sys.__stderr__), disable=not sys.stderr.isatty()
    ) as shown:
        task = shown.add_task(unit, total=total)
        yield lambda steps: shown.update(task, advance=steps)


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr)
