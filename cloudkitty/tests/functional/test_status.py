"""cloudkitty-status, as an operator's script calls it."""

import getpass
import os
import pathlib
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cloudkitty.audit import trail
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import agreement, late_data, source_gaps
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import terminals

COMMAND = pathlib.Path(sys.executable).parent / 'cloudkitty-status'
IDENTITY = scope_state.Identity('project_id', 'keystone', 'prometheus')
LAST = datetime(2026, 9, 30, 23, tzinfo=UTC)
END = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture
def run(database, tmp_path):
    """Two scopes are rated to the end of September; returns what runs the command."""
    file = tmp_path / 'cloudkitty.conf'
    (tmp_path / 'metrics.yml').write_text(
        'metrics: {cpu: {unit: x, extra_args: {resource_type: instance}}}'
    )
    file.write_text(
        f'[database]\nconnection = sqlite:///{database.engine.url.database}\n'
        f'[collect]\nmetrics_conf = {tmp_path}/metrics.yml\ncollector = prometheus\n'
    )

    def change(connection):
        scope_state.record_seen(
            connection, IDENTITY, 'ab', now=LAST, initial_mark=LAST, final_mark=LAST
        )
        scope_state.claim_fetch(connection, IDENTITY, seen=None, now=END)
        late_data.record(connection, [late_data.Note(1, LAST, END, 'no data of cpu')])
        gaps = [
            source_gaps.Gap('cpu', LAST, END, source_gaps.NOTED, 'up is 0'),
            source_gaps.Gap('cpu', END, END + (END - LAST), source_gaps.UNUSED, 'up is 1'),
        ]
        source_gaps.record(connection, IDENTITY, {'cpu': gaps}, Period(LAST, END))

    database.write(change)

    def _run(*arguments, **streams):
        ended = subprocess.run(
            [COMMAND, '--config-file', str(file), *arguments],
            **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **streams},
            text=True,
            timeout=60,
        )
        return ended.returncode, ended.stdout, ended.stderr

    return _run


ACCEPT = (
    'accept-gap', '--metric', 'cpu', '--begin', '2026-09-30T23:00', '--end', '2026-10-01',
    '--reason', 'the exporter was replaced',
)  # fmt: skip


def test_the_exit_status_says_whether_a_month_is_final(run):
    """What was rated without all samples has to be accepted, and who did it is recorded."""
    status, output, _ = run('complete', '--month', '2026-09')
    assert status == 1
    assert 'rated with no data of cpu' in output
    assert run(*ACCEPT)[::2] == (0, '')
    assert run('complete', '--month', '2026-09') == (0, '2026-09 is final.\n', '')

    status, output, _ = run('complete', '--month', '2026-10')

    assert status == 1
    assert [row.split()[1:6:2] for row in output.splitlines()[3:5]] == [
        [name, '2026-10-01T00:00:00+00:00', 'waiting'] for name in ('a', 'b')
    ]
    told = output.partition('2026-10 is not final:\n')[2].splitlines()
    assert told[0] == '  2 scopes are not'
    assert [line.partition(' 20')[0] for line in told[1:]] == [
        '  scopes were last listed at',
        '  everything is rated until',
    ]


def test_a_scope_is_told_with_its_ranges(run):
    status, output, _ = run('complete', '--month', '2026-09', '--scope', 'a')

    assert status == 1
    assert (
        'a: 2026-09-30T23:00:00+00:00 to 2026-10-01T00:00:00+00:00: rated with no data of cpu'
        in output
    )
    assert 'a: 2026-09-01T00:00:00+00:00 to 2026-10-01T00:00:00+00:00: nothing is stored' in output


def test_a_terminal_obeys_no_name(run, database):
    """What is written to a file has the names as they are."""
    name = 'web\u202epohs\x1b[2J'
    database.write(
        lambda connection: scope_state.record_seen(
            connection, IDENTITY, [name], now=LAST, initial_mark=LAST, final_mark=LAST
        )
    )
    asked = ('complete', '--month', '2026-10', '--scope', name)
    terminal, screen = os.openpty()
    try:
        assert run(*asked, stdout=screen)[0] == 1
    finally:
        os.close(screen)
    shown = terminals.read_all(terminal)

    assert '| web\\u202epohs\\x1b[2J ' in shown
    assert f'| {name} ' in run(*asked)[1]


