"""Points of two scopes, and what a store answers about them."""

from datetime import UTC, datetime, timedelta

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.storage.v2.sql import verify

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
ALWAYS = (MAY - 90 * DAY, JUNE + 90 * DAY)
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')
CALENDAR = ('day_of_the_year', 'week_of_the_year', 'month', 'year')


def point(project, price, resource='x', qty=1, **more):
    return DataPoint(
        'unit', qty, price, {'project_id': project, 'id': resource, **more}, {'flavor': 'small'}
    )


def frame(begin, *found, metric='cpu'):
    return DataFrame(begin, begin + HOUR, {metric: list(found)})


def sums(storage, groups=(), begin=ALWAYS[0], end=ALWAYS[1], **more):
    """Return quantities and prices by group."""
    return {
        tuple(row[name] for name in groups): (row['qty'], row['rate'])
        for row in storage.total(list(groups), begin, end, paginate=False, **more)['results']
    }


def prices(storage, groups=(), begin=ALWAYS[0], end=ALWAYS[1], **more):
    return {key: price for key, (_, price) in sums(storage, groups, begin, end, **more).items()}


def stored(storage, begin=ALWAYS[0], end=ALWAYS[1], filters=None):
    """Return (begin, metric, scope, resource, price) of all points, sorted."""
    found = storage.retrieve(begin, end, filters, paginate=False)['dataframes']
    return sorted(
        (part.start, metric, one.groupby['project_id'], one.groupby['id'], one.price)
        for part in found
        for metric, one in part
    )


def check(storage):
    """Return what is wrong with the tables."""
    with storage.database.reader() as connection:
        found = list_scopes(connection, None)
    return [str(fault) for scope in found for fault in verify.check(storage.database, scope)]
