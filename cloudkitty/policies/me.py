"""Rules of what callers read about themselves."""

from cloudkitty.policies.base import EVERYBODY, api_rule

RULES = [
    api_rule('me:get', EVERYBODY, 'See who one is to this service.', 'GET /v2/me'),
]
