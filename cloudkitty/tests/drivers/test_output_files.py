"""Which report files are written again, and how: on each database."""

import hashlib
import json
import os
from datetime import timedelta

import pytest

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import month_at
from cloudkitty.storage.v2.series import retention_cutoff
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment
from cloudkitty.write_orchestrator import (
    DIFFERENT,
    FAILED,
    MISSING,
    UNCHANGED,
    WRITTEN,
    WriteOrchestrator,
    files,
)
from cloudkitty.writer.csv_rows import CSVBody, CSVWriter
from cloudkitty.writer.osrf import OSRFBody, OSRFWriter

SPAN = month_at(OCTOBER)
OSRF, CSV = 'a-osrf-2026-10.json', 'a-2026-10.csv'
POINT = ('a', OCTOBER, 'cpu', '2', '0.123', {'flavor_name': 'm1'})


@pytest.fixture
def world(any_conf, any_database, tmp_path):
    any_conf.set_override('basepath', str(tmp_path / 'files'), 'output')
    # The entry points are those of the installed package.
    any_conf.set_override('pipeline', [], 'output')
    made = World(any_conf)
    made.store([POINT, ('b', OCTOBER, 'cpu', '1', '7', {})])
    return made


@pytest.fixture
def orchestrator(world):
    return opened(world)


def opened(world):
    made = WriteOrchestrator(world.conf, world.database, lambda: world.now)
    made.use({'osrf': OSRFWriter(), 'csv': CSVWriter()})
    return made


def states(orchestrator, scope='a'):
    return [outcome.state for outcome in orchestrator.generate(scope, SPAN)]


def content(world, name):
    with open(f'{world.conf.output.basepath}/{name}', 'rb') as file:
        return file.read()


def made_anew(world):
    """Return the files of scope a as an empty folder gets them."""
    world.conf.set_override('basepath', f'{world.conf.output.basepath}-new', 'output')
    try:
        orchestrator = opened(world)
        unknown = [files.get(world.database, name) for name in (OSRF, CSV)]
        for name in (OSRF, CSV):
            files.delete(world.database, name)
        assert states(orchestrator) == [WRITTEN, WRITTEN]
        found = [content(world, name) for name in (OSRF, CSV)]
        for file in unknown:
            files.put(world.database, file)
        return found
    finally:
        world.conf.set_override('basepath', world.conf.output.basepath[:-4], 'output')
        for name in (OSRF, CSV):
            os.unlink(f'{world.conf.output.basepath}-new/{name}')


def test_new_periods_are_appended(world, orchestrator, monkeypatch):
    """To the bytes of before, which are not rendered again; the result is that of a new file."""
    assert states(orchestrator) == [WRITTEN, WRITTEN]
    for number in range(1, 4):
        world.push('a', OCTOBER + number * HOUR, '1', '0.5', flavor_name='m1')
    rendered = []
    for kind in (OSRFBody, CSVBody):
        original = kind.append

        def append(body, periods, out, original=original):
            read = list(periods)
            rendered.append([one.frame.start for one in read])
            return original(body, read, out)

        monkeypatch.setattr(kind, 'append', append)
    assert states(orchestrator) == [WRITTEN, WRITTEN]
    monkeypatch.undo()

    assert rendered == [[OCTOBER + number * HOUR for number in range(1, 4)]] * 2
    assert [content(world, name) for name in (OSRF, CSV)] == made_anew(world)
    assert states(orchestrator) == [UNCHANGED, UNCHANGED]


def test_a_change_anywhere_is_seen(world, orchestrator):
    """Sums and number of points are the same; exactly the files of that scope are written."""
    world.push('a', OCTOBER + HOUR, '1', '0.5', flavor_name='m1')
    states(orchestrator), states(orchestrator, 'b')
    world.store([(*POINT[:5], {'flavor_name': 'm2'})])

    assert states(orchestrator) == [WRITTEN, WRITTEN]
    assert states(orchestrator, 'b') == [UNCHANGED, UNCHANGED]
    assert [content(world, name) for name in (OSRF, CSV)] == made_anew(world)


def test_usage_that_is_deleted_leaves_an_empty_file(world, orchestrator):
    """Not one that says what is no longer true."""
    states(orchestrator)
    assert orchestrator.scopes('2026-10') == ['a']
    world.storage.delete(filters={'project_id': ['a']})

    assert states(orchestrator) == [WRITTEN, WRITTEN]
    assert json.loads(content(world, OSRF)) == [{'total': 0}]


