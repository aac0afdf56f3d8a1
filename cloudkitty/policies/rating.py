"""Rules of the rating modules and their configuration."""

from cloudkitty.policies.base import ADMIN, EVERYBODY, READER_OR_ADMIN, api_rule

RULES = [
    api_rule('rating:list_modules', ADMIN, 'List the rating modules.', 'GET /v1/rating/modules'),
    api_rule(
        'rating:get_module', ADMIN, 'Show a rating module.', 'GET /v1/rating/modules/{module_id}'
    ),
    api_rule(
        'rating:update_module',
        ADMIN,
        'Enable, disable or order a rating module.',
        'PUT /v1/rating/modules/{module_id}',
    ),
    api_rule('rating:quote', EVERYBODY, 'Ask what resources would cost.', 'POST /v1/rating/quote'),
    api_rule(
        'rating:module_config',
        ADMIN,
        'Read and write the rules of rating modules, and have them loaded again.',
        'GET /v1/rating/reload_modules',
        'GET /v1/rating/module_config/{module_id}',
        'POST /v1/rating/module_config/{module_id}',
        'PUT /v1/rating/module_config/{module_id}',
        'DELETE /v1/rating/module_config/{module_id}',
    ),
    api_rule('v2_rating:list_modules', ADMIN, 'List the rating modules.', 'GET /v2/rating/modules'),
    api_rule(
        'v2_rating:get_module', ADMIN, 'Show a rating module.', 'GET /v2/rating/modules/{module_id}'
    ),
    api_rule(
        'v2_rating:update_module',
        ADMIN,
        'Enable, disable or order a rating module.',
        'PUT /v2/rating/modules/{module_id}',
    ),
    api_rule(
        'v2_rating:list_rules',
        READER_OR_ADMIN,
        'List the rules of hashmap. Others than an admin see those that apply to the own project.',
        'GET /v2/rating/rules',
    ),
    api_rule(
        'v2_rating:preview',
        ADMIN,
        'Ask what stored usage would cost by other rules.',
        'POST /v2/rating/preview',
    ),
]
