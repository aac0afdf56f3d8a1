"""cloudkitty-usage: what it finds wrong, makes right, and prints."""

import json
import subprocess
import sys

import pytest
import sqlalchemy as sa

from cloudkitty.core.metering import cloudevents, message, reports
from cloudkitty.db import usage_tables
from cloudkitty.tests import agents, ini, usage
from cloudkitty.tests.usage import ORIGIN, us
from cloudkitty.usage import rejects
from cloudkitty.usage.census import Censuses, Limits
from cloudkitty.usage.entries import Entry

COMMAND = [sys.executable, '-c', 'from cloudkitty.cli import usage; usage.main()']
SAMPLES, LIVES = usage_tables.samples, usage_tables.lives


# Complete, of the cloud, the first part of one.
TAIL = (True, True, 1, 1, ())


def event(event_id, minute, data, **changes):
    return {
        'specversion': '1.0',
        'type': 'volume.size',
        'source': 's',
        'id': event_id,
        'subject': 'v1',
        'time': f'2024-11-29T12:{minute:02}:00Z',
        'data': {'scope_id': 'p1', **data},
        **changes,
    }


EVENTS = [
    event(
        'a', 0, {'action': 'start', 'quantity': '1.50', 'attributes': {'type': 'x', 'path': 'y'}}
    ),
    event('b', 30, {'action': 'stop'}),
    event('c', 10, {'quantity': 7}, type='request'),
]


