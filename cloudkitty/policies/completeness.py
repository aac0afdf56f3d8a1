"""Rules of the completeness."""

from cloudkitty.policies.base import READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'completeness:get',
        READER_OR_ADMIN,
        'See up to when scopes are rated, and what is missing.',
        'GET /v2/completeness',
    ),
]
