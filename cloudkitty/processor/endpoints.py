"""What others may ask a worker over the message bus: to look now, and what something costs.

Source: contract service-edges, section 11.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from oslo_config import cfg

from cloudkitty import db, errors, rpc, timeframe
from cloudkitty.dataframe import render_decimal, to_decimal
from cloudkitty.db import resets, scopes
from cloudkitty.rating import quote
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.timeframe import Period

LOG = logging.getLogger(__name__)


class ScopeEndpoint:
    """Orders to set scopes back.

    :param wake: makes the worker look at the database at once.
    :param clock: returns the current time, aware UTC.
    """

    target = rpc.Target(version=rpc.VERSION_SERVED)

    def __init__(self, *, database: db.Database, wake: Callable[[], None],
                 clock: Callable[[], datetime]):
        self._database = database
        self._wake = wake
        self._clock = clock

    def reset_state(self, ctxt: dict, res_data: dict) -> None:
        """Look now; an order of an API that writes none is written here first."""
        if not res_data.get(rpc.IS_RECORDED):
            self._record(res_data)
        self._wake()

    def _record(self, res_data):
        try:
            mark = timeframe.parse(res_data['last_processed_timestamp'])
            wanted = [(scope['scope_id'], scopes.Identity(
                scope['scope_key'], scope['fetcher'], scope['collector']))
                for scope in res_data['scopes']]
        except (LookupError, TypeError, AttributeError, errors.InvalidInput) as exc:
            LOG.error('An order to reset scopes came over the message bus and cannot be '
                      'understood (%s); it is left out', type(exc).__name__)
            return
        self._database.write(lambda connection: self._order(connection, wanted, mark))

    def _order(self, connection, wanted, mark):
        _, found = scopes.list_scopes(connection, scope_id=[scope_id for scope_id, _ in wanted])
        keys = [scope.id for scope in found if (scope.scope_id, scopes.Identity(
            scope.scope_key, scope.fetcher, scope.collector)) in wanted]
        resets.order(connection, keys, mark, now=self._clock())


class RatingEndpoint:
    """Quotes, and news of rating modules.

    :param modules: prices what is asked for; no other thread rates with it.
    """

    target = rpc.Target(namespace=rpc.NAMESPACE_RATING, version=rpc.VERSION_SERVED)

    def __init__(self, conf: cfg.ConfigOpts, *, modules: ModuleSet, wake: Callable[[], None],
                 clock: Callable[[], datetime]):
        self._collect = conf.collect
        self._modules = modules
        self._wake = wake
        self._clock = clock

    def quote(self, ctxt: dict, res_data: dict) -> str:
        """Return what the usage costs now, a decimal number.

        :param res_data: `{'usage': {service: [{'desc': {...}, 'vol': {'qty': number}}]}}`.
        :raises InvalidInput: it is something else; also told to the caller.
        """
        now = self._clock()
        try:
            items = [quote.Item(service, point['desc'], to_decimal(point['vol']['qty']))
                     for service, points in res_data['usage'].items() for point in points]
            frames = quote.build_frames(
                items, scope_key=self._collect.scope_key,
                period=Period(now, now + timedelta(seconds=self._collect.period)))
        except (LookupError, TypeError, AttributeError) as exc:
            raise errors.InvalidInput(reason='This is no usage to be priced.') from exc
        return render_decimal(quote.total_price(self._modules, frames))

    # That modules or rules changed is in the database, where each batch looks.

    def enable_module(self, ctxt: dict, name: str) -> None:
        """Look now."""
        self._wake()

    disable_module = reload_module = enable_module

    def reload_modules(self, ctxt: dict) -> None:
        """Look now."""
        self._wake()
