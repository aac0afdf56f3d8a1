"""Rules of the scopes."""

from cloudkitty.policies.base import ADMIN, api_rule

RULES = [
    api_rule('scope:get_state', ADMIN, 'List scopes and how far they are rated.', 'GET /v2/scope'),
]
