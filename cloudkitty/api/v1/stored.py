"""How resources that are rows of the database are read and changed."""

from collections.abc import Callable
from datetime import UTC, datetime

import pecan
import sqlalchemy as sa
from wsme import types as wtypes

from cloudkitty.api import audit
from cloudkitty.db import changes

AUTHOR_LENGTH_MAX = 64


def given(form: wtypes.Base) -> dict:
    """Return what a request holds, by name; a null is None."""
    values = {attribute.name: getattr(form, attribute.name)
              for attribute in wtypes.list_attributes(type(form))}
    return {name: value for name, value in values.items() if value is not wtypes.Unset}


def read(query: Callable, *args, **kwargs):
    """Return query(connection, ...), which only reads."""
    with pecan.request.services.database.reader() as connection:
        return query(connection, *args, **kwargs)


def create(kind: changes.Kind, change: Callable, *args, **kwargs):
    """Return change(connection, ...), which makes a new object, done in one transaction."""
    def run(connection: sa.Connection):
        return change(connection, *args, **kwargs)
    return audit.write(run, kind)


def write(kind: changes.Kind, change: Callable, object_id: str, *args, **kwargs):
    """Return change(connection, object_id, ...), done in one transaction."""
    def run(connection: sa.Connection):
        return change(connection, object_id, *args, **kwargs)
    return audit.write(run, kind, object_id)


def now() -> datetime:
    return datetime.now(UTC)


def author() -> str:
    """Return who changes something, as far as it is known."""
    return (pecan.request.caller.user_id or 'unknown')[:AUTHOR_LENGTH_MAX]
