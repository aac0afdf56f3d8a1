"""RPC endpoints of a worker on the message bus: wake-ups and quotes.

Source: doc/source/contributor/compatibility/service-edges.rst, "Message bus".
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from oslo_config import cfg

from cloudkitty import db, errors, rpc
from cloudkitty.core import timeframe
from cloudkitty.core.bounds import to_decimal
from cloudkitty.core.decimals import render_decimal
from cloudkitty.core.timeframe import Period
from cloudkitty.rating import quote
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state

LOG = logging.getLogger(__name__)


class ScopeEndpoint:
    """RPC endpoint for resets of scopes.

    :param wake: makes the worker look at the database at once.
    :param clock: returns the current time, aware UTC.
    """

    target = rpc.Target(version=rpc.VERSION_SERVED)

    def __init__(
        self, *, database: db.Database, wake: Callable[[], None], clock: Callable[[], datetime]
    ):
        self._database = database
        self._wake = wake
        self._clock = clock

    def reset_state(self, ctxt: dict, res_data: dict) -> None:
        """Wake the worker; an order that the calling API did not store is stored here first."""
        if not res_data.get(rpc.IS_RECORDED):
            self._record(res_data)
        self._wake()

    def _record(self, res_data):
        try:
            mark = timeframe.parse(res_data['last_processed_timestamp'])
            wanted = [
                (
                    scope['scope_id'],
                    scope_state.Identity(scope['scope_key'], scope['fetcher'], scope['collector']),
                )
                for scope in res_data['scopes']
            ]
        except (LookupError, TypeError, AttributeError, errors.InvalidInput) as exc:
            LOG.error(
                'Ignored an invalid request to reset scopes from the message bus: %s',
                type(exc).__name__,
            )
            return
        self._database.write(lambda connection: self._order(connection, wanted, mark))

    def _order(self, connection, wanted, mark):
        _, found = scope_state.list_scopes(
            connection, scope_id=[scope_id for scope_id, _ in wanted]
        )
        keys = [
            scope.id
            for scope in found
            if (
                scope.scope_id,
                scope_state.Identity(scope.scope_key, scope.fetcher, scope.collector),
            )
            in wanted
        ]
        resets.order(connection, keys, mark, now=self._clock())


class RatingEndpoint:
    """RPC endpoint for quotes and for changes of rating modules.

    :param modules: rates the quotes; used by no other thread.
    """

    target = rpc.Target(namespace=rpc.NAMESPACE_RATING, version=rpc.VERSION_SERVED)

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        *,
        modules: ModuleSet,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ):
        self._collect = conf.collect
        self._modules = modules
        self._wake = wake
        self._clock = clock

    def quote(self, ctxt: dict, res_data: dict) -> str:
        """Return what the usage costs now, as a decimal number.

        :param res_data: `{'usage': {service: [{'desc': {...}, 'vol': {'qty': number}}]}}`.
        :raises InvalidInput: *res_data* has another form; the caller gets this error, too.
        """
        now = self._clock()
        try:
            items = [
                quote.Item(service, point['desc'], to_decimal(point['vol']['qty']))
                for service, points in res_data['usage'].items()
                for point in points
            ]
            frames = quote.build_frames(
                items,
                scope_key=self._collect.scope_key,
                period=Period(now, now + timedelta(seconds=self._collect.period)),
            )
        except (LookupError, TypeError, AttributeError) as exc:
            raise errors.InvalidInput(reason='This is not usage that can be priced.') from exc
        return render_decimal(quote.total_price(self._modules, frames))

    # Each batch reads changes of modules and rules from the database, so waking up is enough.

    def enable_module(self, ctxt: dict, name: str) -> None:
        """Wake the worker."""
        self._wake()

    disable_module = reload_module = enable_module

    def reload_modules(self, ctxt: dict) -> None:
        """Wake the worker."""
        self._wake()
