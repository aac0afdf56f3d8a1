"""Files with statements: which there are, and when they are written."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from cloudkitty import errors, writer
from cloudkitty.billing import ledger
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER
from cloudkitty.tests.drivers.output import bills
from cloudkitty.write_orchestrator import (
    FAILED,
    MISSING,
    UNCHANGED,
    WRITTEN,
    WriteOrchestrator,
    files,
    months,
)
from cloudkitty.writer.focus import FocusWriter
from cloudkitty.writer.statement_json import JSONWriter

[SPAN] = months(OCTOBER, OCTOBER + HOUR)


@pytest.fixture
def world(conf, database, tmp_path):
    conf.set_override('basepath', str(tmp_path / 'files'), 'output')
    # The entry points are those of the installed package.
    conf.set_override('pipeline', [], 'output')
    return bills.made(conf)


@pytest.fixture
def orchestrator(world):
    made = WriteOrchestrator(world.conf, world.database, lambda: world.now, world.statements)
    made.use({'json': JSONWriter(), 'focus': FocusWriter()})
    return made


def states(outcomes):
    return {outcome.name: outcome.state for outcome in outcomes}


def folder(world):
    return Path(world.conf.output.basepath)


def test_closed_statements_are_written_as_they_are_stored(world, orchestrator):
    """Digest for digest: the chain can be verified with the files alone."""
    found = states(orchestrator.generate_statements('2026-10'))
    entries = [statement.content['number'] for statement in bills.closed(world)]

    assert found == {
        f'acme/{entries[0]}.json': WRITTEN,
        f'swiss/{entries[1]}.json': WRITTEN,
        'focus/1.2/2026-10/closed.csv': WRITTEN,
        'focus/1.2/2026-10/draft.csv': WRITTEN,
    }
    with world.database.reader() as connection:
        entry = ledger.get(connection, entries[0])
    text = (folder(world) / 'acme' / f'{entries[0]}.json').read_bytes()
    assert hashlib.sha256(entry.previous.encode() + text).hexdigest() == entry.digest
    closed = (folder(world) / 'focus/1.2/2026-10/closed.csv').read_text()
    draft = (folder(world) / 'focus/1.2/2026-10/draft.csv').read_text()
    assert ('acme' in closed, 'acme' in draft) == (True, False)
    assert ('open' in draft, ',CK-2026-' in draft) == (True, False)
    assert set(states(orchestrator.generate_statements('2026-10')).values()) == {UNCHANGED}


def test_a_new_statement_makes_new_files_and_changes_no_old_one(world, orchestrator):
    states(orchestrator.generate_statements('2026-10'))
    number = bills.closed(world)[0].content['number']
    made = world.closing.void(number, 'wrong', 'ann')
    assert states(orchestrator.generate_closed(made)) == {f'acme/{made.number}.json': WRITTEN}

    assert states(orchestrator.generate_statements('2026-10')) == {
        f'acme/{number}.json': UNCHANGED,
        f'acme/{made.number}.json': UNCHANGED,
        f'swiss/{bills.closed(world)[2].content["number"]}.json': UNCHANGED,
        'focus/1.2/2026-10/closed.csv': WRITTEN,
        'focus/1.2/2026-10/draft.csv': WRITTEN,
    }


def test_statements_of_one_account(world, orchestrator):
    """Without the files that hold all."""
    found = states(orchestrator.generate_statements('2026-10', ['swiss']))
    assert [name.partition('/')[0] for name in found] == ['swiss']
    assert set(states(orchestrator.check_statements('2026-10', ['acme'])).values()) == {MISSING}


def test_a_check_compares_statements(world, orchestrator):
    states(orchestrator.generate_statements('2026-10'))
    assert set(states(orchestrator.check_statements('2026-10')).values()) == {UNCHANGED}
    path = folder(world) / 'focus/1.2/2026-10/closed.csv'
    path.write_text(path.read_text().replace('acme', 'acne'))
    assert states(orchestrator.check_statements('2026-10'))['focus/1.2/2026-10/closed.csv'] == (
        'different'
    )


def test_closed_statements_are_kept_for_ever(world, orchestrator):
    """Drafts are not."""
    states(orchestrator.generate_statements('2026-10'))
    orchestrator.finish(SPAN, is_all=True)
    world.conf.set_override('keep_months', 1, 'output')
    world.now = world.now.replace(year=2028)

    assert orchestrator.expire() == ['focus/1.2/2026-10/draft.csv']
    manifest = json.loads((folder(world) / 'manifest-2026-10.json').read_text())
    assert [one['subject'] for one in manifest['files']] == ['statement', 'statements', 'statement']


class Stern(writer.BaseStatementWriter):
    """A format of another package, which refuses one account."""

    extension = 'txt'

    def write(self, statement, out):
        if statement.content['account']['id'] == 'acme':
            raise errors.InvalidInput(reason='never')
        out.write(statement.content['total'].encode())


def test_a_format_of_another_package_fails_alone(world, orchestrator):
    """The reason is noted; what it was is tried again."""
    orchestrator.use({'stern': Stern(), 'json': JSONWriter()})
    found = states(orchestrator.generate_statements('2026-10'))
    assert sorted(found.values()) == [FAILED, WRITTEN, WRITTEN, WRITTEN]
    [failed] = [name for name, state in found.items() if state == FAILED]
    assert failed.startswith('acme/')
    assert files.get(world.database, failed).failure == 'never'
    assert not (folder(world) / failed).exists()
    assert states(orchestrator.generate_statements('2026-10'))[failed] == FAILED


def test_hostile_accounts_stay_inside(world, orchestrator, tmp_path):
    """An account may have any name."""
    world.push('../../etc/x', OCTOBER, '1', '2')
    entry = world.close('../../etc/x')
    [name] = states(orchestrator.generate_closed(entry))

    assert name == f'%2E%2E%2F%2E%2E%2Fetc%2Fx/{entry.number}.json'
    assert (folder(world) / name).is_file()
    assert os.listdir(folder(world)) == ['%2E%2E%2F%2E%2E%2Fetc%2Fx']


def test_formats_of_statements_need_billing(world):
    world.conf.set_override('enabled', False, 'billing')
    world.conf.set_override('pipeline', ['focus'], 'output')
    with pytest.raises(errors.ConfigurationError, match=r'\[billing\]enabled is false'):
        WriteOrchestrator(world.conf, world.database, lambda: world.now, world.statements)
