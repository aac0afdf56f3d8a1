"""`/v2/completeness`: whether everything in a time range is rated."""

from datetime import UTC, datetime, timedelta

from cloudkitty import completeness, errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.api.v2.scopes import FAILED
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import source_gaps, source_lag

SPAN_MAX = timedelta(days=366)
# What others than an admin read where the reason may name servers, by state.
UNTOLD = {
    completeness.FAILED: FAILED,
    completeness.AGAIN: 'Periods are to be rated again.',
}
_SPAN = schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT)
_LATE = schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT, reason=schemas.TEXT)
ENTRY = schemas.form(
    scope_id=schemas.TEXT,
    rated_until=schemas.MOMENT,
    state={'enum': list(completeness.STATES)},
    reason=schemas.TEXT,
    since=schemas.OPTIONAL_MOMENT,
    late=schemas.listing(_LATE),
    inactive=schemas.listing(_SPAN),
    empty={'anyOf': [schemas.listing(_SPAN), {'type': 'null'}]},
)
LAG = schemas.form(
    metric=schemas.TEXT,
    state={'enum': [source_lag.HELD, source_lag.LATE, source_lag.NOWHERE]},
    newest=schemas.OPTIONAL_MOMENT,
    since=schemas.MOMENT,
)

GAP = schemas.form(
    metric=schemas.TEXT,
    begin=schemas.MOMENT,
    end=schemas.MOMENT,
    state={'enum': [one for one in source_gaps.STATES if one != source_gaps.UNUSED]},
    sign=schemas.TEXT,
    accepted_at=schemas.OPTIONAL_MOMENT,
    accepted_by=schemas.OPTIONAL_TEXT,
    accepted_reason=schemas.OPTIONAL_TEXT,
)


@parameters.accepts({'type': 'string', 'pattern': '^[0-9]{4}-[0-9]{2}$'})
def _month(value):
    return timeframe.month_named(value)


def get_completeness(request, *, scope_id, month, begin, end, final, offset, limit):
    services = request.services
    window = _window(month, begin, end)
    visible = visibility.visible_scopes(request, scope_id)
    with services.database.reader() as connection:
        answer = completeness.examine(
            connection,
            services.conf,
            completeness.Query(
                window, visible, None if final is None else bool(final), offset, limit
            ),
        )
    if visible is not None and not answer.total and final is None:
        raise errors.NotFound(reason='No scope matches.')
    is_admin = visibility.viewer_of(request).is_admin
    return {
        'begin': window.begin,
        'end': window.end,
        'final': answer.is_final,
        'reason': answer.reason,
        'rated_until': answer.rated_until,
        'not_final': answer.not_final,
        'total': answer.total,
        'lagging': [
            {'metric': metric, 'state': lag.state, 'newest': lag.newest, 'since': lag.since}
            for metric, lag in answer.lagging.items()
        ],
        'gaps': [_render_gap(gap, is_admin=is_admin) for gap in answer.gaps],
        'not_measured': answer.not_measured,
        # Only where scopes are named: it reads what is stored.
        'results': [
            _render(
                entry,
                is_admin=is_admin,
                empty=None
                if visible is None
                else completeness.list_empty(
                    services.storage, services.conf, entry, window, answer.agreed
                ),
            )
            for entry in answer.entries
        ],
    }


def _window(month, begin, end):
    """Return the span: a month, the current one unless something else is given."""
    if month is not None and (begin is not None or end is not None):
        raise errors.InvalidInput(reason='month excludes begin and end')
    month = month or timeframe.month_at(datetime.now(UTC))
    window = Period(begin or month.begin, end or month.end)
    if window.end <= window.begin:
        raise errors.InvalidInput(
            reason=f'The end, {timeframe.render(window.end)}, is not after '
            f'the begin, {timeframe.render(window.begin)}'
        )
    if window.end - window.begin > SPAN_MAX:
        raise errors.InvalidInput(reason=f'More than {SPAN_MAX.days} days are requested')
    return window


def _render(entry, *, is_admin, empty):
    status = entry.status
    reason = status.reason if is_admin else UNTOLD.get(status.state, status.reason)
    return {
        'scope_id': entry.scope.scope_id,
        'rated_until': entry.rated_until,
        'state': status.state,
        'reason': reason,
        'since': status.since,
        'late': [
            {'begin': note.begin, 'end': note.end, 'reason': note.reason} for note in entry.late
        ],
        'inactive': [span._asdict() for span in entry.inactive],
        'empty': empty and [span._asdict() for span in empty],
    }


def _render_gap(gap, *, is_admin):
    """Return a gap as answers show it; only admins see its sign, names and reasons."""
    return {
        'metric': gap.metric,
        'begin': gap.begin,
        'end': gap.end,
        'state': gap.state,
        'sign': gap.sign if is_admin else '',
        'accepted_at': gap.accepted_at,
        'accepted_by': gap.accepted_by if is_admin else None,
        'accepted_reason': gap.reason if is_admin else None,
    }


ROUTES = {
    ('completeness',): {
        'GET': Endpoint(
            get_completeness,
            'completeness:get',
            parameters.PAGE
            | {
                'scope_id': parameters.many(),
                'month': parameters.one(_month),
                'begin': parameters.one(parameters.instant),
                'end': parameters.one(parameters.instant),
                'final': parameters.one(parameters.zero_or_one),
            },
            answer=schemas.form(
                begin=schemas.MOMENT,
                end=schemas.MOMENT,
                final=schemas.BOOLEAN,
                reason=schemas.TEXT,
                rated_until=schemas.OPTIONAL_MOMENT,
                not_final=schemas.INTEGER,
                total=schemas.INTEGER,
                lagging=schemas.listing(LAG),
                gaps=schemas.listing(GAP),
                not_measured=schemas.listing(schemas.TEXT),
                results=schemas.listing(ENTRY),
            ),
        ),
    },
}
