"""Storage drivers of interface 1, for third-party packages. Contract of the family.

Instants are naive UTC. A driver is used behind an adapter that has the methods of interface 2.
"""

import abc
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.storage import v2
from cloudkitty.storage.v1.adapter import Adapter

NAMESPACE = 'cloudkitty.storage.v1.backends'


class BaseStorage(abc.ABC):
    """A store of rated points that can only be added to.

    :cvar GROUP: section of the driver's options.
    :cvar OPTS: the driver's options; self.options reads them.
    """

    GROUP: str = ''
    OPTS: list[cfg.Opt] = []

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf
        if self.GROUP:
            self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)

    def as_v2(self) -> v2.BaseStorage:
        """Return the driver as a storage of interface 2, which the service uses."""
        return Adapter(self.conf, self)

    @abc.abstractmethod
    def init(self) -> None:
        """Prepare the store; does nothing if it is ready."""

    @abc.abstractmethod
    def append(self, frames: Sequence[DataFrame], tenant_id: str) -> None:
        """Buffer frames of a scope until the next commit() stores them."""

    @abc.abstractmethod
    def commit(self, tenant_id: str) -> None:
        """Store the frames that were appended for a scope since the last commit()."""

    @abc.abstractmethod
    def get_state(self, tenant_id: str | None = None) -> datetime | None:
        """Return the begin of the last period that is stored, of one scope or of all."""

    @abc.abstractmethod
    def get_total(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        tenant_id: str | None = None,
        service: str | None = None,
        groupby: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return sums of prices: mappings with begin, end, rate, tenant_id, res_type.

        :param groupby: `tenant_id`, `res_type` or both joined by a comma; what is not grouped by
            is None or what was asked for.
        """

    @abc.abstractmethod
    def get_tenants(self, begin: datetime, end: datetime) -> list[str]:
        """Return the scopes that have points in the window."""

    @abc.abstractmethod
    def get_time_frame(
        self,
        begin: datetime,
        end: datetime,
        res_type: str | None = None,
        tenant_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return stored points as frames in their legacy form, see DataFrame.as_dict().

        Frames lie in the window as a whole, bounds included; there may be one for each point.

        :raises NoTimeFrame: there is none; an empty list says the same.
        """

    @abc.abstractmethod
    def nodata(self, begin: datetime, end: datetime, tenant_id: str) -> None:
        """Record that a scope used nothing in a period."""
