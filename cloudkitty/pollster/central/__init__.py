"""Pollsters of the cloud: resources that OpenStack services list for all projects."""

import abc
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import keystone, openstack
from cloudkitty.core import bounds, timeframe
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import BasePollster, Clock, Listing

LOG = logging.getLogger(__name__)

ADMIN = 'admin'
Item = Mapping[str, Any]


class CloudPollster(BasePollster):
    """Base of the pollsters that query a service.

    :cvar SERVICE: type of the service in the catalog of Keystone.
    :cvar VERSION: first segment of the paths of its API.
    """

    GROUP = 'pollster_openstack'
    OPTS = [
        cfg.StrOpt('region_name', help='Region whose services are queried.'),
        cfg.StrOpt(
            'interface',
            default='internal',
            choices=['public', 'internal', 'admin'],
            help='Which of the endpoints of a service are used.',
        ),
        *keystone.OPTS,
    ]
    SERVICE = ''
    VERSION = ''

    def is_enabled(self) -> bool:
        """Return False without credentials, or if the cloud has no such service."""
        if not (self.options.auth_type or self.options.auth_section):
            self.reason = f'[{self.GROUP}]auth_type is missing'
            return False
        try:
            is_there = self.client.has_endpoint()
        except errors.SourceUnreachable as exc:
            LOG.warning('Keystone is queried again later: %s', exc)
            return True
        self.reason = f'the catalog of Keystone has no service {self.SERVICE}'
        return is_there

    @property
    def client(self) -> openstack.Client:
        """The client of the service."""
        return self.client_of(self.SERVICE, self.VERSION)

    def client_of(self, service: str, version: str, *, is_cut: bool = False) -> openstack.Client:
        """Return a client of a service; all of this pollster have one session."""
        if not hasattr(self, '_session'):
            self._session = keystone.load_session(self.conf, self.GROUP)
        return openstack.Client(
            service,
            self._session,
            version=version,
            is_cut=is_cut,
            service_type=service,
            interface=self.options.interface,
            region_name=self.options.region_name,
        )


class ListPollster(CloudPollster):
    """Base of the pollsters of listed resources.

    :cvar PROJECT: name under which items have their project.
    """

    PROJECT = 'project_id'

    def discover(self) -> Listing:
        """Return the resources that the service lists, see is_whole()."""
        items = list(self.items())
        return Listing(items, is_complete=self.is_whole(items), is_cloud=True)

    @abc.abstractmethod
    def items(self) -> Iterable[Item]:
        """Return the resources of all projects."""

    def is_whole(self, items: Sequence[Item]) -> bool:
        """Return whether *items* are those of all projects.

        Most services answer a user with fewer rights as if its own project were the whole cloud.
        So the token must have the role admin, and the list a resource of another project.
        """
        own, roles = self.client.own_rights()
        return ADMIN in roles and any(self.shows_others(item, own) for item in items)

    def shows_others(self, item: Item, own: str | None) -> bool:
        """Return whether a user of the project *own* without admin rights would not see *item*."""
        return self.project_of(item) not in (own, '')

    def project_of(self, item: Item) -> str:
        """Return the project of an item; '': it has none."""
        return item.get(self.PROJECT) or ''

    def poll(self, resources: Sequence[Item], now: Clock) -> Iterator[Counter]:
        """Yield the counters of measure() for each item.

        :raises CollectError: some could not be parsed.
        """
        failed, last, at = 0, '', now()
        for item in resources:
            try:
                yield from list(self.measure(item, at))
            except (LookupError, TypeError, ValueError, AttributeError, errors.InvalidInput) as exc:
                failed, last = failed + 1, f'{type(exc).__name__}: {exc}'
        if failed:
            raise errors.CollectError(
                collector=self.SERVICE, reason=f'{failed} items not understood: {last}'
            )

    @abc.abstractmethod
    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        """Return the counters of an item.

        :param at: when it was listed, microseconds since the epoch.
        """

    def state(
        self, item: Item, meter: str, unit: str, volume: Any, at: int, /, **attributes: Any
    ) -> Counter:
        """Return a counter for the existence of an item, with quantity and attributes."""
        return Counter(
            meter,
            facts.STATE,
            unit,
            bounds.to_decimal(volume),
            self.project_of(item),
            item.get('user_id'),
            item['id'],
            at,
            {key: value for key, value in attributes.items() if value is not None},
            life='change',
            born=born_of(item, at),
        )


def born_of(item: Item, at: int) -> int | None:
    """Return when an item was made, microseconds since the epoch; None: that is not known."""
    told = item.get('created_at') or item.get('created')
    born = facts.to_us(timeframe.parse_exact(told)) if told else None
    # Clocks differ.
    return born if born is None or 0 <= born <= at else None


ONE = Decimal(1)
