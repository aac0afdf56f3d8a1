"""URLs of other services."""

import re
from urllib import parse


def hide_login(text: str) -> str:
    """Return *text*, such as a URL or an error with URLs, without users and passwords."""
    # Up to the last @: an operator may not have encoded / or @ in a password.
    return re.sub(r'//\S*@', '//', text)


def is_address(url: str | None, path: str = '') -> bool:
    """Return whether *url* is the address of an HTTP service, without query and fragment.

    :param path: what its path must end with, a slash at the end aside.
    """
    try:
        parts = parse.urlsplit(url or '')
        return bool(
            parts.scheme in ('http', 'https')
            and parts.hostname
            and parts.port != 0
            and parts.path.rstrip('/').endswith(path)
            and not parts.query
            and not parts.fragment
        )
    # A bad port, or brackets without an IPv6 address.
    except ValueError:
        return False
