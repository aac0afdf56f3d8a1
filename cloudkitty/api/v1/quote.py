"""`/v1/rating/quote`: what resources would cost now."""

from datetime import UTC, datetime, timedelta

import pecan
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import rest, types, visibility
from cloudkitty.billing import quotes
from cloudkitty.core.timeframe import Period
from cloudkitty.rating import quote

RULE = 'rating:quote'


class Resource(wtypes.Base):
    """An item to be priced."""

    service = wtypes.wsattr(types.Text(255, 1), mandatory=True)
    desc = wtypes.wsattr(types.json_object)
    volume = wtypes.wsattr(types.number, mandatory=True)


class Resources(wtypes.Base):
    """The body of a quote."""

    resources = wtypes.wsattr([Resource], mandatory=True)


class QuoteController(rest.Controller):
    """`/v1/rating/quote`."""

    @rest.expose(types.number, types.boolean, body=Resources, rule=RULE, is_slow=True)
    def post(self, plan=False, res_data=None):
        """Return what resources would cost.

        :param plan: by the plan of their accounts, on top of the month so far.
        """
        services = pecan.request.services
        collect = services.conf.collect
        now = datetime.now(UTC)
        frames = quote.build_frames(
            [quote.Item(item.service, item.desc or {}, item.volume) for item in res_data.resources],
            scope_key=collect.scope_key,
            period=Period(now, now + timedelta(seconds=collect.period)),
        )
        for scope_id in frames:
            _check_scope(scope_id)
        try:
            if not plan:
                return quote.total_price(services.modules, frames)
            return _price_by_plan(frames)
        except errors.PriceScriptFailed as exc:
            # The other parts of the error are for operators.
            raise errors.QuoteFailed(**exc.facts) from exc


def _price_by_plan(frames):
    """Return what *frames* add to what their accounts owe.

    :raises NotFound: billing is off.
    :raises InvalidInput: a resource has no scope, and so no account.
    """
    services = pecan.request.services
    services.statements.check_enabled()
    if None in frames:
        key = services.conf.collect.scope_key
        raise errors.InvalidInput(
            reason=f'With plan each resource must have a {key} in desc.groupby: the plan is that '
            'of its account'
        )
    return quotes.price(services.statements, quote.price(services.modules, frames))


def _check_scope(scope_id):
    """Raise Forbidden for callers who may not see the scope, and so not its rules."""
    viewer = visibility.viewer_of(pecan.request)
    if scope_id is not None and not viewer.is_admin and scope_id != viewer.project_id:
        raise errors.Forbidden(rule=RULE)
