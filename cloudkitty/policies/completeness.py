"""Rules of the completeness."""

from cloudkitty.policies.base import ADMIN, api_rule

RULES = [
    api_rule('completeness:get', ADMIN, 'See up to when scopes are rated, and what is missing.',
             'GET /v2/completeness'),
]
