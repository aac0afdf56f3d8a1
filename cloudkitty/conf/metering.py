"""Options of embedded metering: the intake, the agent and the listeners, by section."""

from oslo_config import cfg

METERING_OPTS = [
    cfg.ListOpt(
        'secrets',
        default=[],
        secret=True,
        help='Secrets for the signatures of metering messages, the newest first: the service '
        'signs with the first one, and accepts signatures with any of them, such as '
        '[publisher]telemetry_secret of Ceilometer. At least 16 characters each. To change one, '
        'put the new one in front, and remove the old one when it is no longer used for signing.',
    ),
    cfg.IntOpt(
        'workers',
        default=0,
        min=0,
        max=64,
        help='Number of processes of cloudkitty-processor on this host that store usage from the '
        'message bus. 0: none. Each also runs the listeners. Processes on several hosts share the '
        'work.',
    ),
    cfg.StrOpt(
        'unsigned',
        default='refuse',
        choices=['refuse', 'accept'],
        help='How to treat metering messages on the bus without a signature. accept: everybody '
        'who can write to the bus can change bills.',
    ),
    cfg.ListOpt(
        'exchanges',
        default=['ceilometer'],
        help='Additional exchanges from which metering messages and events are read; that of this '
        'service is always read.',
    ),
    cfg.StrOpt(
        'http_users_file',
        help='File in htpasswd format (bcrypt) with the users who may push samples with HTTP '
        "basic authentication, the only one that Ceilometer's http publisher supports. They may "
        'push usage of every scope to POST /v2/samples, and nothing else. Unset: nobody.',
    ),
    cfg.IntOpt(
        'late_max',
        default=35,
        min=1,
        max=366,
        help='Age in days from which usage is refused. Newer usage that arrives after its period '
        'was rated has the period rated again.',
    ),
    cfg.IntOpt(
        'late_pause',
        default=4,
        min=0,
        max=100,
        help='Percent of the time that late usage of a scope covers, for which it waits after '
        'the previous late usage of this scope was rated: with 4 one day waits for 58 minutes, '
        'and 35 days for 34 hours. So one scope cannot keep the workers busy. 0: it does not '
        'wait.',
    ),
    cfg.IntOpt(
        'own_series_max',
        default=100_000,
        min=0,
        help='Most pairs of resource and meter of a project that it has ever pushed itself, with '
        'the role metering; its usage of further ones is refused. Usage from agents, services and '
        'administrators is not limited. 0: no limit.',
    ),
    cfg.IntOpt(
        'own_attributes_max',
        default=100_000,
        min=0,
        help='Most sets of attributes of a project that it has pushed itself, with the role '
        'metering; its usage with further ones is refused. Sets that only samples state count '
        'until these are removed, see keep_samples_days. 0: no limit.',
    ),
    cfg.IntOpt(
        'keep_messages_days',
        default=35,
        min=0,
        help='Days for which messages are kept as they were received, after they came. With its '
        'message the signature of a fact can be verified, and its attributes made anew. The facts '
        'stay.',
    ),
    cfg.IntOpt(
        'pack_samples_days',
        default=10,
        min=1,
        help='Days after which samples are packed, many in a row of the database, which needs '
        'an eighth of the space or less. Nothing is lost by it.',
    ),
    cfg.IntOpt(
        'keep_samples_days',
        default=100,
        min=1,
        help='Days for which samples are kept, and at least for as long as late_max and a day; '
        'so long periods can be rated again. What no scope has been rated for is kept, however '
        'old it is, and what existed from when to when is kept for ever.',
    ),
    cfg.IntOpt(
        'keep_rejects_days',
        default=35,
        min=1,
        help='Days for which messages that were refused are kept, after they came last.',
    ),
    cfg.IntOpt(
        'keep_requests_days',
        default=2,
        min=1,
        help='Days for which the answers to requests with an Idempotency-Key are kept, after they '
        'came. A request that is repeated later is carried out again; its events are duplicates.',
    ),
    cfg.StrOpt(
        'absence',
        default='presume',
        choices=['presume', 'bill'],
        help='How to treat a resource that is missing in a complete list of the cloud. presume: '
        'it ended when it was last seen. bill: it is charged until an operator ends it.',
    ),
    cfg.IntOpt(
        'settle',
        default=120,
        min=0,
        max=86400,
        help='A resource with a fact from less than this many seconds before a list was made is '
        'not regarded as missing in it.',
    ),
    cfg.IntOpt(
        'census_end_max',
        default=20,
        min=0,
        help='Most resources that one list may end, or census_end_share percent of the known '
        'ones, whichever is more. If more are missing, none ends until an operator confirms with '
        '`cloudkitty-usage census --accept`.',
    ),
    cfg.IntOpt('census_end_share', default=5, min=0, max=100, help='Percent, see census_end_max.'),
    cfg.ListOpt(
        'attributes_ignored',
        default=['updated_at', 'progress', 'task_state', 'path'],
        help='Attributes of resources that change frequently and are stored only in the messages: '
        'metric definitions cannot use them.',
    ),
]
AGENT_OPTS = [
    cfg.IntOpt(
        'interval',
        default=600,
        min=1,
        max=86400,
        help='Interval between two measurements of all pollsters, seconds.',
    ),
    cfg.ListOpt(
        'disabled',
        default=[],
        help='Installed pollsters to disable, such as memory.usage.',
    ),
    cfg.StrOpt(
        'hypervisor',
        default='libvirt',
        help='Hypervisor of this node. Pollsters for other hypervisors are disabled.',
    ),
    cfg.IntOpt(
        'threads',
        default=4,
        min=1,
        max=64,
        help='Number of pollsters that measure concurrently.',
    ),
    cfg.IntOpt(
        'deadline',
        default=120,
        min=1,
        help='Timeout of a pollster in seconds, at most the interval. A pollster that exceeds it '
        'is abandoned, and skipped until it returns.',
    ),
    cfg.StrOpt(
        'spool_folder',
        default='/var/lib/cloudkitty/spool',
        help='Folder for messages that cannot be sent to the message bus, until they can.',
    ),
    cfg.IntOpt(
        'spool_max',
        default=64,
        min=1,
        max=65536,
        help='Maximum size of the spool, MiB. When it is full, the newest messages are dropped, '
        'and their number is reported to the service. 64 MiB hold about 50,000 messages.',
    ),
]
LISTENER_OPTS = [
    cfg.ListOpt(
        'disabled',
        default=[],
        help='Installed listeners to disable, such as swift.',
    ),
    cfg.ListOpt(
        'topics',
        default=['notifications', 'versioned_notifications'],
        help='Topics from which notifications are read. Services send notifications only if '
        '[oslo_messaging_notifications]driver is messagingv2 in their configuration.',
    ),
    cfg.StrOpt(
        'pool',
        default='',
        help='Name of a separate queue for notifications. Set it if another consumer, such as '
        'ceilometer-agent-notification, reads the same topics: without it each gets a part of the '
        'notifications. Leave it unset otherwise: nothing would read the default queue, which '
        'would grow without bound.',
    ),
    cfg.BoolOpt(
        'republish',
        default=True,
        help='Send the usage from notifications to the bus as signed metering messages, for other '
        'consumers, and store it when it comes back. false: store it at once.',
    ),
]