@pytest.fixture
def stored(conf, database, tmp_path):
    """A database with three events, and what runs the command on it."""
    ignored = frozenset({'path'})
    entries = [Entry(json.dumps(form), cloudevents.read(form, ignored).facts) for form in EVENTS]
    outcome = usage.intake(database).store(entries, ORIGIN)
    assert outcome.accepted == 3

    def run(*arguments, attributes_ignored='path'):
        path = ini.write(
            tmp_path / 'cloudkitty.conf',
            {
                'database': {'connection': conf.database.connection},
                'metering': {'attributes_ignored': attributes_ignored},
            },
        )
        return subprocess.run(
            [*COMMAND, '--config-file', str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def change(database, statement):
    with database.writer() as connection:
        connection.execute(statement)


def test_nothing_is_wrong(stored):
    """With what was stored."""
    ended = stored('verify')

    assert (ended.returncode, ended.stdout) == (0, ''), ended.stderr
    assert '0 faults found' in ended.stderr


@pytest.mark.parametrize(
    'statement, told',
    [
        (SAMPLES.update().values(quantity=8).where(SAMPLES.c.stage == 0), 'another quantity'),
        (SAMPLES.update().values(position=9).where(SAMPLES.c.stage == 0), 'does not state it'),
        (SAMPLES.update().values(attributes_id=None), 'other attributes'),
        (LIVES.update().values(end=us(13)), 'do not follow from its facts'),
        (LIVES.delete(), 'do not follow from its facts'),
        (usage_tables.batches.update().values(body=b'x'), 'not those that were stored'),
        (usage_tables.batches.update().values(digest=b'x' * 16), 'not those that were stored'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_whatever_is_changed_is_found(stored, database, statement, told):
    """Each with a line, and an exit status."""
    change(database, statement)

    ended = stored('verify')

    assert ended.returncode == 1
    assert told in ended.stdout


def test_lives_and_attributes_are_made_anew(stored, database):
    """From the facts and the messages, also with another list of attributes to ignore."""
    change(database, LIVES.delete())
    before = usage.rows(database, SAMPLES, 'attributes_id')

    ended = stored('rebuild', attributes_ignored='type')

    assert ended.returncode == 0, ended.stderr
    assert 'attributes of 1 facts and lives of 1 series corrected' in ended.stderr
    assert usage.rows(database, SAMPLES, 'attributes_id') != before
    assert stored('verify', attributes_ignored='type').returncode == 0
    (body,) = {
        body for (body,) in usage.rows(database, usage_tables.attributes, 'body') if 'path' in body
    }
    assert json.loads(body) == {'path': 'y'}
    # What was rated is rated again.
    assert len(usage.lates(database)) > 0


def test_dump(stored):
    """Facts, chosen ones, or the messages as they were received."""
    lines = [json.loads(line) for line in stored('dump').stdout.splitlines()]
    assert [(one['meter'], one['stage']) for one in lines] == [
        ('volume.size', 'begin'),
        ('volume.size', 'end'),
        ('request', 'sample'),
    ]
    chosen = stored('dump', '--meter', 'volume.size', '--begin', '2024-11-29T12:30Z')
    assert [json.loads(line)['stage'] for line in chosen.stdout.splitlines()] == ['end']
    assert stored('dump', '--scope', 'p2').stdout == ''
    texts = stored('dump', '--messages').stdout.splitlines()
    assert sorted(texts) == sorted(map(json.dumps, EVENTS))


def test_rejects(stored, database):
    """Each message once, with how often it came and why it was refused."""
    for number in (1, 2):
        with database.writer() as connection:
            rejects.record(
                connection,
                [('{"a": 1}', f'reason {number}')],
                path='api',
                publisher='/u',
                now_us=us(12) + number,
            )

    (line,) = stored('rejects').stdout.splitlines()
    told = json.loads(line)
    assert (told['messages'], told['reason'], told['body']) == (2, 'reason 2', '{"a": 1}')
    assert '1 messages removed' in stored('rejects', '--remove-before', '2024-11-30').stderr
    assert stored('rejects').stdout == ''


def test_rejects_are_bounded(any_database, monkeypatch):
    """Beyond the bound only repeats are counted."""
    monkeypatch.setattr(rejects, 'ROWS_MAX', 2)
    for texts in ('a', 'bca', 'ab'):
        with any_database.writer() as connection:
            refused = [(text, f'no {text}') for text in texts]
            rejects.record(connection, refused, path='api', publisher='/u', now_us=us(12))

    found = usage.rows(any_database, usage_tables.rejects, 'messages', 'reason')
    kept = {reason: messages for messages, reason in found}
    assert (kept.pop('no a'), len(kept), sum(kept.values())) in ((3, 1, 2), (3, 1, 1))


def test_many_rejects_take_few_statements(database):
    """One message of the bus may hold a hundred thousand."""
    statements = []
    sa.event.listen(
        database.engine, 'before_cursor_execute', lambda *args: statements.append(args[2])
    )
    for _ in range(2):
        with database.writer() as connection:
            refused = [(str(number), 'no object') for number in range(3000)]
            rejects.record(connection, refused, path='bus', publisher='x', now_us=us(12))

    assert set(usage.rows(database, usage_tables.rejects, 'messages')) == {(2,)}
    assert len(statements) < 40


def test_a_census_that_is_held_is_shown_and_accepted(stored, database):
    """What is missing in it ends when it was last seen."""
    intake = usage.intake(database)
    begin = message.build(agents.counter('v1', name='volume.size', at=us(9), life='begin'))
    intake.store([Entry(json.dumps(begin), (message.fact_of(begin),))], ORIGIN)
    census = Censuses(
        database,
        intake,
        limits=Limits(end_max=0),
        oldest=usage.LIMITS.oldest,
        clock=lambda: usage.NOW,
    )
    for hour, names in ((12, ['v1']), (13, [])):
        part = reports.Part('central', 'volumes', ('volume.size',), us(hour), us(hour), *TAIL)
        for counter in reports.census(part, names):
            census.take(message.check(message.build(counter)))

    ended = stored('census')
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        'producer': 'central',
        'subject': 'volumes',
        'begin': '2024-11-29T13:00:00.000000+00:00',
        'state': 'held',
        'listed': 0,
        'missing': 1,
    }
    unknown = stored('census', '--accept', 'central', 'snapshots')
    assert (unknown.returncode, 'central has sent no list' in unknown.stderr) == (1, True)
    accepted = stored('census', '--accept', 'central', 'volumes')
    assert '1 resources have ended' in accepted.stderr
    assert json.loads(stored('census').stdout)['state'] == 'taken'
    assert stored('verify').returncode == 0
