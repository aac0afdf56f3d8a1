"""Request context: the identity of the caller of one request."""

import contextlib
from collections.abc import Iterator
from typing import Any

from oslo_context import context


class RequestContext(context.RequestContext):
    """The caller of a request, as the token check or noauth established it.

    :ivar is_trusted: nothing is checked (noauth); every policy check passes.
    """

    def __init__(self, *, is_trusted: bool = False, **attributes):
        super().__init__(**attributes)
        self.is_trusted = is_trusted


def from_environ(environ: dict[str, Any], *, auth_strategy: str) -> RequestContext:
    """Return the caller that the identity headers in a WSGI *environ* describe.

    :param auth_strategy: with `keystone` the token check has replaced all identity headers, with
        `noauth` they are hints and the caller is the administrator.
    """
    is_trusted = auth_strategy == 'noauth'
    facts: dict[str, Any] = {'is_admin': True} if is_trusted else {}
    # The token check overwrites the header when there is a service token as well: the scope of the
    # user's own token decides.
    token = (environ.get('keystone.token_info') or {}).get('token')
    if token is not None:
        facts['system_scope'] = 'all' if (token.get('system') or {}).get('all') else None
    return RequestContext.from_environ(environ, is_trusted=is_trusted, **facts)


@contextlib.contextmanager
def logged(request_id: str) -> Iterator[None]:
    """Add *request_id* to every line that this thread logs while the block runs.

    A RequestContext created in the block replaces it and adds the caller.
    """
    context.RequestContext(request_id=request_id)
    try:
        yield
    finally:
        # The library never clears the last one: the thread's next request would get it.
        vars(context._request_store).pop('context', None)
