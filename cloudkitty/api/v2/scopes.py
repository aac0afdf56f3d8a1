"""`/v2/scope`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cloudkitty import errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.core import bounds, schedule, timeframe
from cloudkitty.scopes import admin as scope_admin
from cloudkitty.scopes import agreement, late_data, resets, source_gaps, source_lag
from cloudkitty.scopes import names as scope_names
from cloudkitty.scopes import state as scope_state

# Characters of a scope key, and of the name of a fetcher or collector.
PART_LENGTH_MAX = 40
# A processor fetches the scopes far more often than this.
SEEN_LATELY = timedelta(days=1)
# Shown instead of a failure to others than an admin: its text may name servers.
FAILED = 'Rating fails; the operator sees why.'
# Most notes of a scope in an answer; GET /v2/completeness has all.
NOTES_MAX = 10
FILTERS = {name: parameters.many() for name in ('scope_id', 'scope_key', 'fetcher', 'collector')}


@parameters.accepts({'type': ['string', 'null'], 'maxLength': PART_LENGTH_MAX})
def _part(value):
    """Return a part of an identity, None for null and for the empty text."""
    return parameters.or_null(parameters.nonempty(PART_LENGTH_MAX))(value or None)


@parameters.accepts({'type': 'string', 'minLength': 1, 'maxLength': scope_state.ID_LENGTH_MAX})
def _scope_id(value):
    """Return a scope id, without control characters."""
    if bounds.CONTROLS.search(parameters.nonempty(scope_state.ID_LENGTH_MAX)(value)):
        raise ValueError('a control character is given')
    return value


SCOPE = {
    'scope_id': parameters.required(parameters.one(_scope_id)),
    'scope_key': parameters.one(_part),
    'fetcher': parameters.one(_part),
    'collector': parameters.one(_part),
    'active': parameters.one(parameters.or_null(parameters.boolean)),
}

NOTE = schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT, reason=schemas.TEXT)
SHOWN = schemas.form(
    scope_id=schemas.TEXT,
    name=schemas.OPTIONAL_TEXT,
    scope_key=schemas.OPTIONAL_TEXT,
    fetcher=schemas.OPTIONAL_TEXT,
    collector=schemas.OPTIONAL_TEXT,
    last_processed_timestamp=schemas.MOMENT,
    state=schemas.MOMENT,
    active=schemas.BOOLEAN,
    scope_activation_toggle_date=schemas.MOMENT,
    lag=schemas.INTEGER,
    failure=schemas.TEXT,
    failing_since=schemas.OPTIONAL_MOMENT,
    next_retry=schemas.OPTIONAL_MOMENT,
    held=schemas.TEXT,
    noted=schemas.listing(NOTE),
    reset_to=schemas.OPTIONAL_MOMENT,
)


# Items of a list: all members, or those in `fields`.
_LISTED = {**SHOWN, 'required': [], 'minProperties': 1}
# What a reset keeps: the number of pushed points, if there are any.
RESET = {
    'type': 'object',
    'properties': {'kept_pushed_points': schemas.INTEGER},
    'additionalProperties': False,
}


def render(found: Sequence[scope_state.Scope], request, *, now: datetime) -> list[dict]:
    """Return scopes as answers show them to the caller of *request*."""
    services = request.services
    identity = scope_state.Identity.of(services.conf)
    with services.database.reader() as connection:
        lagging = source_lag.list_lags(connection, identity)
        held_gaps = source_gaps.list_gaps(connection, identity, states=[source_gaps.HELD])
        noted = _list_noted(connection, found)
        named = scope_names.find(connection, [(scope.fetcher, scope.scope_id) for scope in found])
        ordered = resets.find_marks(connection, [scope.id for scope in found])
    is_admin = visibility.viewer_of(request).is_admin
    return [
        {
            'scope_id': scope.scope_id,
            'name': named.get((scope.fetcher or '', scope.scope_id)),
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
            'held': (
                _held(scope, lagging, held_gaps, services.conf.collect.period)
                if lag_s and scope.identity == identity
                else ''
            ),
            'noted': noted.get(scope.id, []),
            'reset_to': ordered.get(scope.id),
        }
        for scope in found
    ]


def _lag_s(scope, options, now):
    if not scope.active:
        return 0
    return int(
        schedule.lag(
            scope.mark,
            now,
            length_s=options.period,
            final_mark=scope.final_mark,
            wait_periods=options.wait_periods,
        ).total_seconds()
    )


def _failure(scope, is_admin):
    return FAILED if scope.failure_reason and not is_admin else scope.failure_reason or ''


def _held(scope, lagging, gaps, length_s):
    end = scope.mark + timedelta(seconds=2 * length_s)
    lags = {
        metric: lag
        for metric, lag in lagging.items()
        if lag.state == source_lag.HELD and lag.newest < end
    }
    holes = [gap for gap in gaps if gap.begin < end and gap.end > end - timedelta(seconds=length_s)]
    return source_lag.describe(lags) or source_gaps.describe(holes)


def _list_noted(connection, found):
    """Return the newest times that were rated without all samples, by primary key."""
    noted: dict[int, list[dict]] = {}
    for note in late_data.list_notes(connection, [scope.id for scope in found]):
        noted.setdefault(note.state_id, []).append(
            {'begin': note.begin, 'end': note.end, 'reason': note.reason}
        )
    return {key: notes[-NOTES_MAX:] for key, notes in noted.items()}


def list_scopes(request, *, fields, offset, limit, **filters):
    filters['scope_id'] = visibility.visible_scopes(request, filters['scope_id'])
    with request.services.database.reader() as connection:
        total, found = scope_state.list_scopes(connection, offset=offset, limit=limit, **filters)
    if not found:
        raise errors.NotFound(reason='No scope matches.')
    rows = render(found, request, now=datetime.now(UTC))
    if fields:
        rows = [{name: row[name] for name in fields} for row in rows]
    return {'total': total, 'results': rows}


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
        raise errors.InvalidInput(
            reason='Exactly one of last_processed_timestamp and its old name state must be given'
        )
    mark = last_processed_timestamp or state
    now = datetime.now(UTC)
    if mark > now:
        raise errors.InvalidInput(reason=f'{timeframe.render(mark)} is in the future')

    def change(connection):
        _require_same_length(connection, mark)
        _, found = scope_state.list_scopes(connection, scope_id=scope_id, **filters)
        if not found:
            raise errors.NotFound(reason='No scope matches.')
        found = _rated(connection, found, request.services.conf, now, is_all=bool(all_scopes))
        resets.order(connection, [scope.id for scope in found], mark, now=now)
        return found

    found = request.services.database.write(change)
    request.services.bus.scopes_reset(
        [
            {
                'scope_id': scope.scope_id,
                'scope_key': scope.scope_key,
                'fetcher': scope.fetcher,
                'collector': scope.collector,
            }
            for scope in found
        ],
        timeframe.render(mark),
    )
    kept = request.services.storage.count_pushed([scope.scope_id for scope in found], mark)
    return {'kept_pushed_points': int(kept)} if kept else {}


def _require_same_length(connection, mark):
    """Refuse to set a scope back to before a change of the length of a period."""
    changed_at = agreement.read(connection).changed_at
    if changed_at is not None and mark < changed_at:
        raise errors.InvalidInput(
            reason=f'What is agreed on has changed at {timeframe.render(changed_at)}: the periods '
            'before can be rated again with POST /v2/task/reprocesses, and not be reset'
        )


def _rated(connection, found, conf, now, *, is_all):
    """Return those of *found* that some processor rates; none of the others may have been named.

    :raises Conflict: an order for one of them would not be carried out.
    """
    identities = {scope.identity for scope in found}
    foreign = identities - {scope_state.Identity.of(conf)}
    unknown = {identity for identity in foreign if not _is_rated_lately(connection, identity, now)}
    left = [scope for scope in found if scope.identity in unknown]
    if left and (not is_all or len(left) == len(found)):
        key, fetcher, collector = left[0].identity
        raise errors.Conflict(
            reason=f'Scope {left[0].scope_id} is of scope_key {key}, fetcher {fetcher} and '
            f'collector {collector}, which no processor has rated in the last day: nobody would '
            'carry out the reset'
        )
    return [scope for scope in found if scope.identity not in unknown]


def _is_rated_lately(connection, identity, now):
    key, fetcher, collector = identity
    # A row of a former release may lack parts: no processor rates it.
    if key is None or fetcher is None or collector is None:
        return False
    seen = scope_state.last_fetch(connection, scope_state.Identity(key, fetcher, collector))
    return seen is not None and seen >= now - SEEN_LATELY


def create_scope(request, *, scope_id, last_processed_timestamp, active, **parts):
    conf, now = request.services.conf, datetime.now(UTC)
    identity = scope_state.Identity.of(conf)._replace(
        **{name: value for name, value in parts.items() if value}
    )
    created = scope_admin.create(
        request.services.database,
        scope_id,
        identity,
        mark=last_processed_timestamp,
        active=active is not False,
        now=now,
    )
    request.services.bus.orders_changed()
    return render([created], request, now=now)[0]


def update_scope(request, *, scope_id, **values):
    now = datetime.now(UTC)
    changed = scope_admin.update(request.services.database, scope_id, now=now, **values)
    request.services.bus.orders_changed()
    return render([changed], request, now=now)[0]


ROUTES = {
    ('scope',): {
        'GET': Endpoint(
            list_scopes,
            'scope:get_state',
            parameters.PAGE
            | FILTERS
            | {
                'active': parameters.many(parameters.zero_or_one),
                'fields': parameters.many(
                    parameters.choice(*SHOWN['properties']), maximum=parameters.NAMES_MAX
                ),
            },
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(_LISTED)),
        ),
        'PUT': Endpoint(
            reset_scopes,
            'scope:reset_state',
            status=202,
            body=FILTERS
            | {
                'all_scopes': parameters.one(parameters.boolean_like),
                'last_processed_timestamp': parameters.one(parameters.instant),
                'state': parameters.one(parameters.instant),
            },
            answer=RESET,
        ),
        'PATCH': Endpoint(
            update_scope,
            'scope:patch_state',
            body=SCOPE
            | {
                'bill_inactive_time': parameters.one(parameters.or_null(parameters.boolean)),
            },
            answer=SHOWN,
        ),
        'POST': Endpoint(
            create_scope,
            'scope:post_state',
            body=SCOPE
            | {
                'last_processed_timestamp': parameters.required(parameters.one(parameters.instant)),
            },
            answer=SHOWN,
        ),
    },
}
