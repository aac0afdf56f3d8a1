"""The options every process shares, and the one way to load them.

A driver's options stand beside the driver and are registered when it is built.
"""

import logging
import os
import pathlib
import re
import socket
import sys
import traceback

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log
from oslo_middleware import cors, sizelimit

from cloudkitty import errors, version

PROJECT = 'cloudkitty'
DEFAULT_CONNECTION = 'sqlite:////var/lib/cloudkitty/cloudkitty.sqlite'

DEFAULT_OPTS = [
    cfg.StrOpt('auth_strategy', default='keystone', choices=['noauth', 'keystone'],
               help='How the API learns who calls: keystone checks tokens, noauth lets everybody '
                    'do everything.'),
    cfg.HostAddressOpt('host', default=socket.getfqdn(), sample_default='<your_hostname>',
                       help='Name of this node.'),
]
API_OPTS = [
    cfg.HostAddressOpt('host', default='127.0.0.1',
                       help='Address on which the development server cloudkitty-api listens.'),
    cfg.PortOpt('port', default=8889, help='Port on which the development server cloudkitty-api '
                                           'listens. Behind a web server, set the port there.'),
    cfg.IntOpt('limit_max', default=100000, min=1,
               help='Largest page of a list that a caller may ask for. Lower it when answers get '
                    'too big for the memory of the API.'),
    cfg.StrOpt('metrics_folder',
               help='Folder in which the processes of the API count, best in memory, such as '
                    '/run/cloudkitty-api/metrics. With it /metrics answers Prometheus, for '
                    'whoever reaches the API. Not set: there is no /metrics.'),
]
COLLECT_OPTS = [
    cfg.StrOpt('collector', default='gnocchi',
               help='Driver that collects usage, or the name of a section [collector_NAME].'),
    cfg.IntOpt('period', default=3600, min=1,
               help='Length of a rating period, seconds. Do not change it once data is stored.'),
    cfg.IntOpt('wait_periods', default=2, min=0,
               help='Periods to let pass before a period is collected; raise it when the source '
                    'receives its measures late. A period that has not ended is never collected.'),
    cfg.IntOpt('lag_max', default=10800, min=0, max=2592000,
               help='Seconds that periods wait for a metric whose data in the source ends too '
                    'early, counted from its newest data. Afterwards they are rated with what is '
                    'there. Raise it when the source may be silent for longer and gets its data '
                    'later; 0 never waits.'),
    cfg.StrOpt('start_date', default='',
               help='Date, such as 2026-10-01, or time in ISO 8601 (UTC unless it says otherwise), '
                    'from which on new scopes are rated; empty: the begin of the month in which '
                    'they are found.'),
    cfg.StrOpt('metrics_conf', default='/etc/cloudkitty/metrics.yml',
               help='File that defines the metrics to rate.'),
    cfg.StrOpt('scope_key', default='project_id', max_length=40,
               help='Attribute or label that names the scope in the source of usage.'),
]
FETCHER_OPTS = [
    cfg.StrOpt('backend', default='keystone',
               help='Driver that lists the scopes to rate, or the name of a section '
                    '[fetcher_NAME].'),
]
ORCHESTRATOR_OPTS = [
    cfg.StrOpt('coordination_url', default='file:///var/lib/cloudkitty/locks', secret=True,
               help='tooz URL of the lock service. file:// serves one host only.'),
    cfg.IntOpt('max_workers', default=os.cpu_count() or 1, min=0, max=1024, sample_default=4,
               help='Rating worker processes; 0 rates nothing on this node.'),
    cfg.IntOpt('max_workers_reprocessing', default=os.cpu_count() or 1, min=0, max=1024,
               sample_default=4,
               help='How many of the worker processes rate periods again when that is ordered; '
                    'those above max_workers do nothing else. 0: none on this node.'),
    cfg.IntOpt('max_threads', default=16, min=1, advanced=True,
               deprecated_name='max_greenthreads',
               help='Threads that ask the source for metrics, per worker.'),
    cfg.StrOpt('skip_datapoints_expression', default='False', advanced=True,
               help='Expression over `datapoint`; a point for which it is true is not stored. '
                    'The one of a metric definition wins.'),
    cfg.IntOpt('collector_request_timeout', default=300, min=30, advanced=True,
               help='Seconds allowed for collecting all metrics of one batch.'),
    cfg.IntOpt('shards', default=16, min=1, max=4096,
               help='Parts the scopes are spread over; a part is worked on by one worker at a '
                    'time. At least the number of workers of all nodes; the same on all nodes.'),
    cfg.IntOpt('batch_scopes', default=100, min=1, advanced=True,
               help='Scopes that are collected, rated and stored together.'),
    cfg.IntOpt('batch_periods', default=48, min=1, advanced=True,
               help='Periods of a backlog that are collected, rated and stored together.'),
    cfg.IntOpt('batch_points', default=20000, min=1, advanced=True,
               help='Points of one period that are collected, rated and stored together at most, '
                    'and three times as many of several periods. Where there are more, a worker '
                    'takes fewer scopes, then fewer periods. Each needs about 4 KiB of memory.'),
    cfg.PortOpt('metrics_port',
                help='Port on which the processor answers Prometheus at /metrics. Not set: it '
                     'does not. Setting it at all needs a new start, another port only SIGHUP.'),
    cfg.HostAddressOpt('metrics_host', default='127.0.0.1',
                       help='Address on which the processor answers Prometheus. Whoever reaches '
                            'it can read the figures: names of metrics, no scope, no price.'),
    cfg.IntOpt('worker_silence_max', default=900, min=1, advanced=True,
               help='Seconds after which a worker without a sign of life counts as one that '
                    'hangs: systemd is then no longer told that all is well. Keep it above '
                    'collector_request_timeout.'),
]
STORAGE_OPTS = [
    cfg.StrOpt('backend', default='sql', help='Driver that keeps rated data.'),
    cfg.IntOpt('version', default=2, min=1, max=2,
               help='Version of the interface of the driver that backend names. 1: drivers that '
                    'can only add to what is stored, and backend = sqlalchemy, which uses the '
                    'table of rated points of earlier releases.'),
    cfg.IntOpt('retention_period', min=1,
               help='Hours for which rated points are kept, counted from the day (UTC) they are '
                    'of; older ones are removed in the background. Unset: all are kept. The sums '
                    'by day and by month, which most reports are made of, stay; see '
                    'rollup_retention_period. Drivers of other packages have a retention of '
                    'their own.'),
    cfg.IntOpt('rollup_retention_period', min=1,
               help='Hours for which the driver sql keeps the sums by day and by month; whole '
                    'months are removed, and none whose points are kept. Unset: all are kept.'),
]
# About 10,000 points in one POST /v2/dataframes.
BODY_SIZE_MAX = 4 * 2 ** 20
CORS_DEFAULTS = {
    'allow_headers': ['X-Auth-Token', 'X-Subject-Token', 'X-Roles', 'X-User-Id', 'X-Domain-Id',
                      'X-Project-Id', 'X-Tenant-Id', 'X-OpenStack-Request-ID'],
    'expose_headers': ['X-Auth-Token', 'X-Subject-Token', 'X-Service-Token',
                       'X-OpenStack-Request-ID'],
    'allow_methods': ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'],
}
# What oslo.config says of a wrong value, and what it forgets to say.
ALLOWED = {
    'invalid literal for int': '; allowed: a whole number',
    'could not convert string to float': '; allowed: a number',
    'Unexpected boolean value': '; allowed: true or false',
}
# From which level on lines of a library are of use to an operator.
LIBRARY_LEVELS = {
    'urllib3': logging.ERROR,
    'urllib3.connectionpool': logging.ERROR,
    'keystoneauth': logging.ERROR,
    # A line for each of its parts, whenever it is imported.
    'alembic.runtime.plugins': logging.WARNING,
    # rpc.py says in one line what these say at each attempt.
    'oslo.messaging': logging.CRITICAL,
    'oslo_messaging': logging.CRITICAL,
    'amqp': logging.CRITICAL,
    'kombu': logging.CRITICAL,
}
GROUPS = {
    None: DEFAULT_OPTS,
    'api': API_OPTS,
    'collect': COLLECT_OPTS,
    'fetcher': FETCHER_OPTS,
    'orchestrator': ORCHESTRATOR_OPTS,
    'storage': STORAGE_OPTS,
}


