"""Names of scopes: kept by fetcher and id, as they were told last."""

from cloudkitty.scopes import names


def record(database, told, fetcher='keystone'):
    return database.write(lambda connection: names.record(connection, fetcher, told))


def find(database, *scopes):
    with database.reader() as connection:
        return names.find(connection, scopes)


def test_the_last_name_counts_and_that_of_a_scope_that_is_gone_stays(any_database):
    assert record(any_database, {'p1': 'one', 'p2': 'two'}) == 2
    assert record(any_database, {'p1': 'One'}) == 1
    assert record(any_database, {'p1': 'One'}) == 0

    assert find(any_database, ('keystone', 'p1'), ('keystone', 'p2'), ('keystone', 'p3')) == {
        ('keystone', 'p1'): 'One',
        ('keystone', 'p2'): 'two',
    }


def test_fetchers_have_names_of_their_own(database):
    record(database, {'p1': 'one'})
    record(database, {'p1': 'uno'}, 'other')

    assert find(database, ('keystone', 'p1'))['keystone', 'p1'] == 'one'
    assert find(database, ('other', 'p1'))['other', 'p1'] == 'uno'


def test_a_name_that_cannot_be_stored_as_it_is_is_changed(database):
    told = {'p1': 'a\nb', 'p2': 'x' * 300, 'p3': '', 'p4': 'half \ud800'}
    assert record(database, told) == 3

    found = find(database, *(('keystone', scope_id) for scope_id in told))
    assert found['keystone', 'p1'] == 'a\\nb'
    assert found['keystone', 'p2'] == 'x' * names.LENGTH_MAX
    assert found['keystone', 'p4'] == 'half ?'
