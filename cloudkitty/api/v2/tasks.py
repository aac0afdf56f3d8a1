"""`/v2/task/reprocesses`."""

from collections.abc import Mapping

from cloudkitty import errors, timeframe
from cloudkitty.api import query, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.db import reprocess
from cloudkitty.timeframe import Period

ALL = 'ALL'
# Characters; what does not fit into one statement of every database is a mistake anyway.
REASON_LENGTH_MAX = 10000
ORDERS = ('asc', 'desc')

SHOWN = schemas.form(
    scope_id=schemas.TEXT, reason=schemas.TEXT, start_reprocess_time=schemas.MOMENT,
    end_reprocess_time=schemas.MOMENT,
    current_reprocess_time={'anyOf': [schemas.MOMENT, schemas.constant('')]},
    kept_periods=schemas.INTEGER, failure=schemas.TEXT, dry_run=schemas.BOOLEAN,
    prices=schemas.listing(schemas.form(type=schemas.TEXT, old=schemas.NUMBER,
                                        new=schemas.NUMBER)))


@query.accepts({'enum': [*ORDERS]})
def _order(value):
    return query.choice(*ORDERS)(query.text(value).lower())


def render(task: reprocess.Task, prices: Mapping[str, reprocess.Prices]) -> dict:
    """Return a task as answers show it, with the prices of a dry run by metric."""
    return {
        'scope_id': task.scope_id,
        'reason': task.reason,
        'start_reprocess_time': task.start,
        'end_reprocess_time': task.end,
        'current_reprocess_time': task.current or '',
        'kept_periods': task.kept_periods,
        'failure': task.failure_reason or '',
        'dry_run': task.is_dry_run,
        'prices': [{'type': metric, 'old': pair.old, 'new': pair.new}
                   for metric, pair in prices.items()],
    }


def list_tasks(request, scope_id=None, *, scope_ids, order, offset, limit):
    chosen = scope_ids if scope_id is None else [scope_id]
    with request.services.database.reader() as connection:
        total, found = reprocess.list_tasks(
            connection, scope_ids=chosen, is_ascending=order == 'asc', offset=offset, limit=limit)
        prices = reprocess.list_prices(connection, [task.id for task in found])
    return {'total': total,
            'results': [render(task, prices.get(task.id, {})) for task in found]}


def create_tasks(request, *, scope_ids, reason, start_reprocess_time, end_reprocess_time,
                 dry_run):
    if not scope_ids:
        raise errors.InvalidInput(reason='No scope is chosen')
    if ALL in scope_ids and set(scope_ids) != {ALL}:
        raise errors.InvalidInput(reason=f'{ALL} and scope ids exclude each other')
    if not reason.strip():
        raise errors.InvalidInput(reason='The reason is blank')
    window = Period(start_reprocess_time, end_reprocess_time)
    _check_window(window, request.services.conf.collect.period)
    request.services.database.write(lambda connection: reprocess.create(
        connection, None if ALL in scope_ids else set(scope_ids), window=window, reason=reason,
        is_dry_run=dry_run))
    request.services.bus.orders_changed()
    return {}


def _check_window(window, length_s):
    if window.end < window.begin:
        raise errors.InvalidInput(reason=f'The end, {timeframe.render(window.end)}, is before the '
                                         f'start, {timeframe.render(window.begin)}')
    first, last = (timeframe.period_at(bound, length_s) for bound in window)
    if (first.begin, last.begin) != window:
        end = last.begin if last.begin > first.begin else last.end
        raise errors.InvalidInput(
            reason=f'Start and end must be edges of periods of {length_s} s; a window that fits: '
                   f'{timeframe.render(first.begin)} to {timeframe.render(end)}')


LIST = Endpoint(list_tasks, 'schedule:get_task_reprocesses', query.PAGE | {
    'scope_ids': query.many(),
    'order': query.one(_order, default='desc'),
}, answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(SHOWN)))
ROUTES = {
    ('task', 'reprocesses'): {
        'GET': LIST,
        'POST': Endpoint(create_tasks, 'schedule:task_reprocesses', status=202, body={
            'scope_ids': query.required(query.many()),
            'reason': query.required(query.one(query.nonempty(REASON_LENGTH_MAX))),
            'start_reprocess_time': query.required(query.one(query.instant)),
            'end_reprocess_time': query.required(query.one(query.instant)),
            'dry_run': query.one(query.boolean, default=False),
        }, answer=schemas.form()),
    },
    ('task', 'reprocesses', '*'): {'GET': LIST},
}
