"""Scripts in the database, on every database."""

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.rating import module_state, validity
from cloudkitty.rating.pyscripts import store as script_store

NOW = datetime(2024, 5, 1, 12, 0, 7, 250, tzinfo=UTC)
SECOND = NOW.replace(microsecond=0)
HOUR = timedelta(hours=1)
UNKNOWN = '6f6e652d-0000-4000-8000-000000000000'


DESCRIPTION = '50% off ' * 40


def create(connection, name='s', data='a = 0', *, force=True, **values):
    new = script_store.NewScript(name=name, data=data, **values)
    return script_store.create(connection, new, now=NOW, author='me', force=force)


def update(connection, script, now=NOW, **changes):
    return script_store.update(connection, script.script_id, changes, now=now, author='you')


def names(connection, has_data=True, **wanted):
    return [
        script.name
        for script in script_store.list_of(
            connection, validity.Wanted(**wanted), now=NOW, has_data=has_data
        )
    ]


def test_a_script_is_what_was_created(any_database):
    """It starts now, its source is compressed, and its checksum is that of the source."""
    with any_database.writer() as connection:
        long = 'x = "ü🐱"\n' * 10000
        script = create(connection, data=long, end=SECOND + HOUR, description=DESCRIPTION)
        assert script == script_store.Script(
            script_id=script.script_id,
            name='s',
            data=long,
            start=SECOND,
            end=SECOND + HOUR,
            checksum=hashlib.sha512(long.encode()).hexdigest(),
            description=DESCRIPTION,
            created_at=SECOND,
            created_by='me',
        )
        assert script_store.get(connection, script.script_id.upper().replace('-', '')) == script
        stored = connection.execute(tables.pyscripts_scripts.select()).one()
        assert len(stored.data) < 1000
        assert module_state.versions(connection) == {'pyscripts': 1}
        assert create(connection, 'empty', '').checksum.startswith('cf83e1357eefb8bd')


@pytest.mark.parametrize(
    'change',
    [
        lambda connection, script: create(connection, 'another'),
        lambda connection, script: update(connection, script, data='a = 1'),
        lambda connection, script: update(connection, script, end=SECOND + 2 * HOUR),
        lambda connection, script: script_store.delete(
            connection, script.script_id, now=NOW, author='you'
        ),
    ],
)
def test_every_change_gives_the_scripts_one_new_version(database, change):
    """By it running workers learn of the change; nothing else tells them."""
    with database.writer() as connection:
        script = create(connection, start=SECOND + HOUR)

        change(connection, script)

        assert module_state.versions(connection) == {'pyscripts': 2}


def test_a_changed_source_has_another_checksum(database):
    """By it the process that runs scripts tells the new one from the old one."""
    with database.writer() as connection:
        script = create(connection, start=SECOND + HOUR)

        changed = update(connection, script, data='a = 1')

        assert changed.checksum == hashlib.sha512(b'a = 1').hexdigest() != script.checksum
        assert script_store.load(connection) == [changed]


@pytest.mark.parametrize(
    'values, text',
    [
        ({'name': None}, "field/attribute name. Value: 'None'. Mandatory field missing."),
        ({'name': ''}, 'minimum length of 1'),
        ({'name': 'x' * 256}, 'maximum length of 255'),
        ({'data': None}, "field/attribute data. Value: 'None'. Mandatory field missing."),
        ({'data': '\ud800'}, 'field/attribute data'),
        ({'description': 'x' * 65536}, 'maximum length of 65535'),
        (
            {'end': SECOND - HOUR},
            'Cannot create a rule with start after end. '
            'start=[2024-05-01 12:00:07] end=[2024-05-01 11:00:07].',
        ),
        ({'start': SECOND - HOUR, 'force': False}, 'Cannot create a rule with start in the past. '),
    ],
)
def test_what_makes_no_sense_is_refused(database, values, text):
    with database.writer() as connection:
        with pytest.raises(errors.InvalidInput) as caught:
            create(connection, **values)
        assert text in str(caught.value)
        assert names(connection) == []


def test_a_name_is_unique_among_the_scripts_that_are_not_deleted(any_database):
    with any_database.writer() as connection:
        for _ in range(2):
            script = create(connection)
            create(connection, f'S{script.script_id}')
            with pytest.raises(errors.Conflict) as caught:
                create(connection)
            assert str(caught.value) == f'Script s already exists (UUID: {script.script_id})'
            script_store.delete(connection, script.script_id, now=NOW, author='you')
        assert len(names(connection, deleted=True)) == 4


def test_a_deleted_script_is_kept_but_not_found(any_database):
    with any_database.writer() as connection:
        script = create(connection)
        script_store.delete(connection, script.script_id, now=SECOND + HOUR, author='you')
        for gone in (script.script_id, UNKNOWN, 'odd'):
            text = f'No such script: None \\(UUID: {gone}\\)'
            with pytest.raises(errors.NotFound, match=text):
                script_store.get(connection, gone)
            with pytest.raises(errors.NotFound, match=text):
                script_store.delete(connection, gone, now=NOW, author='you')
            with pytest.raises(errors.NotFound, match=text):
                script_store.update(connection, gone, {}, now=NOW, author='you')
        deleted = dataclasses.replace(script, deleted=SECOND + HOUR, deleted_by='you')
        assert script_store.load(connection) == [deleted]


