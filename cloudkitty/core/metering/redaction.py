"""Credentials are left out of what is kept of messages that were refused. Pure."""

import re

_NAMES = 'auth_token|admin_pass|adminPass|password|passwd|secret|trust_id|service_catalog'
# A member of JSON, or of JSON within a text of JSON, up to the end of its text.
_MEMBER = re.compile(
    rf'((?:{_NAMES})[\w.]{{0,40}}(?:\\)*"\s{{0,10}}:\s{{0,10}})((?:\\)*")[^"\\]*', re.IGNORECASE
)
_KEPT = r'\1\2***'


def redact(text: str) -> str:
    """Return *text* of JSON, whole or cut, without values of members that hold credentials."""
    return _MEMBER.sub(_KEPT, text)
