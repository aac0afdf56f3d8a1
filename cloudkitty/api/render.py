"""Converts values of controllers to JSON-compatible ones by their WSME type.

wsme.rest.json.tojson() does the same, but inspects the type for each attribute of each value, which
took most of the time of a list of rules.
"""

import functools
from collections.abc import Callable
from typing import Any

import wsme.rest.json
from wsme import types as wtypes


@functools.cache
def renderer(datatype) -> Callable[[Any], Any]:
    """Return the function that renders values of *datatype*; None becomes None.

    A value need not be an instance of a complex type: whatever has its attributes will do.
    """
    if isinstance(datatype, wtypes.ArrayType):
        return _list_renderer(datatype.item_type)
    if wtypes.iscomplex(datatype):
        return _object_renderer(datatype)
    if datatype is str or datatype is bool:
        return _as_it_is
    return functools.partial(wsme.rest.json.tojson, datatype)


def _as_it_is(value):
    return value


def _list_renderer(item_type):
    def render(values):
        item = renderer(item_type)
        return None if values is None else [item(value) for value in values]

    return render


def _object_renderer(datatype):
    # Built on the first value, because a type may be recursive.
    attributes = functools.cache(
        lambda: [
            (attribute.name, attribute.key, _attribute_renderer(attribute.datatype))
            for attribute in wtypes.list_attributes(datatype)
        ]
    )

    def render(value):
        if value is None:
            return None
        found = [(name, item, getattr(value, key)) for name, key, item in attributes()]
        return {
            name: None if held is None else item(held)
            for name, item, held in found
            if held is not wtypes.Unset
        }

    return render


def _attribute_renderer(datatype):
    """Return the function for values that are not None."""
    if isinstance(datatype, wtypes.UserType) and datatype.basetype in (str, bool, dict):
        return datatype.tobasetype
    return renderer(datatype)
