"""Options of embedded metering: the intake, the agent and the listeners, by section."""

from oslo_config import cfg

METERING_OPTS = [
    cfg.ListOpt(
        'secrets',
        default=[],
        secret=True,
        help='Secrets that sign metering messages, the newest first: it signs those of this '
        "service, and each of them verifies others', such as [publisher]telemetry_secret of "
        'Ceilometer. At least 16 characters each. To change one, put the new one in front, and '
        'remove the old one when nobody signs with it any more.',
    ),
    cfg.IntOpt(
        'workers',
        default=0,
        min=0,
        max=64,
        help='Processes of cloudkitty-processor on this host that store usage from the message '
        'bus. 0: none. Each also runs the listeners. More than one on different hosts share the '
        'work.',
    ),
    cfg.StrOpt(
        'unsigned',
        default='refuse',
        choices=['refuse', 'accept'],
        help='What becomes of metering messages on the bus without a signature. accept: everybody '
        'who can write to the bus can write to the bill.',
    ),
    cfg.ListOpt(
        'exchanges',
        default=['ceilometer'],
        help='Exchanges in which others send metering messages and events; that of this service '
        'is always read.',
    ),
    cfg.StrOpt(
        'http_users_file',
        help='File in the format of htpasswd (bcrypt) with who may push samples by HTTP basic '
        "authentication, which is all that Ceilometer's http publisher knows. They may push usage "
        'of every scope to POST /v2/samples, and nothing else. Unset: nobody.',
    ),
    cfg.IntOpt(
        'late_max',
        default=35,
        min=1,
        max=366,
        help='Days after which usage is refused. What comes earlier, but after its period was '
        'rated, has the period rated again.',
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
    cfg.StrOpt(
        'absence',
        default='presume',
        choices=['presume', 'bill'],
        help='What becomes of a resource that is missing in a complete list of the cloud. presume: '
        'it ended when it was last seen. bill: it is charged until somebody says that it ended.',
    ),
    cfg.IntOpt(
        'settle',
        default=120,
        min=0,
        max=86400,
        help='Seconds: a resource that was spoken of so shortly before a list was made may be '
        'missing in it.',
    ),
    cfg.IntOpt(
        'census_end_max',
        default=20,
        min=0,
        help='Resources that one list may end, or census_end_share percent of those known, '
        'whichever is more. If more are missing, none ends until a person agrees: '
        '`cloudkitty-usage census --accept`.',
    ),
    cfg.IntOpt('census_end_share', default=5, min=0, max=100, help='Percent, see census_end_max.'),
    cfg.ListOpt(
        'attributes_ignored',
        default=['updated_at', 'progress', 'task_state', 'path'],
        help='Attributes of resources that change all the time and are not kept apart from '
        'their messages: no metric definition can use them.',
    ),
]
AGENT_OPTS = [
    cfg.IntOpt(
        'interval',
        default=600,
        min=1,
        max=86400,
        help='Seconds from one measurement to the next, of all pollsters.',
    ),
    cfg.ListOpt(
        'disabled',
        default=[],
        help='Names of pollsters that are installed and are not to work, such as memory.usage.',
    ),
    cfg.StrOpt(
        'hypervisor',
        default='libvirt',
        help='What runs the machines of this node. Pollsters of another one are off.',
    ),
    cfg.IntOpt(
        'threads',
        default=4,
        min=1,
        max=64,
        help='Pollsters that measure at once.',
    ),
    cfg.IntOpt(
        'deadline',
        default=120,
        min=1,
        help='Seconds that a pollster may take, at most the interval. It is not waited for any '
        'longer, and is left out until it comes back.',
    ),
    cfg.StrOpt(
        'spool_folder',
        default='/var/lib/cloudkitty/spool',
        help='Folder for messages that the message bus does not take, until it does.',
    ),
    cfg.IntOpt(
        'spool_max',
        default=64,
        min=1,
        max=65536,
        help='Size of the spool, MiB. When it is full, the newest messages are lost, and their '
        'number is told to the service. 64 MiB hold about 50,000 messages.',
    ),
]
LISTENER_OPTS = [
    cfg.ListOpt(
        'disabled',
        default=[],
        help='Listeners that are not used, such as swift. All others that are installed are.',
    ),
    cfg.ListOpt(
        'topics',
        default=['notifications', 'versioned_notifications'],
        help='Topics of notifications that are read. Services send them only if '
        '[oslo_messaging_notifications]driver is messagingv2 in their configuration.',
    ),
    cfg.StrOpt(
        'pool',
        default='',
        help="Name of a queue of this service's own for notifications. Set it where somebody else, "
        'such as ceilometer-agent-notification, reads the same topics: without it each gets a '
        'part of the notifications. Unset it where nobody else does: the default queue would grow '
        'for ever.',
    ),
    cfg.BoolOpt(
        'republish',
        default=True,
        help='Send what listeners make of notifications as metering messages, signed, for others '
        'to read, and store it when it is back. false: store it at once.',
    ),
]
