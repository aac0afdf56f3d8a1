"""Rules of embedded metering. Target is the caller's project."""

from cloudkitty.policies.base import ADMIN, READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'usage:push',
        'rule:context_is_admin or role:metering',
        'Push usage of the own project.',
        'POST /v2/usage',
        'POST /v2/samples',
        'POST /v2/meters/{meter}',
    ),
    api_rule(
        'usage:push_any_scope',
        ADMIN,
        'Push usage of every scope, and say that a source is complete.',
        'POST /v2/usage',
    ),
    api_rule(
        'usage:operate',
        ADMIN,
        'See what was refused or came late, and how far sources are; take what was refused again.',
        'GET /v2/usage/rejects',
        'POST /v2/usage/rejects/{reject_id}/retry',
        'GET /v2/usage/late',
        'GET /v2/usage/producers',
    ),
    api_rule('usage:delete', ADMIN, 'Take pushed usage back.', 'DELETE /v2/usage'),
    api_rule(
        'meters:get',
        READER_OR_ADMIN,
        'List meters, and read statistics of one.',
        'GET /v2/meters',
        'GET /v2/meters/{meter}/statistics',
    ),
    api_rule(
        'samples:get',
        READER_OR_ADMIN,
        'Read what was measured, and the messages that said so.',
        'GET /v2/samples',
        'GET /v2/samples/{sample_id}',
    ),
    api_rule(
        'resources:get',
        READER_OR_ADMIN,
        'Read from when to when resources existed.',
        'GET /v2/resources',
        'GET /v2/resources/{resource_id}',
    ),
]
