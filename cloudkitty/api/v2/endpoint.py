"""What a v2 resource declares for each of its methods."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloudkitty.api.parameters import Parameter
from cloudkitty.api.tables import CSVTable


class Endpoint(NamedTuple):
    """Declaration of one method of one path.

    :ivar handle: takes the request, the variable path segments, and the parameters by name;
        returns what is rendered as JSON.
    :ivar rule: policy rule, checked first.
    :ivar parameters: the parameters of the query string.
    :ivar body: members of the JSON body; None: the method takes no body.
    :ivar status: HTTP status of success.
    :ivar media: JSON Schema of the body by media type; *handle* reads the body itself.
    :ivar files: media types of a file that is returned instead of JSON.
    :ivar headers: JSON Schema of request headers by name.
    :ivar answer: JSON Schema of the successful answer, see api/schemas; None: no body.
    :ivar is_slow: it may take long, so it counts against the call limiter, see api/concurrency.
    :ivar tabulate: like *handle*, returns what is answered as CSV; None: it has no such form.
    """

    handle: Callable[..., Any]
    rule: str
    parameters: Mapping[str, Parameter] = types.MappingProxyType({})
    body: Mapping[str, Parameter] | None = None
    status: int = 200
    answer: Mapping | None = None
    is_slow: bool = False
    tabulate: Callable[..., CSVTable] | None = None
    media: Mapping[str, Mapping] = types.MappingProxyType({})
    files: tuple[str, ...] = ()
    headers: Mapping[str, Mapping] = types.MappingProxyType({})
