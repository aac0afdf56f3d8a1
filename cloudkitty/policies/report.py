"""Rules of the reports. Target of a report is the project it is about."""

from cloudkitty.policies.base import ADMIN, READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'report:list_tenants',
        ADMIN,
        'List the scopes that have rated data.',
        'GET /v1/report/tenants',
    ),
    api_rule(
        'report:get_summary', READER_OR_ADMIN, 'Read sums of rated data.', 'GET /v1/report/summary'
    ),
    api_rule(
        'report:get_total', READER_OR_ADMIN, 'Read one sum of rated data.', 'GET /v1/report/total'
    ),
]
