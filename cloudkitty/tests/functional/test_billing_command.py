"""cloudkitty-billing: plans as code."""

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from cloudkitty.db import billing_tables
from cloudkitty.tests.drivers.billing.world import OCTOBER, World

RUN = (sys.executable, '-c', 'from cloudkitty.cli.billing import main; main()')
PLANS = """\
plans:
  p:
    currency: EUR
    items:
    - {name: cpu, metric: cpu, price: {unit: %s}}
accounts:
  acme: {scopes: [a], plan: p}
"""


@pytest.fixture
def world(conf, database):
    made = World(conf)
    made.push('a', OCTOBER, '10', '3')
    return made


@pytest.fixture
def run(tmp_path, world):
    options = tmp_path / 'cloudkitty.conf'
    options.write_text(
        f'[database]\nconnection = {world.conf.database.connection}\n[billing]\nenabled = true\n'
    )

    def start(*arguments, stdin=None):
        return subprocess.run(
            [*RUN, '--config-file', str(options), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, 'USER': 'ann', 'LOGNAME': 'ann'},
        )

    return start


def test_plans_as_code(run, tmp_path, world):
    """Look at the differences, apply them, take them back."""
    path = tmp_path / 'plans.yml'
    path.write_text(PLANS % '2')
    first = run('plan', 'apply', str(path), '--from', '2026-10')
    assert first.stdout.startswith('version 1 holds from 2026-10 on; digest '), first.stderr
    digest = first.stdout.split()[-1]

    shown = run('plan', 'diff', '-', '--month', '2026-10', stdin=PLANS % '2.50')
    assert shown.stdout.splitlines() == [
        '~ plans.p.items[0].price.unit: 2 -> 2.50',
        'acme: 20.00 EUR -> 25.00 EUR',
    ]
    assert shown.stderr.splitlines()[-1] == f'digest of version 1: {digest}'

    path.write_text(PLANS % '2.50')
    assert run('plan', 'apply', str(path), '--from', '2026-10', '--digest', digest).returncode == 0
    late = run('plan', 'apply', str(path), '--from', '2026-10', '--digest', digest)
    assert (late.returncode, 'The newest version is 2' in late.stderr) == (1, True)
    assert str(world.draft('acme').statement.totals.net) == '25.00'

    assert run('plan', 'rollback', '1', '--from', '2026-10').returncode == 0
    assert str(world.draft('acme').statement.totals.net) == '20.00'
    exported = run('plan', 'export').stdout
    assert exported == run('plan', 'export', '--version', '1').stdout
    assert run('plan', 'diff', '-', stdin=exported).stdout == ''
    with world.database.reader() as connection:
        authors = [one.author for one in world.statements.documents.versions(connection)]
    assert authors == ['ann'] * 3


def test_differences_are_those_of_two_previews(run, world):
    """To the digit, of every account that differs; a scope that moves is in both."""
    world.push('b', OCTOBER, '3', '0.335')
    shown = run('plan', 'diff', '-', '--month', '2026-10', stdin=PLANS % '0.0005')

    lines = shown.stdout.splitlines()
    assert lines[-2:] == [
        'a: 3.00 XXX (no currency is set: give the plan one, or set it in the '
        'account or in defaults of the document) -> no account',
        'acme: 0.00 XXX (no currency is set: give the plan one, or set it in the '
        'account or in defaults of the document) -> 0.01 EUR',
    ]


@pytest.mark.parametrize(
    'arguments, told',
    [
        (('plan', 'diff', '/nowhere.yml'), '/nowhere.yml: No such file'),
        (('plan', 'diff', '-'), 'document: must be a mapping'),
        (('plan', 'rollback', '7', '--from', '2026-10'), 'There is no version 7'),
    ],
)
def test_what_is_wrong_is_one_line(run, arguments, told):
    ended = run(*arguments, stdin='')

    assert ended.returncode == 1
    assert told in ended.stderr.splitlines()[-1]


def test_a_month_is_checked_with_the_command_line(run):
    assert run('plan', 'export', '--version', 'x').returncode == 2
    assert run('plan', 'rollback', '1', '--from', '2026-13').returncode == 2


def test_closing_and_taking_back(run, world):
    """What is closed is verified; what cannot be closed is said."""
    plans = PLANS % '2' + '  empty: {plan: p}\ndefaults: {}\n'
    assert run('plan', 'apply', '-', '--from', '2026-10', stdin=plans).returncode == 0
    world.push('b', OCTOBER, '1', '1')

    ended = run('close', '2026-10')
    assert ended.returncode == 1
    numbers = [line.split() for line in ended.stdout.splitlines()]
    assert [words[1:] for words in numbers] == [['acme', '20.00', 'EUR'], ['empty', '0.00', 'EUR']]
    assert 'b: 2026-10 of b cannot be closed: no currency is set' in ended.stderr
    assert run('verify').returncode == 0

    taken = run('void', numbers[0][0], '--reason', 'wrong')
    assert taken.stdout.endswith(f'takes {numbers[0][0]} back; 2026-10 of acme is open again\n')
    assert run('void', numbers[0][0], '--reason', 'wrong').returncode == 1
    again = run('close', '2026-10', '--account', 'acme')
    assert (again.returncode, again.stdout.split()[1:]) == (0, ['acme', '20.00', 'EUR'])

    with world.database.writer() as connection:
        connection.execute(sa.update(billing_tables.statements).values(previous='x'))
    broken = run('verify')
    assert broken.returncode == 1
    assert 'does not follow the statement before it' in broken.stdout


def test_credits_are_granted_listed_and_withdrawn(run):
    assert run('plan', 'apply', '-', '--from', '2026-01', stdin=PLANS % '2').returncode == 0
    granted = run('credit', 'grant', 'acme', '25', 'EUR', '--note', 'welcome')
    assert granted.returncode == 0, granted.stderr
    listed = run('credit', 'list', 'acme').stdout

    assert listed == f'{granted.stdout.strip()} 25.00 of 25.00 EUR until used welcome\n'
    assert run('credit', 'withdraw', 'acme', granted.stdout.strip()).returncode == 0
    assert run('credit', 'list', 'acme').stdout == ''
    assert run('credit', 'grant', 'acme', '2.5e1', 'EUR').returncode == 2
    assert run('credit', 'grant', 'acme', '25', 'EU1').returncode == 2
    assert run('credit', 'grant', 'nobody', '0', 'EUR').returncode == 1
