"""Rows that belong to an account, such as its budgets: each has an id and a time of creation."""

from collections.abc import Callable
from typing import Generic, TypeVar

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables

_Value = TypeVar('_Value')


class Owned(Generic[_Value]):
    """The rows of one table.

    :param noun: what a row is, for errors.
    :param most: how many an account may have.
    :param read: returns what a row says.
    """

    def __init__(
        self, table: sa.Table, noun: str, most: int, read: Callable[[tables.Row], _Value]
    ) -> None:
        self._table = table
        self._noun = noun
        self._most = most
        self._read = read

    def find(self, connection: sa.Connection, account_id: str) -> list[_Value]:
        """Return those of an account, the oldest first."""
        table = self._table
        rows = connection.execute(
            sa.select(table)
            .where(table.c.account == account_id)
            .order_by(table.c.created_at, table.c.id)
        )
        return [self._read(row) for row in rows]

    def get(self, connection: sa.Connection, row_id: str) -> _Value:
        """Return one.

        :raises NotFound: there is none with this id.
        """
        row = connection.execute(sa.select(self._table).where(self._table.c.id == row_id)).first()
        if row is None:
            raise errors.NotFound(reason=f'There is no such {self._noun}.')
        return self._read(row)

    def require_room(self, connection: sa.Connection, account_id: str) -> None:
        """Make sure that an account may have one more.

        :raises Conflict: it has as many as it may have.
        """
        if len(self.find(connection, account_id)) >= self._most:
            raise errors.Conflict(reason=f'The account has {self._most} {self._noun}s already.')