def test_gaps_are_listed_until_they_are_accepted(run, database):
    span = ('--begin', '2026-09-30', '--end', '2026-10-02')

    status, output, error = run('gaps', *span)

    assert (status, error) == (1, '')
    assert [row.split('|')[1:6] for row in output.splitlines()[3:4]] == [
        [' cpu    ', ' 2026-09-30T23:00:00+00:00 ', ' 2026-10-01T00:00:00+00:00 ', ' noted ',
         ' up is 0 ']
    ]  # fmt: skip
    assert run(*ACCEPT)[::2] == (0, '')
    assert run('gaps', *span) == (0, '', '')
    status, output, _ = run('gaps', *span, '--all')
    assert (status, 'the exporter was replaced' in output, 'unused' in output) == (0, True, True)
    with database.reader() as connection:
        _, (entry,) = trail.list_entries(connection, kind=[trail.SOURCE_GAP])
    assert (entry.action, entry.object_id, entry.user_id) == ('update', 'cpu', getpass.getuser())
    assert entry.before == {
        'gaps': [
            {
                'begin': '2026-09-30T23:00:00+00:00',
                'end': '2026-10-01T00:00:00+00:00',
                'state': 'noted',
                'sign': 'up is 0',
            }
        ]
    }
    assert entry.after['reason'] == 'the exporter was replaced'


@pytest.mark.parametrize(
    'arguments, expected, text',
    [
        (['complete', '--month', 'october'], 255, "'october' is not a month such as 2026-10"),
        (['complete', '--month', '2026-09', '--scope', 'z'], 255, 'No scope is named z.'),
        (['complete'], 2, '--month'),
        ([*ACCEPT[:2], 'gpu', *ACCEPT[3:]], 255, "has no metric 'gpu'"),
        ([*ACCEPT[:6], '2026-09-30', *ACCEPT[7:]], 255, 'is not after the begin'),
        (['--config-file', '/none', 'complete', '--month', '2026-09'], 255, '/none'),
    ],
)
def test_a_question_that_cannot_be_answered_has_another_status(run, arguments, expected, text):
    status, _, error = run(*arguments)

    assert status == expected
    assert text in error


def test_help_tells_the_statuses(run):
    status, output, _ = run('complete', '--help')

    assert status == 0
    assert 'exit status 0: it is final' in ' '.join(output.split())


def test_a_change_of_what_is_agreed_on_is_ordered_and_recorded(run, database):
    assert run('agreement') == (
        0,
        'Nothing is agreed on: the first processor that starts decides.\n',
        '',
    )
    assert run('agreement', '--period', '600')[::2] == (
        255,
        'cloudkitty-status: Nothing is agreed on before a processor has started\n',
    )
    agreement.settle(database, agreement.Terms(3600, 'project_id'), now=END)

    status, output, _ = run('agreement', '--period', '600', '--from', '2090-01-01')

    assert status == 0
    rows = [[cell.strip() for cell in row.split('|')[1:-1]] for row in output.splitlines()[3:5]]
    assert rows == [
        ['the begin', '3600', 'project_id', 'not set', 'UTC', 'in force'],
        ['2090-01-01T00:00:00+00:00', '600', 'project_id', 'not set', 'UTC', 'ordered'],
    ]
    assert 'change their files and send them SIGHUP' in output
    assert run('agreement', '--cancel')[0] == 0
    assert run('agreement', '--cancel')[0] == 1
    with database.reader() as connection:
        _, entries = trail.list_entries(connection, kind=[trail.AGREEMENT])
    assert [entry.action for entry in entries] == ['delete', 'update']
    assert entries[1].after['period'] == '600'
    assert entries[1].before['period'] == '3600'
    assert entries[1].user_id == getpass.getuser()


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (['--period', '0'], '--period: at least 1 s'),
        (['--scope-key', ''], '--scope-key: 1 to 40 characters'),
        (['--from', '2090-01-01'], 'Nothing is named that is to change'),
        (['--cancel', '--period', '60'], '--cancel cannot be combined with another option'),
        (['--start-date', 'soon'], '[collect]start_date'),
    ],
)
def test_an_order_that_makes_no_sense_is_one_line(run, database, arguments, told):
    agreement.settle(database, agreement.Terms(3600, 'project_id'), now=END)

    status, output, error = run('agreement', *arguments)

    assert (status, output) == (255, '')
    assert told in error
    assert error.count('\n') == 1
