"""Rules of the audit trail."""

from cloudkitty.policies.base import ADMIN, api_rule

RULES = [
    api_rule('audit:list', ADMIN, 'List who changed which rule.', 'GET /v2/audit'),
]
