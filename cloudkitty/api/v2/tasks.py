"""`/v2/task/reprocesses`."""

from collections.abc import Mapping

from cloudkitty import errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.api.v2.scopes import FAILED
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import agreement
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state

ALL = 'ALL'
# Characters; what does not fit into one statement of every database is a mistake anyway.
REASON_LENGTH_MAX = 10000
ORDERS = ('asc', 'desc')

SHOWN = schemas.form(
    scope_id=schemas.TEXT,
    reason=schemas.TEXT,
    start_reprocess_time=schemas.MOMENT,
    end_reprocess_time=schemas.MOMENT,
    current_reprocess_time={'anyOf': [schemas.MOMENT, schemas.constant('')]},
    kept_periods=schemas.INTEGER,
    failure=schemas.TEXT,
    dry_run=schemas.BOOLEAN,
    prices=schemas.listing(schemas.form(type=schemas.TEXT, old=schemas.NUMBER, new=schemas.NUMBER)),
)


@parameters.accepts({'enum': [*ORDERS]})
def _order(value):
    return parameters.choice(*ORDERS)(parameters.text(value).lower())


def render(
    task: scope_reprocessing.Task,
    prices: Mapping[str, scope_reprocessing.Prices],
    *,
    is_admin: bool,
) -> dict:
    """Return a task as answers show it, with the prices of a dry run by metric."""
    failure = task.failure_reason or ''
    return {
        'scope_id': task.scope_id,
        'reason': task.reason,
        'start_reprocess_time': task.start,
        'end_reprocess_time': task.end,
        'current_reprocess_time': task.current or '',
        'kept_periods': task.kept_periods,
        'failure': failure if is_admin else failure and FAILED,
        'dry_run': task.is_dry_run,
        'prices': [
            {'type': metric, 'old': pair.old, 'new': pair.new} for metric, pair in prices.items()
        ],
    }


def list_tasks(request, scope_id=None, *, scope_ids, order, offset, limit):
    """Return tasks; others than an admin see those of the scope of their project."""
    chosen = scope_ids if scope_id is None else [scope_id]
    viewer = visibility.viewer_of(request)
    if not viewer.is_admin:
        if viewer.sees_nothing or scope_id not in (None, viewer.project_id):
            return {'total': 0, 'results': []}
        chosen = [viewer.project_id]
    with request.services.database.reader() as connection:
        total, found = scope_reprocessing.list_tasks(
            connection, scope_ids=chosen, is_ascending=order == 'asc', offset=offset, limit=limit
        )
        prices = scope_reprocessing.list_prices(connection, [task.id for task in found])
    return {
        'total': total,
        'results': [
            render(task, prices.get(task.id, {}), is_admin=viewer.is_admin) for task in found
        ],
    }


def create_tasks(request, *, scope_ids, reason, start_reprocess_time, end_reprocess_time, dry_run):
    if not scope_ids:
        raise errors.InvalidInput(reason='No scope is chosen')
    if ALL in scope_ids and set(scope_ids) != {ALL}:
        raise errors.InvalidInput(reason=f'{ALL} and scope ids exclude each other')
    if not reason.strip():
        raise errors.InvalidInput(reason='The reason is blank')
    window = Period(start_reprocess_time, end_reprocess_time)
    _check_window(window, _length_of(window, request.services))
    request.services.database.write(
        lambda connection: scope_reprocessing.create(
            connection,
            None if ALL in scope_ids else set(scope_ids),
            identity=scope_state.Identity.of(request.services.conf),
            window=window,
            reason=reason,
            is_dry_run=dry_run,
        )
    )
    request.services.bus.orders_changed()
    return {}


def _length_of(window, services):
    """Return the length of the periods in *window*, seconds.

    :raises InvalidInput: it has several.
    """
    if window.end < window.begin:
        raise errors.InvalidInput(
            reason=f'The end, {timeframe.render(window.end)}, is before the '
            f'start, {timeframe.render(window.begin)}'
        )
    with services.database.reader() as connection:
        found = agreement.read(connection).at(window.begin)
    if found is None:
        return services.conf.collect.period
    if found.until is not None and found.until < window.end:
        raise errors.InvalidInput(
            reason=f'The length of a period has changed at {timeframe.render(found.until)}: order '
            'what is before and what is after in two calls'
        )
    return found.terms.period_s


def _check_window(window, length_s):
    first, last = (timeframe.period_at(bound, length_s) for bound in window)
    if (first.begin, last.begin) != window:
        end = last.begin if last.begin > first.begin else last.end
        raise errors.InvalidInput(
            reason=f'Start and end must be edges of periods of {length_s} s; a window that fits: '
            f'{timeframe.render(first.begin)} to {timeframe.render(end)}'
        )


LIST = Endpoint(
    list_tasks,
    'schedule:get_task_reprocesses',
    parameters.PAGE
    | {
        'scope_ids': parameters.many(),
        'order': parameters.one(_order, default='desc'),
    },
    answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(SHOWN)),
)
ROUTES = {
    ('task', 'reprocesses'): {
        'GET': LIST,
        'POST': Endpoint(
            create_tasks,
            'schedule:task_reprocesses',
            status=202,
            body={
                'scope_ids': parameters.required(parameters.many()),
                'reason': parameters.required(
                    parameters.one(parameters.nonempty(REASON_LENGTH_MAX))
                ),
                'start_reprocess_time': parameters.required(parameters.one(parameters.instant)),
                'end_reprocess_time': parameters.required(parameters.one(parameters.instant)),
                'dry_run': parameters.one(parameters.boolean, default=False),
            },
            answer=schemas.form(),
        ),
    },
    ('task', 'reprocesses', '*'): {'GET': LIST},
}
