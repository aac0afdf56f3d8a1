"""What a v2 resource declares for each of its methods."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloudkitty.api import query


class Endpoint(NamedTuple):
    """What answers one method of one path.

    :ivar handle: takes the request, the variable path segments, and the parameters by name;
        returns what is rendered as JSON.
    :ivar rule: policy rule, checked first.
    :ivar parameters: what the query string may hold.
    :ivar body: members of the JSON body; None: the method takes no body.
    :ivar status: HTTP status of success.
    :ivar answer: JSON Schema of what success is answered with, see api/schemas; None: no body.
    """

    handle: Callable[..., Any]
    rule: str
    parameters: Mapping[str, query.Parameter] = types.MappingProxyType({})
    body: Mapping[str, query.Parameter] | None = None
    status: int = 200
    answer: Mapping | None = None
