"""Reading and changing of resources that are rows of the database."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import pecan
import sqlalchemy as sa
from wsme import types as wtypes

from cloudkitty.api import audit
from cloudkitty.audit import snapshots

AUTHOR_LENGTH_MAX = 64


def given(form: wtypes.Base) -> dict:
    """Return the members of a request by name; null becomes None."""
    values = {
        attribute.name: getattr(form, attribute.name)
        for attribute in wtypes.list_attributes(type(form))
    }
    return {name: value for name, value in values.items() if value is not wtypes.Unset}


def new(datatype: type, form: wtypes.Base):
    """Return a *datatype* (a dataclass) from the members of a request; others are ignored.

    Fields that the request lacks have their defaults.
    """
    values = given(form)
    names = [field.name for field in dataclasses.fields(datatype)]
    return datatype(**{name: values[name] for name in names if name in values})


def read(query: Callable, *args, **kwargs):
    """Run query(connection, ...) in a read-only transaction; return its result."""
    with pecan.request.services.database.reader() as connection:
        return query(connection, *args, **kwargs)


def create(kind: snapshots.Kind, change: Callable, *args, **kwargs):
    """Run change(connection, ...), which creates an object, in a transaction; return its result."""

    def run(connection: sa.Connection):
        return change(connection, *args, **kwargs)

    return audit.write(run, kind)


def write(kind: snapshots.Kind, change: Callable, object_id: str, *args, **kwargs):
    """Run change(connection, object_id, ...) in one transaction; return its result."""

    def run(connection: sa.Connection):
        return change(connection, object_id, *args, **kwargs)

    return audit.write(run, kind, object_id)


def now() -> datetime:
    return datetime.now(UTC)


def author() -> str:
    """Return the author of a change, as far as it is known."""
    return (pecan.request.caller.user_id or 'unknown')[:AUTHOR_LENGTH_MAX]
