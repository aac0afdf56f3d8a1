"""Versions of the document of plans and accounts, on every database."""

import pathlib
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.audit import trail
from cloudkitty.billing import documents
from cloudkitty.core.billing import document

NOW = datetime(2026, 10, 5, tzinfo=UTC)
ACTOR = trail.Actor('ann')
SAMPLE = pathlib.Path(__file__).parents[4] / 'etc' / 'cloudkitty' / 'billing' / 'plans.yml'


def form(coupon='1'):
    return {'plans': {'a': {'currency': 'EUR', 'coupon': coupon}}}


def apply(store, coupon, month, **more):
    return store.apply(form(coupon), month, actor=ACTOR, now=NOW, **more)


@pytest.fixture
def store(any_database):
    return documents.Documents(any_database)


def test_a_version_holds_until_a_newer_one_does(store):
    """The newest of those that begin by then."""
    for coupon, month in (('1', '2026-03'), ('2', '2026-05'), ('3', '2026-04')):
        apply(store, coupon, month)

    with store.database.reader() as connection:
        found = [store.version_of(connection, f'2026-{month:02}') for month in (2, 3, 4, 5)]
        coupons = [
            store.get(connection, version, '2026-01').plans['a'].coupon for version in found[1:]
        ]
        assert store.get(connection, 0, '2026-01') == document.parse({})
        with pytest.raises(errors.NotFound):
            store.form(connection, 4)
    assert found == [0, 1, 3, 3]
    assert coupons == [1, 3, 3]


@pytest.mark.parametrize('most, read', [(documents.KEPT_MAX, 0), (20, 12)])
def test_versions_are_read_once(database, monkeypatch, most, read):
    """As many as fit into the memory that is allowed: a plan counts 1, and a document 1."""
    monkeypatch.setattr(documents, 'KEPT_MAX', most)
    store = documents.Documents(database)
    versions = [apply(store, '1', f'2026-{month:02}').version for month in range(1, 13)]
    asked = []
    sa.event.listen(
        database.engine,
        'before_cursor_execute',
        lambda _connection, _cursor, text, *_: asked.append('version = ' in text),
    )

    for _ in range(2):
        asked.clear()
        with database.reader() as connection:
            for version in versions:
                store.get(connection, version, '2026-01')

    assert sum(asked) == read


def test_what_others_changed_meanwhile_is_not_overwritten(store):
    """With the digest that the differences were made from."""
    first = apply(store, '1', '2026-03', expected='')
    apply(store, '2', '2026-03', expected=first.digest)

    with pytest.raises(errors.Conflict, match='The newest version is 2 with digest'):
        apply(store, '3', '2026-03', expected=first.digest)
    with store.database.reader() as connection:
        assert [version.version for version in store.versions(connection)] == [2, 1]


def test_rolling_back_restores_the_bytes_of_the_export(store):
    """An old version becomes the newest, and the audit trail has all three."""
    apply(store, '1', '2026-03')
    apply(store, '2', '2026-04')
    with store.database.reader() as connection:
        before = documents.export(store.form(connection, 1))

    made = store.roll_back(1, '2026-05', actor=ACTOR, now=NOW)

    with store.database.reader() as connection:
        assert documents.export(store.form(connection, made.version)) == before
        _, entries = trail.list_entries(connection, kind=[trail.BILLING_DOCUMENT])
    assert [(entry.user_id, entry.object_id, entry.action) for entry in entries] == [
        ('ann', '3', 'update'),
        ('ann', '2', 'update'),
        ('ann', '1', 'create'),
    ]
    assert entries[0].after['digest'] == entries[2].after['digest']


@pytest.mark.parametrize('month, content', [('2026-13', {}), ('2026-03', {'plan': {}})])
def test_what_is_wrong_is_not_stored(store, month, content):
    with pytest.raises(errors.InvalidInput):
        store.apply(content, month, actor=ACTOR, now=NOW)

    with store.database.reader() as connection:
        assert store.newest(connection) == documents.NONE


def test_an_export_reads_back():
    """Whatever looks like a number, a date or a boolean stays text."""
    read = documents.load(SAMPLE.read_text())
    read['accounts']['acme']['name'] = 'yes'

    assert documents.load(documents.export(read)) == read
    assert list(documents.differences(read, documents.load(documents.export(read)))) == []


def test_differences_have_a_line_each():
    before = {'plans': {'a': {'coupon': '1', 'items': ['x', 'y']}, 'b': {}}}
    after = {'plans': {'a': {'coupon': '2', 'items': ['x']}, 'c': {'coupon': '3'}}}

    assert list(documents.differences(before, after)) == [
        '~ plans.a.coupon: 1 -> 2',
        '- plans.a.items[1]: y',
        '- plans.b: {}',
        '+ plans.c: {"coupon":"3"}',
    ]


@pytest.mark.parametrize(
    'text, told',
    [
        ('a: [', 'no YAML'),
        ('- a', 'must be a mapping'),
        ('plans: {a: {}, a: {}}', "'a' is there twice"),
        ('a: ' + '[' * 5000, 'no YAML'),
    ],
)
def test_no_document(text, told):
    with pytest.raises(errors.InvalidInput, match=told):
        documents.load(text)