def register(conf: cfg.ConfigOpts) -> None:
    """Register the shared options, those of the libraries included, on *conf*."""
    for group, options in GROUPS.items():
        conf.register_opts(options, group=group)
    log.register_options(conf)
    conf.register_opts(db_options.database_opts, group='database')
    set_library_defaults()


def set_library_defaults() -> None:
    """Give the libraries this service's defaults; also called by the sample generator."""
    cfg.set_defaults(db_options.database_opts, connection=DEFAULT_CONNECTION)
    cfg.set_defaults(sizelimit.OPTS, max_request_body_size=BODY_SIZE_MAX)
    cors.set_defaults(**CORS_DEFAULTS)


def load(argv: list[str], *, files: list[str] | None = None,
         conf: cfg.ConfigOpts = cfg.CONF) -> cfg.ConfigOpts:
    """Return *conf* as read() does, and set up logging."""
    read(argv, files=files, conf=conf)
    set_up_logging(conf)
    return conf


def read(argv: list[str], *, files: list[str] | None = None,
         conf: cfg.ConfigOpts) -> cfg.ConfigOpts:
    """Return *conf* with files and arguments read.

    :param argv: command line without the program's name.
    :param files: configuration files instead of those on the search path.
    :raises ConfigurationError: a file cannot be read or a value is not allowed; the text names
        file, option and what is allowed.
    """
    register(conf)
    try:
        conf(argv, project=PROJECT, version=version.version_string(),
             default_config_files=files, validate_default_values=True)
    except cfg.Error as exc:
        raise errors.ConfigurationError(reason=' '.join(str(exc).split())) from exc
    except OSError as exc:
        raise errors.ConfigurationError(reason=f'{exc.filename}: {exc.strerror}') from exc
    except UnicodeDecodeError as exc:
        path = _first_binary([*argv, *(files or cfg.find_config_files(PROJECT))])
        raise errors.ConfigurationError(reason=f'{path}: not UTF-8: {exc}') from exc
    check(conf)
    return conf


