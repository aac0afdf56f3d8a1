"""The audit trail: one row for each object that a request changed, and none for what it did not."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.rating.hashmap.store import mappings as db_mappings
from cloudkitty.tests.functional.api import world

CONFIG = '/v1/rating/module_config'
HASHMAP = f'{CONFIG}/hashmap'
WHO = {'X_User_Id': 'boss', 'X_Project_Id': 'office', 'X_Roles': 'admin'}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = '2990-01-01T00:00:00'
# More rules than one statement of the trail reads.
MANY = 501


class Rules:
    """A caller who changes rules, and reads what the trail says of each request.

    :ivar seen: how many rows of the trail were read already.
    """

    def __init__(self, made):
        self.application = made.behind_a_proxy({})
        self.database = made.database
        self.seen = 0

    def send(self, path, method='POST', *, expected=201, **body):
        answer = world.call(self.application, path, method, json=body, **WHO)
        assert answer.status_int == expected, answer.text
        return answer

    def create(self, kind, **body):
        """Return the identifier of a new object of hashmap."""
        return self.send(f'{HASHMAP}/{kind}s', **body).json[f'{kind}_id']

    def read(self, answer):
        """Return {(action, kind, id): (before, after)} of the rows that *answer* left."""
        total = world.call(self.application, '/v2/audit', **WHO).json['total']
        fresh, self.seen = total - self.seen, total
        if not fresh:
            return {}
        rows = world.call(self.application, f'/v2/audit?limit={fresh}', **WHO).json['results']
        request_id = answer.headers['x-openstack-request-id']
        assert {(row['user_id'], row['project_id'], row['request_id']) for row in rows} == {
            ('boss', 'office', request_id)
        }
        found = {
            (row['action'], row['kind'], row['object_id']): (row['before'], row['after'])
            for row in rows
        }
        assert len(found) == fresh
        return found


@pytest.fixture
def rules(tmp_path, sqlite_template):
    with world.opened(tmp_path, sqlite_template) as made:
        yield Rules(made)


def _one(found):
    ((key, forms),) = found.items()
    return key, forms


@pytest.mark.parametrize('kind', ['service', 'group'])
def test_what_has_only_a_name(rules, kind):
    made = rules.send(f'{HASHMAP}/{kind}s', name='a')
    identifier = made.json[f'{kind}_id']
    form = {f'{kind}_id': identifier, 'name': 'a'}

    assert _one(rules.read(made)) == (('create', f'hashmap_{kind}', identifier), (None, form))
    gone = rules.send(f'{HASHMAP}/{kind}s/{identifier}', 'DELETE', expected=204)
    assert _one(rules.read(gone)) == (('delete', f'hashmap_{kind}', identifier), (form, None))


@pytest.mark.parametrize(
    'path, kind, body, changed, told',
    [
        ('hashmap/mappings', 'hashmap_mapping', {'cost': 1}, {'cost': 2}, ('cost', 1, 2)),
        (
            'hashmap/thresholds',
            'hashmap_threshold',
            {'cost': 1, 'level': 5},
            {'cost': 1, 'level': 7},
            ('level', 5, 7),
        ),
        (
            'pyscripts/scripts',
            'pyscripts_script',
            {'name': 's', 'data': 'a = 1'},
            {'name': 's', 'data': 'a = 2'},
            ('data', 'a = 1', 'a = 2'),
        ),
    ],
)
def test_what_has_a_price(rules, path, kind, body, changed, told):
    """Made, changed, left as it is, and deleted."""
    if kind != 'pyscripts_script':
        body = body | {'service_id': rules.create('service', name='a')}
    if kind != 'hashmap_threshold':
        body, changed = ({**form, 'start': LATER} for form in (body, changed))
    rules.seen = world.call(rules.application, '/v2/audit', **WHO).json['total']
    name, old, new = told

    made = rules.send(f'{CONFIG}/{path}', **body)
    identifier = made.json[f'{kind.partition("_")[2]}_id']
    (action, told_kind, told_id), (before, after) = _one(rules.read(made))
    assert (action, told_kind, told_id, before, after[name]) == (
        'create',
        kind,
        identifier,
        None,
        old,
    )
    status = 201 if kind == 'pyscripts_script' else 302
    for number, expected in enumerate(({('update', kind, identifier): (old, new)}, {})):
        answer = rules.send(f'{CONFIG}/{path}/{identifier}', 'PUT', expected=status, **changed)
        found = rules.read(answer)
        if number and kind == 'pyscripts_script':
            continue
        assert {
            key: (before[name], after[name]) for key, (before, after) in found.items()
        } == expected
    gone = rules.send(f'{CONFIG}/{path}/{identifier}', 'DELETE', expected=204)
    (action, told_kind, told_id), (before, after) = _one(rules.read(gone))
    assert (action, told_kind, told_id, before[name], after) == (
        'delete',
        kind,
        identifier,
        new,
        None,
    )


def test_what_hangs_on_an_object_goes_with_it(rules):
    """A service takes its fields and all their rules along; each has a row."""
    service = rules.create('service', name='a')
    field = rules.create('field', name='f', service_id=service)
    kept = rules.create('service', name='b')
    rules.create('mapping', service_id=kept, cost=1)
    gone = {
        ('delete', 'hashmap_service', service),
        ('delete', 'hashmap_field', field),
        ('delete', 'hashmap_mapping', rules.create('mapping', service_id=service, cost=1)),
        ('delete', 'hashmap_mapping', rules.create('mapping', field_id=field, value='x', cost=1)),
        (
            'delete',
            'hashmap_threshold',
            rules.create('threshold', field_id=field, level=1, cost=1),
        ),
    }
    rules.seen += 7

    found = rules.read(rules.send(f'{HASHMAP}/services/{service}', 'DELETE', expected=204))

    assert found.keys() == gone
    assert all(before and after is None for before, after in found.values())


@pytest.mark.parametrize(
    'recursive, action, count', [('false', 'update', MANY), ('true', 'delete', 3)]
)
def test_a_group_with_more_rules_than_a_statement_holds(rules, recursive, action, count):
    """Each of them is told: as one without group, or as gone."""
    group = rules.create('group', name='g')
    service = rules.create('service', name='a')
    field = rules.create('field', name='f', service_id=service)
    with rules.database.writer() as connection:
        mappings = [
            db_mappings.create(
                connection,
                db_mappings.NewMapping(
                    field_id=field, group_id=group, value=str(number), cost=Decimal(1)
                ),
                now=NOW,
                author='u',
            ).mapping_id
            for number in range(count)
        ]
    rules.seen = 3
    path = f'{HASHMAP}/groups/{group}?recursive={recursive}'

    found = rules.read(rules.send(path, 'DELETE', expected=204))

    assert found.keys() == {
        ('delete', 'hashmap_group', group),
        *((action, 'hashmap_mapping', mapping) for mapping in mappings),
    }
    for (_, kind, _), (before, after) in found.items():
        if kind == 'hashmap_mapping':
            assert before['group_id'] == group
            assert after is None if action == 'delete' else after['group_id'] is None


def test_a_module_is_told_with_both_its_states(rules):
    answer = rules.send(
        '/v1/rating/modules/hashmap', 'PUT', expected=302, module_id='hashmap', enabled=True
    )
    off, on = ({'enabled': enabled, 'priority': 1} for enabled in (False, True))
    assert _one(rules.read(answer)) == (('update', 'module', 'hashmap'), (off, on))

    answer = rules.send('/v2/rating/modules/hashmap', 'PUT', expected=204, enabled=True, priority=1)

    assert rules.read(answer) == {}


@pytest.mark.parametrize(
    'path, method, body',
    [
        ('services', 'POST', {'name': 'a'}),
        ('services', 'POST', {'name': ''}),
        ('services/x', 'DELETE', {}),
        ('mappings', 'POST', {'cost': 1}),
        ('groups/x', 'DELETE', {}),
    ],
)
def test_what_is_refused_leaves_no_row(rules, path, method, body):
    service = rules.send(f'{HASHMAP}/services', name='a')
    rules.read(service)

    answer = world.call(rules.application, f'{HASHMAP}/{path}', method, json=body, **WHO)

    assert answer.status_int in (400, 404, 409)
    assert rules.read(answer) == {}


def test_who_changes_a_rule_is_kept_as_far_as_the_columns_go(rules):
    """A long user id is no reason to refuse a change."""
    service = rules.create('service', name='a')
    long = {**WHO, 'X_User_Id': 'u' * 300, 'X_Project_Id': 'p' * 300}

    answer = world.call(
        rules.application,
        f'{HASHMAP}/mappings',
        'POST',
        json={'service_id': service, 'cost': 1},
        **long,
    )

    assert answer.json['created_by'] == 'u' * 64
    (row,) = world.call(rules.application, '/v2/audit?limit=1', **WHO).json['results']
    assert (row['user_id'], row['project_id']) == ('u' * 255, 'p' * 255)
