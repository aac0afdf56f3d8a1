"""The storage drivers that a simulation runs."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty.db import tables
from cloudkitty.storage import v2
from cloudkitty.tests import stored
from cloudkitty.tests.simulation import world as worlds
from cloudkitty.tests.simulation.scheduler import Process
from cloudkitty.tests.simulation.world import Database, Faults, World


class Job(NamedTuple):
    """What a process of a driver does.

    :ivar work: called with the world, the process and its database; goes on for ever.
    """

    name: str
    work: Callable[[World, Process, Database], None]


class SQL:
    """The driver that needs no other store.

    :param storage: the class of the store; one that breaks a rule must be found out.
    :ivar jobs: processes beside the workers.
    """

    def __init__(self, storage: Callable[..., v2.BaseStorage] = worlds.Storage):
        self._storage = storage
        self.jobs: list[Job] = []

    def prepare(self, conf: cfg.ConfigOpts) -> None:
        """Make what is needed outside the SQL database."""

    def open(self, database: Database) -> v2.BaseStorage:
        """Return the store of the process of *database*."""
        return self._storage(database.conf, database)

    def spoil(self, faults: Faults, choose: Random) -> Faults:
        """Return *faults* with those of this store."""
        return faults

    def clear(self) -> None:
        """Remove what is stored outside the SQL database."""

    def dump(self, connection: sa.Connection, without_mark: tuple[str, ...]) -> bytes:
        """Return what is stored."""
        return stored.dump(connection, without_mark=without_mark)

    def count_again(self, connection: sa.Connection) -> int:
        """Return how many frames were stored again though nobody ordered it."""
        frames, owners = tables.rated_frames, tables.rated_scopes
        ordered = sa.select(tables.tasks.c.identifier)
        return connection.execute(
            sa.select(sa.func.count())
            .select_from(frames)
            .join(owners)
            .where(frames.c.revision > 1, owners.c.identifier.not_in(ordered))
        ).scalar_one()