def test_scripts_are_loaded_in_the_order_in_which_they_run(any_database):
    with any_database.writer() as connection:
        for name, start in (('b', 1), ('a', 1), ('B', 1), ('z', 0), ('ä', 1)):
            create(connection, name, start=SECOND + start * HOUR)
        assert [script.name for script in script_store.load(connection)] == [
            'z',
            'B',
            'a',
            'b',
            'ä',
        ]
        assert names(connection) == ['b', 'a', 'B', 'z', 'ä']


def test_lists_are_filtered(any_database):
    with any_database.writer() as connection:
        create(connection, 'ended', start=SECOND - 2 * HOUR, end=SECOND)
        create(connection, 'running', start=SECOND - HOUR, description='50% OFF')
        create(connection, 'future', start=SECOND + HOUR, end=SECOND + 2 * HOUR)
        gone = create(connection, 'deleted')
        script_store.delete(connection, gone.script_id, now=NOW, author='you')
        for wanted, expected in (
            ({}, ['ended', 'running', 'future']),
            ({'deleted': True}, ['ended', 'running', 'future', 'deleted']),
            ({'is_active': True, 'deleted': True}, ['running']),
            ({'start': SECOND}, ['future']),
            ({'end': SECOND + HOUR}, ['ended']),
            ({'created_by': 'you'}, []),
            ({'updated_by': 'me'}, []),
            ({'deleted_by': 'you', 'deleted': True}, ['deleted']),
            ({'description': '0% o'}, ['running']),
            ({'description': '_'}, []),
        ):
            assert names(connection, **wanted) == expected, wanted
        assert {
            script.data
            for script in script_store.list_of(
                connection, validity.Wanted(), now=NOW, has_data=False
            )
        } == {None}


def test_before_its_start_a_script_can_change(any_database):
    """What it holds stays when absent, `end` and `description` excepted."""
    with any_database.writer() as connection:
        script = create(connection, start=SECOND + HOUR, end=SECOND + 2 * HOUR, description='d')
        create(connection, 'taken')
        changed = update(
            connection,
            script,
            name='t',
            data='b = 1',
            start=SECOND + 3 * HOUR,
            created_by='ignored',
        )
        assert changed == dataclasses.replace(
            script,
            name='t',
            data='b = 1',
            start=SECOND + 3 * HOUR,
            end=None,
            description=None,
            checksum=hashlib.sha512(b'b = 1').hexdigest(),
            updated_by='you',
        )
        assert update(connection, script, name='t') == changed
        with pytest.raises(errors.Conflict, match='Script taken already exists'):
            update(connection, script, name='taken')
        with pytest.raises(errors.InvalidInput, match='start in the past'):
            update(connection, script, start=SECOND - HOUR)


def test_a_running_script_gets_its_end_once(any_database):
    """Clients send all of it back."""
    with any_database.writer() as connection:
        script = create(connection)
        body = dataclasses.asdict(script) | {'end': SECOND + HOUR}
        del body['checksum']
        changed = update(connection, script, **body)
        version = module_state.versions(connection)
        assert (changed.end, changed.updated_by) == (SECOND + HOUR, 'you')
        assert update(connection, script, **body) == changed
        assert module_state.versions(connection) == version
        with pytest.raises(errors.InvalidInput, match='already processed and has a defined end'):
            update(connection, script, end=SECOND + 2 * HOUR)


@pytest.mark.parametrize(
    'changes', [{'data': 'b = 1'}, {'name': 't'}, {'description': 'x'}, {'start': SECOND + HOUR}]
)
def test_of_a_running_script_only_the_end_may_change(database, changes):
    with database.writer() as connection:
        script = create(connection)
        with pytest.raises(
            errors.InvalidInput,
            match=r'update only the attribute \[end\] as this '
            r'rule is already running as it started on '
            r'\[2024-05-01 12:00:07\]',
        ):
            update(connection, script, **changes)
        with pytest.raises(errors.InvalidInput, match='End date must be in the future'):
            update(connection, script, end=SECOND)
        assert update(connection, script, name='s', data='a = 0', end=None) == script


def test_a_damaged_source_hurts_no_other_script(database):
    with database.writer() as connection:
        damaged, good = create(connection), create(connection, 'good')
        table = tables.pyscripts_scripts
        connection.execute(table.update().where(table.c.name == 's').values(data=b'no zlib'))
        assert script_store.get(connection, damaged.script_id).data is None
        assert names(connection) == ['s', 'good']
        assert script_store.load(connection)[0] == good
        script_store.delete(connection, damaged.script_id, now=NOW, author='me')
