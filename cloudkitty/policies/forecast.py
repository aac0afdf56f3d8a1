"""Rules of the forecast."""

from cloudkitty.policies.base import READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'forecast:get',
        READER_OR_ADMIN,
        'Ask what a month will cost. Others than an admin ask about the own project only.',
        'GET /v2/forecast',
    ),
]
