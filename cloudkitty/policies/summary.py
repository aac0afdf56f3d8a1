"""Rules of the sums."""

from cloudkitty.policies.base import READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'summary:get_summary', READER_OR_ADMIN, 'Read sums of rated points.', 'GET /v2/summary'
    ),
]
