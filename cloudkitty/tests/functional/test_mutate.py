"""tools/mutate tells which mutants the tests notice."""

import importlib.util
import os
import subprocess
import sys

import pytest
import yaml

from cloudkitty.tests import mutants

SPEC = importlib.util.spec_from_file_location('mutate', mutants.ROOT / 'tools' / 'mutate.py')
TESTS = ['cloudkitty/tests/unit/processor/test_batch_sizing.py']
KILLED = {
    'name': 'killed',
    'harm': 'A scope with very many points is never rated.',
    'file': 'cloudkitty/processor/batch_sizing.py',
    'find': 'max(int(scopes), 1)',
    'replace': 'int(scopes)',
    'tests': TESTS,
}
# These tests do not look at it.
LIVING = KILLED | {
    'name': 'living',
    'file': 'cloudkitty/core/timeframe.py',
    'find': "return to_utc(instant).isoformat(timespec='seconds')",
    'replace': "return to_utc(instant).isoformat(timespec='hours')",
}


@pytest.mark.parametrize(
    'entries, status, texts',
    [
        ([KILLED], 0, ['killed   killed  test_batch_sizing.py::', '1 mutants, 1 killed']),
        (
            [KILLED, LIVING],
            1,
            ['survived living', '2 mutants, 1 killed, 0 equivalent, 1 survived'],
        ),
        ([KILLED, LIVING | {'equivalent': 'nobody looks'}], 0, ['1 equivalent, 0 survived']),
        ([KILLED | {'equivalent': 'nobody looks'}], 1, ['not equivalent, a test notices it']),
    ],
)
def test_mutants_are_killed_or_told(tmp_path, entries, status, texts):
    """The exit status says whether enough of them die; the tree itself stays as it is."""
    path = tmp_path / 'list.yml'
    path.write_text(yaml.safe_dump(entries))
    before = (mutants.ROOT / KILLED['file']).read_text()

    ended = subprocess.run(
        [sys.executable, 'tools/mutate.py', '--jobs', '1', '--list', path],
        cwd=mutants.ROOT,
        env={**os.environ, 'PYTHONPATH': str(mutants.ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert ended.returncode == status, ended.stdout + ended.stderr
    for text in texts:
        assert text in ended.stdout
    assert (mutants.ROOT / KILLED['file']).read_text() == before


def test_a_run_that_does_not_start_kills_nothing(tmp_path, monkeypatch):
    """What the run before said is not taken for its answer."""
    mutate = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(mutate)
    # The process that is to run pytest cannot import it.
    monkeypatch.setitem(sys.modules, 'mutate', mutate)
    monkeypatch.setattr(mutate.shutil, 'copytree', lambda source, folder, ignore: folder.mkdir())
    tree = mutate.Tree(tmp_path / 'tree')
    (tmp_path / 'tree.txt').write_text('FAILED a/test_b.py::test_c')

    with pytest.raises(mutants.BadMutant, match='pytest did not start'):
        tree.test(TESTS, timeout_s=60)
