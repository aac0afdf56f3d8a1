"""Who calls: the identity of one request."""

import contextlib
from collections.abc import Iterator, Mapping

from oslo_context import context


class RequestContext(context.RequestContext):
    """The caller of a request, as the token check or noauth established it.

    :ivar is_trusted: nothing is checked (noauth); every policy check passes.
    """

    def __init__(self, *, is_trusted: bool = False, **attributes):
        super().__init__(**attributes)
        self.is_trusted = is_trusted


def from_environ(environ: Mapping, *, auth_strategy: str) -> RequestContext:
    """Return the caller that the identity headers in a WSGI *environ* describe.

    :param auth_strategy: with `keystone` the token check has replaced all identity headers, with
        `noauth` they are hints and the caller is the administrator.
    """
    is_trusted = auth_strategy == 'noauth'
    facts = {'is_admin': True} if is_trusted else {}
    return RequestContext.from_environ(environ, is_trusted=is_trusted, **facts)


@contextlib.contextmanager
def logged(request_id: str) -> Iterator[None]:
    """Let every line that is logged meanwhile in this thread carry *request_id*.

    A RequestContext made meanwhile takes over and adds the caller.
    """
    context.RequestContext(request_id=request_id)
    try:
        yield
    finally:
        # The library keeps the last one for ever: the thread's next request would carry it.
        vars(context._request_store).pop('context', None)
