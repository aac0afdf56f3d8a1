"""`/v2/scope`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cloudkitty import errors, schedule, timeframe
from cloudkitty.api import query, reading, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.db import lags, resets, scope_changes, scopes

# Characters of a scope key, and of the name of a fetcher or collector.
PART_LENGTH_MAX = 40
# What others than an admin read of a failure: its text may name servers.
FAILED = 'Rating fails; the operator sees why.'
FILTERS = {name: query.many() for name in ('scope_id', 'scope_key', 'fetcher', 'collector')}


@query.accepts({'type': ['string', 'null'], 'maxLength': PART_LENGTH_MAX})
def _part(value):
    """Return a part of an identity, None for null and for the empty text."""
    return query.or_null(query.nonempty(PART_LENGTH_MAX))(value or None)


SCOPE = {
    'scope_id': query.required(query.one(query.nonempty(scopes.ID_LENGTH_MAX))),
    'scope_key': query.one(_part),
    'fetcher': query.one(_part),
    'collector': query.one(_part),
    'active': query.one(query.or_null(query.boolean)),
}

SHOWN = schemas.form(
    scope_id=schemas.TEXT, scope_key=schemas.OPTIONAL_TEXT, fetcher=schemas.OPTIONAL_TEXT,
    collector=schemas.OPTIONAL_TEXT, last_processed_timestamp=schemas.MOMENT,
    state=schemas.MOMENT, active=schemas.BOOLEAN, scope_activation_toggle_date=schemas.MOMENT,
    lag=schemas.INTEGER, failure=schemas.TEXT, failing_since=schemas.OPTIONAL_MOMENT,
    next_retry=schemas.OPTIONAL_MOMENT, held=schemas.TEXT)


def render(found: Sequence[scopes.Scope], request, *, now: datetime) -> list[dict]:
    """Return scopes as answers show them to the caller of *request*."""
    services = request.services
    identity = scopes.Identity.of(services.conf)
    with services.database.reader() as connection:
        lagging = lags.list_lags(connection, identity)
    is_admin = reading.viewer_of(request).is_admin
    return [{
        'scope_id': scope.scope_id,
        'scope_key': scope.scope_key,
        'fetcher': scope.fetcher,
        'collector': scope.collector,
        'last_processed_timestamp': scope.mark,
        # The old name, which the released client reads.
        'state': scope.mark,
        'active': scope.active,
        'scope_activation_toggle_date': scope.toggled_at,
        'lag': (lag_s := _lag_s(scope, services.conf.collect, now)),
        'failure': _failure(scope, is_admin),
        'failing_since': scope.failing_since,
        'next_retry': scope.retry_at,
        'held': (_held(scope, lagging, services.conf.collect.period)
                 if lag_s and scope.identity == identity else ''),
    } for scope in found]


def _lag_s(scope, options, now):
    if not scope.active:
        return 0
    return int(schedule.lag(scope.mark, now, length_s=options.period, final_mark=scope.final_mark,
                            wait_periods=options.wait_periods).total_seconds())


def _failure(scope, is_admin):
    return FAILED if scope.failure_reason and not is_admin else scope.failure_reason or ''


def _held(scope, lagging, length_s):
    end = scope.mark + timedelta(seconds=2 * length_s)
    return lags.describe({metric: lag for metric, lag in lagging.items()
                          if lag.state == lags.HELD and lag.newest < end})


def list_scopes(request, *, offset, limit, **filters):
    filters['scope_id'] = reading.visible_scopes(request, filters['scope_id'])
    with request.services.database.reader() as connection:
        total, found = scopes.list_scopes(connection, offset=offset, limit=limit, **filters)
    if not found:
        raise errors.NotFound(reason='No scope matches.')
    return {'total': total, 'results': render(found, request, now=datetime.now(UTC))}


def reset_scopes(request, *, all_scopes, scope_id, last_processed_timestamp, state, **filters):
    """Order the reset; a processor carries it out."""
    if (all_scopes is None) == (scope_id is None):
        raise errors.InvalidInput(reason='Either all_scopes or scope_id must be given')
    if not (all_scopes or scope_id):
        raise errors.InvalidInput(reason='No scope is chosen')
    empty = [name for name, values in filters.items() if values == []]
    if empty:
        raise errors.InvalidInput(reason=f'No value is given for {", ".join(empty)}')
    if (last_processed_timestamp is None) == (state is None):
        raise errors.InvalidInput(reason='Exactly one of last_processed_timestamp and its old '
                                         'name state must be given')
    mark = last_processed_timestamp or state
    now = datetime.now(UTC)
    if mark > now:
        raise errors.InvalidInput(reason=f'{timeframe.render(mark)} is in the future')

    def change(connection):
        _, found = scopes.list_scopes(connection, scope_id=scope_id, **filters)
        if not found:
            raise errors.NotFound(reason='No scope matches.')
        resets.order(connection, [scope.id for scope in found], mark, now=now)
        return found

    found = request.services.database.write(change)
    request.services.bus.scopes_reset([
        {'scope_id': scope.scope_id, 'scope_key': scope.scope_key, 'fetcher': scope.fetcher,
         'collector': scope.collector} for scope in found], timeframe.render(mark))
    return {}


def create_scope(request, *, scope_id, last_processed_timestamp, active, **parts):
    conf, now = request.services.conf, datetime.now(UTC)
    identity = scopes.Identity.of(conf)._replace(
        **{name: value for name, value in parts.items() if value})
    created = scope_changes.create(
        request.services.database, scope_id, identity, mark=last_processed_timestamp,
        active=active is not False, now=now)
    request.services.bus.orders_changed()
    return render([created], request, now=now)[0]


def update_scope(request, *, scope_id, **values):
    now = datetime.now(UTC)
    changed = scope_changes.update(request.services.database, scope_id, now=now, **values)
    request.services.bus.orders_changed()
    return render([changed], request, now=now)[0]


ROUTES = {
    ('scope',): {
        'GET': Endpoint(list_scopes, 'scope:get_state', query.PAGE | FILTERS | {
            'active': query.many(query.integer(0, 1)),
        }, answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(SHOWN))),
        'PUT': Endpoint(reset_scopes, 'scope:reset_state', status=202, body=FILTERS | {
            'all_scopes': query.one(query.boolean_like),
            'last_processed_timestamp': query.one(query.instant),
            'state': query.one(query.instant),
        }, answer=schemas.form()),
        'PATCH': Endpoint(update_scope, 'scope:patch_state', body=SCOPE | {
            'bill_inactive_time': query.one(query.or_null(query.boolean)),
        }, answer=SHOWN),
        'POST': Endpoint(create_scope, 'scope:post_state', body=SCOPE | {
            'last_processed_timestamp': query.required(query.one(query.instant)),
        }, answer=SHOWN),
    },
}
