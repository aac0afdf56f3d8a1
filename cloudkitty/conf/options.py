"""Options that all processes share, by section.

Those of embedded metering are in cloudkitty.conf.metering.
A driver's options are defined next to the driver and registered when it is built.
"""

import os
import socket

from oslo_config import cfg

from cloudkitty.conf.metering import AGENT_OPTS, LISTENER_OPTS, METERING_OPTS

DEFAULT_CONNECTION = 'sqlite:////var/lib/cloudkitty/cloudkitty.sqlite'

DEFAULT_OPTS = [
    cfg.StrOpt(
        'api_paste_config',
        default='api_paste.ini',
        deprecated_for_removal=True,
        deprecated_reason='The middleware of the API is fixed.',
        help='Paste file of earlier releases. It is not loaded: only acl_public_routes and '
        'disable_by_file_path in it are honoured, and a warning at start names filters that have '
        'no counterpart.',
    ),
    cfg.StrOpt(
        'auth_strategy',
        default='keystone',
        choices=['noauth', 'keystone'],
        help='Authentication of API requests: keystone validates tokens, noauth treats every '
        'caller as an administrator.',
    ),
    cfg.HostAddressOpt(
        'host',
        default=socket.getfqdn(),
        sample_default='<your_hostname>',
        help='Name of this host.',
    ),
]
API_OPTS = [
    cfg.HostAddressOpt(
        'host',
        default='127.0.0.1',
        help='Address on which the development server cloudkitty-api listens.',
    ),
    cfg.PortOpt(
        'port',
        default=8889,
        help='Port on which the development server cloudkitty-api '
        'listens. Behind a web server, set the port there.',
    ),
    cfg.IntOpt(
        'threads',
        default=8,
        min=1,
        help='Threads of each process of the web server. Slow requests, such as sums, points and '
        'quotes, take at most half of them for one project, and all but two of them for all '
        'projects; further ones are answered with 429. The development server starts this many '
        'threads.',
    ),
    cfg.IntOpt(
        'limit_max',
        default=20000,
        min=1,
        help='Maximum page size of lists, and maximum number of points in an answer of '
        '/v1/storage/dataframes. Lower it if answers get too big for the memory of the API.',
    ),
    cfg.StrOpt(
        'metrics_folder',
        help='Folder for the counters that the processes of the API share, best on a tmpfs, such '
        'as /run/cloudkitty-api/metrics. If set, the API serves /metrics to Prometheus and to '
        'anyone else who can reach it. Unset: /metrics is disabled.',
    ),
]
COLLECT_OPTS = [
    cfg.StrOpt(
        'collector',
        default='gnocchi',
        help='Driver that collects usage, or the name of a section [collector_NAME].',
    ),
    cfg.IntOpt(
        'period',
        default=3600,
        min=1,
        help='Length of a rating period, seconds. Once something is rated, the value is kept in '
        'the database, and a processor with another value refuses to work: order a change with '
        '`cloudkitty-status agreement`.',
    ),
    cfg.IntOpt(
        'wait_periods',
        default=2,
        min=0,
        help='Number of periods after its begin before a period is collected; raise it if the '
        'source receives its measures late. A period that has not ended is never collected.',
    ),
    cfg.IntOpt(
        'lag_max',
        default=10800,
        min=0,
        max=2592000,
        help='How long periods wait for a metric whose data in the source ends too early, in '
        'seconds, counted from its newest data. Afterwards they are rated with the available data. '
        'Raise it if the source may be silent for longer and gets its data later; 0 disables '
        'waiting.',
    ),
    cfg.StrOpt(
        'start_date',
        default='',
        help='Date, such as 2026-10-01, or ISO 8601 time (UTC if it has no offset), from which on '
        'new scopes are rated; empty: the begin of the month in which they are found. To change '
        'it, see period.',
    ),
    cfg.StrOpt(
        'metrics_conf',
        default='/etc/cloudkitty/metrics.yml',
        help='File that defines the metrics to rate.',
    ),
    cfg.StrOpt(
        'scope_key',
        default='project_id',
        max_length=40,
        help='Attribute or label that holds the scope id in the source of usage. To change it, '
        'see period.',
    ),
]
FETCHER_OPTS = [
    cfg.StrOpt(
        'backend',
        default='keystone',
        help='Driver that lists the scopes to rate, or the name of a section [fetcher_NAME].',
    ),
]
ORCHESTRATOR_OPTS = [
    cfg.StrOpt(
        'coordination_url',
        default='file:///var/lib/cloudkitty/locks',
        secret=True,
        help='tooz URL of the lock service. file:// serves one host only.',
    ),
    cfg.IntOpt(
        'max_workers',
        default=os.cpu_count() or 1,
        min=0,
        max=1024,
        sample_default=4,
        help='Number of rating worker processes; 0 rates nothing on this host.',
    ),
    cfg.IntOpt(
        'max_workers_reprocessing',
        default=os.cpu_count() or 1,
        min=0,
        max=1024,
        sample_default=4,
        help='How many of the worker processes reprocess periods; those above max_workers do '
        'nothing else. 0: none on this host.',
    ),
    cfg.IntOpt(
        'max_threads',
        default=16,
        min=1,
        advanced=True,
        deprecated_name='max_greenthreads',
        help='Threads per worker that query the source for metrics.',
    ),
    cfg.StrOpt(
        'skip_datapoints_expression',
        default='False',
        advanced=True,
        help='Expression over `datapoint`; a point for which it is true is not stored. '
        'The expression of a metric definition takes precedence.',
    ),
    cfg.IntOpt(
        'collector_request_timeout',
        default=300,
        min=30,
        advanced=True,
        help='Seconds allowed for collecting all metrics of one batch.',
    ),
    cfg.IntOpt(
        'clock_offset_max',
        default=5,
        min=1,
        advanced=True,
        help='Largest difference in seconds between the clock of this host and those of the '
        'database and of the source. A worker with a larger difference rates nothing and logs '
        'that.',
    ),
    cfg.IntOpt(
        'shards',
        default=16,
        min=1,
        max=4096,
        help='Number of partitions of the scopes; one worker at a time works on a partition. Set '
        'it to at least the number of workers of all hosts, and to the same value on all hosts.',
    ),
    cfg.IntOpt(
        'batch_scopes',
        default=100,
        min=1,
        advanced=True,
        help='Scopes that are collected, rated and stored together.',
    ),
    cfg.IntOpt(
        'batch_periods',
        default=48,
        min=1,
        advanced=True,
        help='Periods of a backlog that are collected, rated and stored together.',
    ),
    cfg.IntOpt(
        'batch_points',
        default=20000,
        min=1,
        advanced=True,
        help='Most points of one period that are collected, rated and stored together; three '
        'times as many if there are several periods. If there are more, a worker takes fewer '
        'scopes, then fewer periods. Each point needs about 4 KiB of memory.',
    ),
    cfg.PortOpt(
        'metrics_port',
        help='Port on which the processor serves /metrics to Prometheus. Unset: /metrics is '
        'disabled. SIGHUP applies another port; to set or unset it, restart the processor.',
    ),
    cfg.HostAddressOpt(
        'metrics_host',
        default='127.0.0.1',
        help='Address on which the processor serves /metrics. Anyone who can reach it can read '
        'the metrics, which contain names of rated metrics, but no scopes and no prices.',
    ),
    cfg.IntOpt(
        'worker_silence_max',
        default=900,
        min=1,
        advanced=True,
        help='Seconds without a heartbeat after which a worker is regarded as hanging: systemd '
        'then gets no more watchdog notifications. Keep it above collector_request_timeout.',
    ),
]
RATING_OPTS = [
    cfg.StrOpt(
        'currency',
        default='',
        max_length=16,
        regex='[A-Za-z0-9]*',
        help='Currency of all prices, such as EUR or a custom unit. It is only displayed beside '
        'prices. Empty: prices are shown without a currency.',
    ),
]
STORAGE_OPTS = [
    cfg.StrOpt('backend', default='sql', help='Driver that stores rated data.'),
    cfg.IntOpt(
        'version',
        default=2,
        min=1,
        max=2,
        help='Version of the interface of the driver in backend. 1: drivers that can only add '
        'data, and backend = sqlalchemy, which uses the table of rated points of earlier releases.',
    ),
    cfg.IntOpt(
        'fold_periods',
        default=6,
        min=1,
        max=1000,
        help='Number of periods of a scope that the driver sql stores before it adds them to the '
        'sums by series (rated_days, rated_series_months), which are most of what a period changes '
        'in the database. Totals by attributes also read the points of periods that are not added '
        'yet. Raise it for short periods, such as 24 for 10 minutes; 1: every period is added at '
        'once.',
    ),
    cfg.IntOpt(
        'retention_period',
        min=1,
        help='Retention of rated points in hours, counted from their day (UTC); older ones are '
        'removed in the background. Unset: all are kept. The sums by day and by month, from which '
        'most reports are made, are kept; see rollup_retention_period. The driver clickhouse '
        'removes whole months, and keeps no sums. Drivers of other packages have their own '
        'retention.',
    ),
    cfg.IntOpt(
        'rollup_retention_period',
        min=1,
        help='Retention of the sums by day and by month of the driver sql, in hours; whole months '
        'are removed, and only after their points. Unset: all are kept.',
    ),
]
OUTPUT_OPTS = [
    cfg.StrOpt(
        'backend',
        default='cloudkitty.backend.file.FileBackend',
        help='Import path of the class that stores report files: '
        'cloudkitty.backend.file.FileBackend, a folder, or '
        'cloudkitty.backend.object.ObjectBackend, a bucket.',
    ),
    cfg.StrOpt(
        'basepath',
        default='/var/lib/cloudkitty/states/',
        help='Where report files are written: a folder, which is created if it is missing, or a '
        'URL such as s3://bucket/prefix.',
    ),
    cfg.ListOpt(
        'pipeline',
        default=['osrf'],
        help='Formats of the report files, such as osrf and csv.',
    ),
    cfg.IntOpt(
        'interval',
        default=0,
        min=0,
        max=604_800,
        help='Interval in seconds at which the processor writes files of the last three months '
        'that have changed. 0: only cloudkitty-writer writes files.',
    ),
    cfg.IntOpt(
        'keep_months',
        default=0,
        min=0,
        max=1200,
        help='Months after which usage files are removed, counted from their month. 0: never. '
        'Statements are always kept.',
    ),
    cfg.StrOpt(
        'templates',
        help='Folder with custom templates for html and pdf, such as statement.html.j2. Unset: '
        'those of the package.',
    ),
    cfg.ListOpt(
        'fonts',
        default=[],
        help='Folders with fonts for pdf, for scripts that the included fonts lack. The fonts of '
        'the host are not used, so that files are the same on all hosts.',
    ),
]
UI_OPTS = [
    cfg.BoolOpt(
        'enabled',
        default=False,
        help='Serve the web page for costs at /ui, to everybody who can reach the API. It shows '
        'only what the caller may read over REST.',
    ),
    cfg.ListOpt(
        'sso_protocols',
        default=[],
        item_type=cfg.types.String(regex=r'[A-Za-z0-9_.-]{1,64}', quotes=False),
        help='Keystone protocols for which the web page offers single sign-on, such as openid. '
        'Keystone must have https://THIS-SERVICE/ui/sso in [federation]trusted_dashboard.',
    ),
]
AUTOMATIC = 'automatic'
BILLING_OPTS = [
    cfg.BoolOpt(
        'enabled',
        default=False,
        help='Enable billing: statements are made from rated data, see "Billing" in the '
        'administrator guide. If false, billing computes, stores and returns nothing.',
    ),
    cfg.StrOpt(
        'close',
        default='manual',
        choices=['manual', AUTOMATIC],
        help='How months are closed. automatic: by the processor, as soon as the month is final '
        'for all scopes of an account and its close_after has passed. manual: with '
        'cloudkitty-billing close.',
    ),
    cfg.StrOpt(
        'series',
        default='CK',
        regex='[A-Za-z0-9]{1,16}',
        help='Prefix of the numbers of statements, such as CK-2026-000001. Each series is '
        'numbered without gaps, from 1 in each year.',
    ),
    cfg.StrOpt(
        'issuer',
        default='',
        help='Issuer of the statements: name, address and tax number, as displayed on them.',
    ),
    cfg.BoolOpt(
        'notify',
        default=False,
        help='Send a notification on the message bus when a budget threshold is reached, and when '
        'a statement is closed or voided. It needs [DEFAULT]transport_url.',
    ),
    cfg.ListOpt(
        'webhook_networks',
        default=[],
        help='Networks, such as 10.1.0.0/16, to which webhooks may be sent although their '
        'addresses are not public. Owners of accounts can cause requests to them.',
    ),
    cfg.StrOpt(
        'webhook_cafile',
        help='File of CA certificates (PEM) that webhooks are verified with; default: those of '
        'the system.',
    ),
]
# About 10,000 points in one POST /v2/dataframes.
BODY_SIZE_MAX = 4 * 2**20
CORS_DEFAULTS = {
    'allow_headers': [
        'X-Auth-Token',
        'X-Subject-Token',
        'X-Roles',
        'X-User-Id',
        'X-Domain-Id',
        'X-Project-Id',
        'X-Tenant-Id',
        'X-OpenStack-Request-ID',
    ],
    'expose_headers': [
        'X-Auth-Token',
        'X-Subject-Token',
        'X-Service-Token',
        'X-OpenStack-Request-ID',
    ],
    'allow_methods': ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'],
}
GROUPS = {
    None: DEFAULT_OPTS,
    'api': API_OPTS,
    'collect': COLLECT_OPTS,
    'fetcher': FETCHER_OPTS,
    'orchestrator': ORCHESTRATOR_OPTS,
    'rating': RATING_OPTS,
    'storage': STORAGE_OPTS,
    'ui': UI_OPTS,
    'metering': METERING_OPTS,
    'agent': AGENT_OPTS,
    'listener': LISTENER_OPTS,
    'billing': BILLING_OPTS,
    'output': OUTPUT_OPTS,
}
