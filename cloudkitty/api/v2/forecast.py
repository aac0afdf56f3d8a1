"""`/v2/forecast`: forecast of the costs of a scope in a month."""

from datetime import UTC, datetime, timedelta

from cloudkitty import errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.api.v2.statements import month as month_parameter
from cloudkitty.core import decimals, forecast, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import state as scope_state

METHOD = 'mean of the last whole days'
_AMOUNT = {'type': ['number', 'null']}


def get_forecast(request, *, scope_id, month):
    viewer = visibility.viewer_of(request)
    if not viewer.is_admin:
        if viewer.sees_nothing or scope_id not in (None, viewer.project_id):
            raise errors.NotFound(reason='No scope matches.')
        scope_id = viewer.project_id
    if scope_id is None:
        raise errors.InvalidInput(reason='scope_id is missing')
    now = datetime.now(UTC)
    chosen = _month(month) if month else timeframe.month_at(now)
    until = min(_rated_until(request, scope_id) or now, chosen.end)
    amounts = _amounts(request, scope_id, Period(forecast.span(chosen).begin, until))
    found = forecast.foresee(amounts, chosen, until)
    spent = decimals.ZERO
    for day, amount in amounts.items():
        if day >= chosen.begin.date():
            spent = decimals.SUM_CONTEXT.add(spent, amount)
    told = found._asdict() if found else dict.fromkeys(forecast.Forecast._fields)
    return {
        'scope_id': scope_id,
        'month': f'{chosen.begin:%Y-%m}',
        'until': until,
        'method': METHOD,
        'spent': spent,
        **told,
        'days': told['days'] or 0,
    }


def _month(text):
    return timeframe.month_at(datetime.strptime(text, '%Y-%m').replace(tzinfo=UTC))


def _rated_until(request, scope_id):
    """Return the end of the last period that is rated; None: no processor rates this scope."""
    conf = request.services.conf
    with request.services.database.reader() as connection:
        _, found = scope_state.list_scopes(connection, scope_id=[scope_id])
    wanted = scope_state.Identity.of(conf)
    marks = [scope.mark for scope in found if scope.identity == wanted]
    return max(marks) + timedelta(seconds=conf.collect.period) if marks else None


def _amounts(request, scope_id, window):
    """Return the price of each day on which there is usage."""
    if window.end <= window.begin:
        return {}
    services = request.services
    rows = services.storage.total(
        groupby=['time-d', 'time-y'],
        begin=window.begin,
        end=window.end,
        filters={services.conf.collect.scope_key: [scope_id]},
        paginate=False,
    )['results']
    return {_day(row): row['rate'] for row in rows}


def _day(row):
    first = datetime(int(row['year']), 1, 1, tzinfo=UTC)
    return (first + timedelta(days=int(row['day_of_the_year']) - 1)).date()


ROUTES = {
    ('forecast',): {
        'GET': Endpoint(
            get_forecast,
            'forecast:get',
            {
                'scope_id': parameters.one(parameters.nonempty(scope_state.ID_LENGTH_MAX)),
                'month': parameters.one(month_parameter),
            },
            answer=schemas.form(
                scope_id=schemas.TEXT,
                month=schemas.TEXT,
                until=schemas.MOMENT,
                method=schemas.TEXT,
                days=schemas.INTEGER,
                spent=schemas.NUMBER,
                daily=_AMOUNT,
                expected=_AMOUNT,
                low=_AMOUNT,
                high=_AMOUNT,
            ),
            is_slow=True,
        ),
    },
}
