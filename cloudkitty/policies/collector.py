"""Rules of the collectors' mappings and states."""

from cloudkitty.policies.base import ADMIN, api_rule

RULES = [
    api_rule(
        'collector:list_mappings',
        ADMIN,
        'List which collector serves which service.',
        'GET /v1/collector/mappings',
    ),
    api_rule(
        'collector:get_mapping',
        ADMIN,
        'Show which collector serves a service.',
        'GET /v1/collector/mappings/{service}',
    ),
    api_rule(
        'collector:manage_mapping',
        ADMIN,
        'Set or remove the collector of a service.',
        'POST /v1/collector/mappings',
        'DELETE /v1/collector/mappings/{service}',
    ),
    api_rule(
        'collector:get_state',
        ADMIN,
        'Show whether a collector is switched on.',
        'GET /v1/collector/states/{name}',
    ),
    api_rule(
        'collector:update_state',
        ADMIN,
        'Switch a collector on or off.',
        'PUT /v1/collector/states/{name}',
    ),
]
