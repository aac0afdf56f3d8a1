"""Run named mutants of the product against the tests that claim the place.

Started by tools/mutate, which has installed what is needed.
"""

import argparse
import contextlib
import fnmatch
import itertools
import multiprocessing
import os
import pathlib
import queue
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import pytest
from rich import console as rich_console
from rich import progress as rich_progress

from cloudkitty.tests import mutants

KILLED, SURVIVED = 'killed', 'survived'
PART_MIN = 0.95  # of those that a user could notice must die
JOBS_MAX = 2
TEST_TIMEOUT_S = 60
# All tests of a mutant, and those of all mutants without one.
RUN_TIMEOUT_S, WHOLE_TIMEOUT_S = 600, 3600
PASSED, FAILED, INTERRUPTED = 0, 1, 2
# Each run is forked from a process that has imported these: that takes longer than most tests.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(
    ['pytest', 'hypothesis', 'sqlalchemy', 'alembic', 'oslo_config.cfg', 'oslo_db.sqlalchemy']
    + ['oslo_log.log', 'oslo_policy.policy', 'requests', 'simpleeval', 'tooz']
)
UNNEEDED = shutil.ignore_patterns('.git', '.tools', '.tox', '.demo', '.hypothesis', 'build')
FAILURE = re.compile(r'^(?:FAILED|ERROR) (?:\S*/)?(\S+)', re.MULTILINE)


class Run(NamedTuple):
    """How tests ended.

    :ivar code: what pytest returned; None: it took too long.
    :ivar output: what it said.
    :ivar seconds: how long it took.
    """

    code: int | None
    output: str
    seconds: float

    @property
    def reason(self) -> str:
        """The test that failed first."""
        if self.code is None:
            return 'it took too long'
        found = FAILURE.search(self.output)
        return found[1] if found else f'pytest returned {self.code}'