@pytest.mark.parametrize('damage', [b'', b'x', None])
def test_a_damaged_file_is_made_anew(world, orchestrator, damage):
    """Whatever lies there; the check of sizes finds it, or that of its beginning."""
    states(orchestrator)
    path = f'{world.conf.output.basepath}/{OSRF}'
    if damage is None:
        whole = content(world, OSRF)
        with open(path, 'wb') as file:
            file.write(whole.replace(b'm1', b'm9'))
    else:
        with open(path, 'wb') as file:
            file.write(damage)
    world.push('a', OCTOBER + HOUR, '1', '0.5', flavor_name='m1')

    assert states(orchestrator) == [WRITTEN, WRITTEN]
    assert [content(world, name) for name in (OSRF, CSV)] == made_anew(world)


def test_a_new_attribute_changes_the_header(world, orchestrator):
    """The columns of all rows are written again, sorted."""

    states(orchestrator)
    frame = DataFrame(OCTOBER + HOUR, OCTOBER + 2 * HOUR)
    frame.add_point(DataPoint('unit', 1, 2, {'project_id': 'a'}, {'b': '1', 'a': '2'}), 'cpu')
    world.storage.push([frame], 'a')

    assert states(orchestrator) == [WRITTEN, WRITTEN]
    assert content(world, CSV).splitlines()[0].endswith(b'Cost,user:a,user:b')
    assert [content(world, name) for name in (OSRF, CSV)] == made_anew(world)


def test_a_new_version_of_a_writer_writes_all_again(world, orchestrator):
    states(orchestrator)

    class Newer(OSRFWriter):
        version = 2

    orchestrator.writers['osrf'] = Newer()
    # The bytes are the same this time.
    assert states(orchestrator) == [UNCHANGED, UNCHANGED]
    assert files.get(world.database, OSRF).unit.version == '2'


def test_a_check_writes_nothing(world, orchestrator):
    def check():
        return [outcome.state for outcome in orchestrator.check('a', SPAN)]

    assert check() == [MISSING, MISSING]
    assert not os.path.exists(world.conf.output.basepath)
    states(orchestrator)
    assert check() == [UNCHANGED, UNCHANGED]
    world.push('a', OCTOBER + HOUR, '1', '0.5')
    assert check() == [DIFFERENT, DIFFERENT]
    assert files.of_month(world.database, '2026-10')[0].digest == (
        hashlib.sha256(content(world, CSV)).hexdigest()
    )


def test_a_month_whose_points_are_removed_keeps_its_files(world, orchestrator):
    """A file that would not be whole is not written."""
    states(orchestrator)
    world.database.write(
        lambda connection: retention_cutoff.move(connection, moment('2026-11-10').date(), world.now)
    )

    assert states(orchestrator) == [UNCHANGED, UNCHANGED]
    assert b'0.123' in content(world, OSRF)
    assert states(orchestrator, 'b') == [FAILED, FAILED]
    assert [outcome.state for outcome in orchestrator.check('b', SPAN)] == [FAILED, FAILED]


def test_the_manifest_says_what_there_is(world, orchestrator):
    """Complete: the month is over, all files are written, and nothing failed."""

    def manifest():
        return json.loads(content(world, 'manifest-2026-10.json'))

    for scope in 'ab':
        states(orchestrator, scope)
    orchestrator.finish(SPAN, is_all=True)
    found = manifest()
    by_name = {one['name']: one for one in found['files']}
    assert (found['month'], found['complete'], len(by_name)) == ('2026-10', True, 4)
    assert by_name[OSRF]['sha256'] == hashlib.sha256(content(world, OSRF)).hexdigest()
    assert by_name[OSRF]['size'] == len(content(world, OSRF))

    class Broken(OSRFWriter):
        version = 3

        def body(self, state=None):
            raise RuntimeError('no')

    orchestrator.writers['osrf'] = Broken()
    assert states(orchestrator) == [FAILED, UNCHANGED]
    orchestrator.finish(SPAN, is_all=True)
    assert manifest()['complete'] is False
    assert manifest()['files'][1]['failure'] == 'RuntimeError: no'
    world.now = OCTOBER + timedelta(days=3)
    orchestrator.writers['osrf'] = OSRFWriter()
    states(orchestrator)
    orchestrator.finish(SPAN, is_all=True)
    assert manifest()['complete'] is False


def test_old_files_are_removed(world, orchestrator):
    """After keep_months, with their rows; their manifest goes with the last of them."""
    states(orchestrator)
    orchestrator.finish(SPAN, is_all=True)
    assert orchestrator.expire() == []
    world.conf.set_override('keep_months', 2, 'output')
    assert orchestrator.expire() == []
    world.now = moment('2027-01-01')

    assert orchestrator.expire() == [CSV, OSRF]
    assert os.listdir(world.conf.output.basepath) == []
    assert files.of_month(world.database, '2026-10') == []
