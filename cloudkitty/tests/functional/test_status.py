"""cloudkitty-status, as an operator's script calls it."""

import pathlib
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cloudkitty.db import notes, scopes

COMMAND = pathlib.Path(sys.executable).parent / 'cloudkitty-status'
IDENTITY = scopes.Identity('project_id', 'keystone', 'gnocchi')
LAST = datetime(2026, 9, 30, 23, tzinfo=UTC)
END = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture
def run(database, tmp_path):
    """Two scopes are rated to the end of September; returns what runs the command."""
    file = tmp_path / 'cloudkitty.conf'
    file.write_text(f'[database]\nconnection = sqlite:///{database.engine.url.database}\n')

    def change(connection):
        scopes.record_seen(connection, IDENTITY, 'ab', now=LAST, initial_mark=LAST, final_mark=LAST)
        scopes.claim_fetch(connection, IDENTITY, seen=None, now=END)
        notes.record(connection, [notes.Note(1, LAST, END, 'no data of cpu')])
    database.write(change)

    def _run(*arguments):
        ended = subprocess.run([COMMAND, '--config-file', str(file), *arguments],
                               capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stdout, ended.stderr
    return _run


def test_the_exit_status_says_whether_a_month_is_final(run):
    assert run('complete', '--month', '2026-09') == (0, '2026-09 is final.\n', '')

    status, output, _ = run('complete', '--month', '2026-10')

    assert status == 1
    assert [row.split()[1:6:2] for row in output.splitlines()[3:5]] == [
        [name, '2026-10-01T00:00:00+00:00', 'waiting'] for name in ('a', 'b')]
    assert output.splitlines()[-1].startswith('2026-10 is not final: 2 scopes are not; the fetcher')


def test_a_scope_is_told_with_its_ranges(run):
    status, output, _ = run('complete', '--month', '2026-09', '--scope', 'a')

    assert status == 0
    assert 'a: 2026-09-30T23:00:00+00:00 to 2026-10-01T00:00:00+00:00: rated with no data of cpu' \
        in output
    assert ('a: 2026-09-01T00:00:00+00:00 to 2026-10-01T00:00:00+00:00: nothing is stored'
            in output)


@pytest.mark.parametrize('arguments, expected, text', [
    (['complete', '--month', 'october'], 255, "'october' is not a month such as 2026-10"),
    (['complete', '--month', '2026-09', '--scope', 'z'], 255, 'No scope is named z.'),
    (['complete'], 2, '--month'),
    (['--config-file', '/none', 'complete', '--month', '2026-09'], 255, '/none'),
])
def test_a_question_that_cannot_be_answered_has_another_status(run, arguments, expected, text):
    status, _, error = run(*arguments)

    assert status == expected
    assert text in error


def test_help_tells_the_statuses(run):
    status, output, _ = run('complete', '--help')

    assert status == 0
    assert 'exit status 0: it is final' in ' '.join(output.split())