def set_up_logging(conf: cfg.ConfigOpts) -> None:
    """Log as *conf* says, from now on; callable again, for another file or after a rotation."""
    log.setup(conf, PROJECT)
    # Lines about each connection and each attempt are noise to an operator; what failed in the
    # end is logged where it matters.
    for name, level in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(level)


def register_driver(conf: cfg.ConfigOpts, group: str,
                    options: list[cfg.Opt]) -> cfg.ConfigOpts.GroupAttr:
    """Register a driver's *options* and return its section, each value checked.

    :raises ConfigurationError: a value is not allowed, see load.
    """
    conf.register_opts(options, group=group)
    _check_group(conf, group)
    return conf[group]


def check(conf: cfg.ConfigOpts) -> None:
    """Read every registered option once, so that a wrong value is found at the start."""
    _check_group(conf, None)
    for group in [*filter(None, GROUPS), 'database']:
        _check_group(conf, group)


def _check_group(conf, group):
    options = conf[group] if group else conf
    for name in options:
        try:
            options[name]
        except (cfg.Error, ValueError) as exc:
            raise errors.ConfigurationError(
                reason=_explain(conf, exc, group=group, name=name)) from exc


def _explain(conf, exc, *, group, name):
    """Return one line: file, section and option, what is wrong with the value, what is allowed."""
    told = ' '.join(str(exc).split())
    file = re.search("detail='([^']*)'", told)
    reason = told.rpartition('is not valid: ')[2]
    allowed = next((text for hint, text in ALLOWED.items() if hint in reason), '')
    return f'{file[1] if file else _sources(conf)}: [{group or "DEFAULT"}]{name}: {reason}{allowed}'


def _first_binary(words):
    """Return the first path among *words* whose file is not text."""
    for path in filter(os.path.isfile, (word.rpartition('=')[2] for word in words)):
        try:
            pathlib.Path(path).read_text(encoding='utf-8')
        except UnicodeDecodeError:
            return path
    return 'configuration'


def _sources(conf):
    try:
        return ', '.join(conf.config_file or []) or 'configuration'
    except cfg.Error:
        return 'configuration'


def run(main, failure: int = 1) -> None:
    """Run *main* and end the process: a ServiceError is one line on stderr.

    :param failure: the exit status then, and of any other error.
    """
    try:
        sys.exit(main())
    except (errors.ServiceError, cfg.Error) as exc:
        print(f'{os.path.basename(sys.argv[0])}: {" ".join(str(exc).split())}', file=sys.stderr)
        sys.exit(failure)
    # The status of an error nobody foresaw is 1 in Python, which may have a meaning here.
    except Exception:
        traceback.print_exc()
        sys.exit(failure)
