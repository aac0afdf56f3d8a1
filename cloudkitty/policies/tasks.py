"""Rules of the orders to rate periods again."""

from cloudkitty.policies.base import ADMIN, api_rule

RULES = [
    api_rule(
        'schedule:task_reprocesses',
        ADMIN,
        'Order to rate periods again.',
        'POST /v2/task/reprocesses',
    ),
    api_rule(
        'schedule:get_task_reprocesses',
        ADMIN,
        'List the orders to rate periods again.',
        'GET /v2/task/reprocesses',
        'GET /v2/task/reprocesses/{scope_id}',
    ),
]
