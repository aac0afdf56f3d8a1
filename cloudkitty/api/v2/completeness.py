"""`/v2/completeness`: is everything of a span rated?"""

from datetime import UTC, datetime, timedelta

from cloudkitty import completeness, errors, timeframe
from cloudkitty.api import query, reading, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.api.v2.scopes import FAILED
from cloudkitty.db import lags
from cloudkitty.timeframe import Period

SPAN_MAX = timedelta(days=366)
_SPAN = schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT)
_LATE = schemas.form(begin=schemas.MOMENT, end=schemas.MOMENT, reason=schemas.TEXT)
ENTRY = schemas.form(
    scope_id=schemas.TEXT, rated_until=schemas.MOMENT,
    state={'enum': list(completeness.STATES)}, reason=schemas.TEXT,
    since=schemas.OPTIONAL_MOMENT, late=schemas.listing(_LATE),
    inactive=schemas.listing(_SPAN),
    empty={'anyOf': [schemas.listing(_SPAN), {'type': 'null'}]})
LAG = schemas.form(
    metric=schemas.TEXT, state={'enum': [lags.HELD, lags.LATE, lags.NOWHERE]},
    newest=schemas.OPTIONAL_MOMENT, since=schemas.MOMENT)


@query.accepts({'type': 'string', 'pattern': '^[0-9]{4}-[0-9]{2}$'})
def _month(value):
    return timeframe.month_named(value)


def get_completeness(request, *, scope_id, month, begin, end, final, offset, limit):
    services = request.services
    window = _window(month, begin, end)
    visible = reading.visible_scopes(request, scope_id)
    with services.database.reader() as connection:
        answer = completeness.examine(connection, services.conf, completeness.Question(
            window, visible, None if final is None else bool(final), offset, limit))
    if visible is not None and not answer.total and final is None:
        raise errors.NotFound(reason='No scope matches.')
    is_admin = reading.viewer_of(request).is_admin
    return {
        'begin': window.begin, 'end': window.end, 'final': answer.is_final,
        'reason': answer.reason, 'rated_until': answer.rated_until,
        'not_final': answer.not_final, 'total': answer.total,
        'lagging': [{'metric': metric, 'state': lag.state, 'newest': lag.newest,
                     'since': lag.since} for metric, lag in answer.lagging.items()],
        # Only where scopes are named: it reads what is stored.
        'results': [_render(entry, is_admin=is_admin, empty=None if visible is None else
                            completeness.list_empty(services.storage, services.conf, entry, window))
                    for entry in answer.entries]}


def _window(month, begin, end):
    """Return the span: a month, the current one unless something else is given."""
    if month is not None and (begin is not None or end is not None):
        raise errors.InvalidInput(reason='month excludes begin and end')
    month = month or timeframe.month_at(datetime.now(UTC))
    window = Period(begin or month.begin, end or month.end)
    if window.end <= window.begin:
        raise errors.InvalidInput(reason=f'The end, {timeframe.render(window.end)}, is not after '
                                         f'the begin, {timeframe.render(window.begin)}')
    if window.end - window.begin > SPAN_MAX:
        raise errors.InvalidInput(reason=f'More than {SPAN_MAX.days} days are asked for')
    return window


def _render(entry, *, is_admin, empty):
    status = entry.status
    is_hidden = status.state == completeness.FAILED and not is_admin
    return {
        'scope_id': entry.scope.scope_id, 'rated_until': entry.rated_until,
        'state': status.state, 'reason': FAILED if is_hidden else status.reason,
        'since': status.since,
        'late': [{'begin': note.begin, 'end': note.end, 'reason': note.reason}
                 for note in entry.late],
        'inactive': [span._asdict() for span in entry.inactive],
        'empty': empty and [span._asdict() for span in empty],
    }


ROUTES = {
    ('completeness',): {
        'GET': Endpoint(get_completeness, 'completeness:get', query.PAGE | {
            'scope_id': query.many(),
            'month': query.one(_month),
            'begin': query.one(query.instant),
            'end': query.one(query.instant),
            'final': query.one(query.integer(0, 1)),
        }, answer=schemas.form(
            begin=schemas.MOMENT, end=schemas.MOMENT, final=schemas.BOOLEAN, reason=schemas.TEXT,
            rated_until=schemas.OPTIONAL_MOMENT, not_final=schemas.INTEGER,
            total=schemas.INTEGER, lagging=schemas.listing(LAG),
            results=schemas.listing(ENTRY))),
    },
}
