"""Rules of the rated points."""

from cloudkitty.policies.base import ADMIN, READER_OR_ADMIN, api_rule

RULES = [
    api_rule('dataframes:add', ADMIN, 'Store rated points.', 'POST /v2/dataframes'),
    api_rule('dataframes:delete', ADMIN, 'Remove pushed points.', 'DELETE /v2/dataframes'),
    api_rule('dataframes:get', READER_OR_ADMIN, 'Read rated points.', 'GET /v2/dataframes'),
]
