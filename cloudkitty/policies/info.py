"""Rules of the information about metrics."""

from cloudkitty.policies.base import EVERYBODY, api_rule

UNUSED = 'Asked by nobody; kept for the policy files that name it.'

RULES = [
    api_rule(
        'info:list_metrics_info',
        EVERYBODY,
        'List the metrics.',
        'GET /v1/info/metrics',
        'GET /v1/info/services',
    ),
    api_rule(
        'info:get_metric_info',
        EVERYBODY,
        'Show a metric.',
        'GET /v1/info/metrics/{metric_id}',
        'GET /v1/info/services/{metric_id}',
    ),
    api_rule(
        'info:list_services_info', EVERYBODY, f'List the metrics. {UNUSED}', 'GET /v1/info/services'
    ),
    api_rule(
        'info:get_service_info',
        EVERYBODY,
        f'Show a metric. {UNUSED}',
        'GET /v1/info/services/{metric_id}',
    ),
    api_rule('info:get_config', EVERYBODY, 'Read the metric definitions.', 'GET /v1/info/config'),
]
