"""Rules of plans, accounts and statements. What of them a caller sees is the API's matter."""

from cloudkitty.policies.base import ADMIN, MEMBER_OR_ADMIN, READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'billing:get_document',
        ADMIN,
        'Read plans, accounts and rates.',
        'GET /v2/billing/document',
        'GET /v2/billing/versions',
    ),
    api_rule(
        'billing:put_document',
        ADMIN,
        'Apply plans, accounts and rates.',
        'PUT /v2/billing/document',
    ),
    api_rule(
        'billing:get_account',
        READER_OR_ADMIN,
        'List the accounts that the project owns, or belongs to; an admin sees all.',
        'GET /v2/billing/accounts',
        'GET /v2/billing/accounts/{account_id}',
    ),
    api_rule(
        'billing:get_credits',
        READER_OR_ADMIN,
        'Read the credits of an account: its owner and an admin.',
        'GET /v2/billing/accounts/{account_id}/credits',
    ),
    api_rule(
        'billing:manage_credits',
        ADMIN,
        'Grant an account a credit, or withdraw one.',
        'POST /v2/billing/accounts/{account_id}/credits',
        'DELETE /v2/billing/accounts/{account_id}/credits/{credit_id}',
    ),
    api_rule(
        'billing:preview',
        ADMIN,
        'Ask what a month would cost under other plans, or other rules.',
        'POST /v2/billing/preview',
        'POST /v2/whatif',
    ),
    api_rule(
        'statement:get',
        READER_OR_ADMIN,
        'Read statements: the owner of an account its own, a scope its own lines, an admin all.',
        'GET /v2/statements',
        'GET /v2/statements/draft',
        'GET /v2/statements/forecast',
        'GET /v2/statements/explain',
        'GET /v2/statements/{number}',
        'GET /v2/statements/{number}/files/{format}',
    ),
    api_rule('statement:close', ADMIN, 'Close the month of an account.', 'POST /v2/statements'),
    api_rule(
        'statement:void',
        ADMIN,
        'Take the newest statement of an account back.',
        'POST /v2/statements/{number}/void',
    ),
    api_rule(
        'budget:get',
        READER_OR_ADMIN,
        'Read the budgets of an account and their alerts: its owner and an admin.',
        'GET /v2/budgets',
        'GET /v2/budgets/{budget_id}',
    ),
    api_rule(
        'budget:manage',
        MEMBER_OR_ADMIN,
        'Change the budgets of an account: its owner and an admin.',
        'POST /v2/budgets',
        'PUT /v2/budgets/{budget_id}',
        'DELETE /v2/budgets/{budget_id}',
    ),
    api_rule(
        'webhook:get',
        READER_OR_ADMIN,
        'Read the webhooks of an account, without their secrets: its owner and an admin.',
        'GET /v2/webhooks',
    ),
    api_rule(
        'webhook:manage',
        MEMBER_OR_ADMIN,
        'Change the webhooks of an account: its owner and an admin.',
        'POST /v2/webhooks',
        'DELETE /v2/webhooks/{webhook_id}',
        'POST /v2/webhooks/{webhook_id}/secret',
    ),
]
