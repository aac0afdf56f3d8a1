"""Foreign drivers can be told right from wrong by the contract that the project ships."""

import subprocess
import sys

import pytest

from cloudkitty import errors
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v1.adapter import Adapter
from cloudkitty.tests.conformance import storage as conformance
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point
from cloudkitty.tests.drivers.storage import foreign

# What the author of a driver writes.
MODULE = """
import pytest
from cloudkitty.tests.conformance.storage import ReadingContract
from cloudkitty.tests.drivers.storage.foreign import {driver}

class TestDriver(ReadingContract):
    @pytest.fixture
    def storage(self, conf):
        return {driver}(conf)
"""


class TestMemoryV2(
    conformance.ReadingContract,
    conformance.ExactnessContract,
    conformance.ReplacementContract,
    conformance.MarksContract,
):
    """A driver outside the database, which has the default ways of commit, reset and replace."""

    @pytest.fixture
    def storage(self, conf):
        return foreign.MemoryV2(conf)

    def test_a_mark_that_moves_while_points_are_stored_is_told(self, storage, batch):
        class Raced(foreign.MemoryV2):
            def push(self, dataframes, scope_id=None):
                """Another worker is faster with the first scope."""
                super().push(dataframes, scope_id)
                with self.database.writer() as connection:
                    scope_state.advance(connection, {batch[0].state_id: batch[0].new_mark})

        assert Raced(storage.conf).commit(batch) == [batch[0]]


class TestMemoryV1(
    conformance.ReadingContract, conformance.ExactnessContract, conformance.MarksContract
):
    """A driver of interface 1 behind the adapter."""

    @pytest.fixture
    def storage(self, conf):
        return foreign.MemoryV1(conf).as_v2()

    def test_it_is_behind_the_adapter(self, storage):
        assert isinstance(storage, Adapter)

    def test_what_it_gets_is_naive_utc_and_the_callers_frame_is_not(self, storage):
        given = frame(MAY, {'cpu': [point('a')]})
        storage.push([given, frame(MAY + HOUR, {})], 'a')

        assert [
            (owner, kept.start.tzinfo, sorted(kept.usage)) for owner, kept in storage.driver.stored
        ] == [('a', None, ['cpu']), ('a', None, [])]
        assert given.start == MAY

    def test_nothing_can_be_taken_away(self, two_projects):
        """A store that can only be added to says so; it does not double what is rated again."""
        with pytest.raises(errors.Conflict, match='cannot take rated data away'):
            two_projects.delete(MAY, JUNE)
        with pytest.raises(errors.Conflict, match='cannot take rated data away'):
            two_projects.replace([])


@pytest.mark.parametrize('driver, status', [('MemoryV2', 0), ('ForgetfulV2', 1)])
def test_an_author_can_run_it(tmp_path, driver, status):
    """Outside this tree, with nothing but the installed packages."""
    module = tmp_path / 'test_driver.py'
    module.write_text(MODULE.format(driver=driver))

    ended = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', module],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == status, ended.stdout
    if status:
        assert 'test_pushing_twice_changes_nothing' in ended.stdout
