"""The deployment that the checks examine, opened once and shared by them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from oslo_config import cfg

from cloudkitty import collector, db, fetcher
from cloudkitty.scopes import state


def _now():
    return datetime.now(UTC)


@dataclass
class Site:
    """A deployment, seen from one of its hosts; the checks never change it.

    :ivar now: returns the time of this host, aware UTC.
    :ivar root: directory that stands for `/` when files of other programs are read.
    """

    conf: cfg.ConfigOpts
    now: Callable[[], datetime] = _now
    root: Path = Path('/')

    @functools.cached_property
    def database(self) -> db.Database:
        """:raises DatabaseUnavailable: its URL is wrong."""
        return db.Database(self.conf)

    @functools.cached_property
    def driver(self) -> collector.BaseCollector:
        """The collector with all definitions.

        :raises ConfigurationError: its options or the definitions are wrong.
        """
        return collector.get_driver(self.conf)

    @functools.cached_property
    def scope_ids(self) -> list[str]:
        """The scopes that the fetcher lists.

        :raises ConfigurationError, FetcherError: it cannot.
        """
        return fetcher.get_driver(self.conf).get_tenants()

    @property
    def identity(self) -> state.Identity:
        return state.Identity.of(self.conf)
