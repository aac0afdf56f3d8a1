"""Rules of the scopes."""

from cloudkitty.policies.base import ADMIN, api_rule

RULES = [
    api_rule('scope:get_state', ADMIN, 'List scopes and how far they are rated.', 'GET /v2/scope'),
    api_rule(
        'scope:reset_state',
        ADMIN,
        'Have periods of scopes rated again from a time on.',
        'PUT /v2/scope',
    ),
    api_rule('scope:patch_state', ADMIN, 'Change a scope, switch it on or off.', 'PATCH /v2/scope'),
    api_rule('scope:post_state', ADMIN, 'Create a scope.', 'POST /v2/scope'),
]
