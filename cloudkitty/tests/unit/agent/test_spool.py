"""Messages that wait on disk: in order, within bounds, and over crashes at any byte."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from cloudkitty import errors
from cloudkitty.agent import spool

MIB = 2**20
# Writes records for ever, and says the number of each that is written.
WRITER = """
import sys
from pathlib import Path
from cloudkitty.agent import spool
one = spool.Spool(Path(sys.argv[1]), 2**30)
number = 0
while True:
    assert one.append(b'%d' % number + b'x' * 3000)
    sys.stdout.write(f'{number}\\n')
    sys.stdout.flush()
    number += 1
"""


def drain(one):
    found = []
    while (record := one.oldest()) is not None:
        found.append(record)
        one.remove_oldest()
    return found


def test_the_oldest_comes_first_and_survives_a_restart(tmp_path):
    """Records are in several files."""
    one = spool.Spool(tmp_path, 10 * MIB)
    records = [b'%d' % number + b'x' * 300_000 for number in range(10)]
    for record in records:
        assert one.append(record)
    assert one.oldest() == records[0]
    one.remove_oldest()
    one.close()

    again = spool.Spool(tmp_path, 10 * MIB)
    # The rest of a file is sent again: that is stored once.
    assert drain(again) == records
    assert (len(again), list(tmp_path.glob('*.spool'))) == (0, [])
    assert again.append(b'new')
    assert drain(again) == [b'new']


def test_the_newest_is_refused_when_it_is_full(tmp_path):
    """And there is room again once a file is sent."""
    one = spool.Spool(tmp_path, MIB)
    assert all(one.append(bytes(200_000)) for _ in range(5))
    assert not one.append(bytes(200_000))
    assert len(one) == 5
    drain(one)
    assert one.append(bytes(200_000))


def test_only_one_agent_has_a_folder(tmp_path):
    """Two would send and remove each other's messages."""
    one = spool.Spool(tmp_path, MIB)
    with pytest.raises(errors.ConfigurationError, match='another agent uses'):
        spool.Spool(tmp_path, MIB)
    one.close()
    spool.Spool(tmp_path, MIB).close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    """With the option and the reason."""
    (tmp_path / 'file').touch()
    with pytest.raises(
        errors.ConfigurationError, match=r'\[agent\]spool_folder: .*Not a directory'
    ):
        spool.Spool(tmp_path / 'file' / 'spool', MIB)


def test_a_crash_at_any_byte_leaves_what_was_whole(tmp_path, caplog):
    """The file may end anywhere, or hold anything behind that."""
    one = spool.Spool(tmp_path, MIB)
    for record in (b'first', b'second'):
        one.append(record)
    one.close()
    (path,) = tmp_path.glob('*.spool')
    whole = path.read_bytes()
    for size in range(len(whole)):
        for rest in (b'', b'\xff' * 20):
            path.write_bytes(whole[:size] + rest)
            again = spool.Spool(tmp_path, MIB)
            expected = [b'first'] if size >= len(b'first') + 8 else []
            assert len(again) == len(expected)
            again.append(b'after')
            caplog.clear()
            assert drain(again) == [*expected, b'after']
            damaged = size + len(rest) - sum(8 + len(record) for record in expected)
            assert (f'{damaged} bytes at the end of' in caplog.text) == bool(damaged)
            again.close()


def test_what_was_written_survives_kill_9(tmp_path):
    """A record counts once append() has returned."""
    writer = subprocess.Popen(
        [sys.executable, '-c', WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    said = [int(writer.stdout.readline()) for _ in range(500)]
    writer.send_signal(signal.SIGKILL)
    said += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()

    found = [int(record.split(b'x')[0]) for record in drain(spool.Spool(tmp_path, 2**30))]
    assert found[: len(said)] == said
    # The last may be written and not said.
    assert len(found) <= len(said) + 1


class SpoolMachine(stateful.RuleBasedStateMachine):
    """Whatever is done, it is a queue; after a restart some come again, and none is lost."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.one = spool.Spool(self.path, MIB)
        self.waiting = []
        self.sent = []

    @stateful.rule(size=st.integers(0, 300_000))
    def append(self, size):
        record = b'%d:' % (len(self.waiting) + len(self.sent)) + bytes(size)
        if self.one.append(record):
            self.waiting.append(record)

    @stateful.rule()
    def send(self):
        record = self.one.oldest()
        assert record == (self.waiting[0] if self.waiting else None)
        if record is not None:
            self.one.remove_oldest()
            self.sent.append(self.waiting.pop(0))

    @stateful.rule()
    def restart(self):
        self.one.close()
        self.one = spool.Spool(self.path, MIB)
        again = len(self.one) - len(self.waiting)
        assert 0 <= again <= len(self.sent)
        self.waiting = self.sent[len(self.sent) - again :] + self.waiting
        self.sent = self.sent[: len(self.sent) - again]

    @stateful.invariant()
    def counts(self):
        assert len(self.one) == len(self.waiting)

    def teardown(self):
        self.one.close()
        self.folder.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = hypothesis.settings(max_examples=30, stateful_step_count=30)