class Tree:
    """A copy of the repository, for one mutant at a time."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        # Python takes compiled code for current when time and size of the source are the same.
        self._times = itertools.count(1_000_000_000)
        shutil.copytree(mutants.ROOT, folder, ignore=UNNEEDED)
        # Peers such as Gnocchi are installed there, once.
        (folder / '.tools').symlink_to(mutants.ROOT / '.tools')

    @contextlib.contextmanager
    def mutated(self, mutant: mutants.Mutant) -> Iterator[None]:
        """Have *mutant* in the tree."""
        path = self.folder / mutant.file
        source = path.read_text()
        self._write(path, mutant.applied_to(source))
        try:
            yield
        finally:
            self._write(path, source)

    def _write(self, path, text):
        path.write_text(text)
        moment = next(self._times)
        os.utime(path, (moment, moment))

    def test(self, tests: Sequence[str], timeout_s: float) -> Run:
        """Run *tests* until one fails."""
        begin = time.monotonic()
        output = self.folder.with_suffix('.txt')
        output.unlink(missing_ok=True)
        process = FORKS.Process(target=_run_pytest, args=(self.folder, tests, output))
        process.start()
        process.join(timeout_s)
        code = process.exitcode
        # Daemons that tests started end with them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        if not output.exists():
            raise mutants.BadMutant(f'pytest did not start, its process returned {code}')
        return Run(code, output.read_text(errors='replace'), time.monotonic() - begin)


def _run_pytest(folder, tests, output):
    """Be pytest in a tree; what it needs is imported, but for the product."""
    os.setsid()
    with open(output, 'wb') as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    os.chdir(folder)
    os.environ['PYTHONPATH'] = str(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(mutants.ROOT))]
    for name in [name for name in sys.modules if name.partition('.')[0] == 'cloudkitty']:
        del sys.modules[name]
    options = ['-x', '-q', '-p', 'no:schemathesis', '-o', f'timeout={TEST_TIMEOUT_S}', '--tb=line']
    # What was imported before is not to be rewritten.
    options += ['-W', 'ignore::pytest.PytestAssertRewriteWarning']
    sys.argv[:] = ['pytest']
    # Threads that a mutant left waiting must not keep the process.
    code = pytest.main([*options, *tests])
    sys.stdout.flush()
    os._exit(code)


class Trees:
    """Copies of the repository, as many as there are jobs."""

    def __init__(self, folder: pathlib.Path, jobs: int):
        self._free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for number in range(jobs):
            self._free.put(Tree(folder / f'tree-{number}'))

    @contextlib.contextmanager
    def one(self) -> Iterator[Tree]:
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)


def main() -> int:
    parser = argparse.ArgumentParser(prog='tools/mutate', description=__doc__.partition('\n')[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help='Only these; * stands for any.')
    parser.add_argument(
        '--list',
        action='append',
        type=pathlib.Path,
        metavar='FILE',
        help='Only those of this list; default: all of tools/mutants.',
    )
    parser.add_argument('--jobs', type=int, choices=range(1, JOBS_MAX + 1), default=JOBS_MAX)
    arguments = parser.parse_args()
    found = [mutant for path in arguments.list or mutants.paths() for mutant in mutants.load(path)]
    names = arguments.names or ['*']
    chosen = [one for one in found if any(fnmatch.fnmatch(one.name, name) for name in names)]
    mutants.check(chosen)
    if not chosen:
        raise mutants.BadMutant(f'there is no mutant {", ".join(names)}')
    with tempfile.TemporaryDirectory(prefix='ck-mutate-') as folder:
        return run(chosen, Trees(pathlib.Path(folder), arguments.jobs), arguments.jobs)


def run(chosen: Sequence[mutants.Mutant], trees: Trees, jobs: int) -> int:
    """Run all; return the exit code."""
    console = rich_console.Console(soft_wrap=True)
    columns = (*rich_progress.Progress.get_default_columns(), rich_progress.MofNCompleteColumn())
    with (
        rich_progress.Progress(*columns, console=console) as bar,
        futures.ThreadPoolExecutor(jobs) as pool,
    ):
        parts = _parts({test for mutant in chosen for test in mutant.tests}, jobs)
        list(_track(bar, pool, trees, 'Without', parts, _check))
        runs = _track(bar, pool, trees, 'Mutants', chosen, _try)
        ends = []
        for mutant, ended in zip(chosen, runs, strict=True):
            ends.append(SURVIVED if ended.code == PASSED else KILLED)
            by = '' if ended.code == PASSED else ended.reason
            console.print(f'{ends[-1]:9}{mutant.name}  {by}', markup=False, highlight=False)
    return _report(chosen, ends)


def _track(bar, pool, trees, title, items, work) -> Iterator:
    """Yield work(tree, item) of each item, in order."""
    task = bar.add_task(title, total=len(items))

    def one(item):
        with trees.one() as tree:
            return work(tree, item)

    for future in [pool.submit(one, item) for item in items]:
        try:
            yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        bar.advance(task)


def _parts(tests, count):
    """Return *tests* in so many lists, those of a file together and each once."""
    whole = {test for test in tests if '::' not in test}
    by_file: dict[str, list[str]] = {}
    for test in sorted(tests):
        file = test.partition('::')[0]
        if test in whole or file not in whole:
            by_file.setdefault(file, []).append(test)
    lists = list(by_file.values())
    return [part for n in range(count) if (part := list(itertools.chain(*lists[n::count])))]


def _check(tree, tests):
    """See that *tests* pass without a mutant."""
    ended = tree.test(tests, WHOLE_TIMEOUT_S)
    if ended.code != PASSED:
        raise mutants.BadMutant(f'{ended.reason} fails without a mutant:\n{ended.output}')


def _try(tree, mutant):
    with tree.mutated(mutant):
        ended = tree.test(mutant.tests, RUN_TIMEOUT_S)
    if ended.code not in (PASSED, FAILED, INTERRUPTED, None):
        raise mutants.BadMutant(f'{mutant.name}: pytest returned {ended.code}:\n{ended.output}')
    return ended


def _report(chosen, ends):
    """Print what lived and the sum; return the exit code."""
    equivalent = [one for one in chosen if one.equivalent]
    living = [
        one for one, end in zip(chosen, ends, strict=True) if end == SURVIVED and not one.equivalent
    ]
    # A mutant that a test notices is one that somebody can notice.
    wrong = [one for one, end in zip(chosen, ends, strict=True) if end == KILLED and one.equivalent]
    for one in living:
        print(f'survived: {one.name} ({one.file}): {one.harm}')
    for one in wrong:
        print(f'not equivalent, a test notices it: {one.name} ({one.file}): {one.equivalent}')
    count = len(chosen) - len(equivalent)
    killed = count - len(living)
    print(
        f'{len(chosen)} mutants, {killed} killed, {len(equivalent)} equivalent, '
        f'{len(living)} survived'
    )
    return int(bool(wrong) or killed < PART_MIN * count)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except mutants.BadMutant as exc:
        sys.exit(f'tools/mutate: {exc}')
    except KeyboardInterrupt:
        sys.exit(130)
