"""The configuration: loads it, registers options of drivers, and explains errors.

The options that all processes share are in cloudkitty.conf.options.
"""

import logging
import os
import pathlib
import re
import sys
import traceback

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log

from cloudkitty import errors, version
from cloudkitty.conf.options import (
    BODY_SIZE_MAX,
    CORS_DEFAULTS,
    DEFAULT_CONNECTION,
    GROUPS,
)
from cloudkitty.core import bounds

PROJECT = 'cloudkitty'
# Messages of oslo.config for wrong values, and the allowed values that they lack.
ALLOWED = {
    'invalid literal for int': '; allowed: a whole number',
    'could not convert string to float': '; allowed: a number',
    'Unexpected boolean value': '; allowed: true or false',
}
# Lowest level at which the log lines of a library are useful to operators.
LIBRARY_LEVELS = {
    'urllib3': logging.ERROR,
    'urllib3.connectionpool': logging.ERROR,
    'keystoneauth': logging.ERROR,
    # They log a line for each of their parts on import.
    'alembic.runtime.plugins': logging.WARNING,
    'oslo_service.backend': logging.WARNING,
    # rpc.py logs one line for what these log at each attempt.
    'oslo.messaging': logging.CRITICAL,
    'oslo_messaging': logging.CRITICAL,
    'amqp': logging.CRITICAL,
    'kombu': logging.CRITICAL,
}


def register(conf: cfg.ConfigOpts) -> None:
    """Register the shared options, those of the libraries included, on *conf*."""
    for group, options in GROUPS.items():
        conf.register_opts(options, group=group)
    log.register_options(conf)
    _set_database_defaults()
    conf.register_opts(db_options.database_opts, group='database')


def _set_database_defaults() -> None:
    cfg.set_defaults(db_options.database_opts, connection=DEFAULT_CONNECTION)


def set_library_defaults() -> None:
    """Give the libraries this service's defaults: for the API, and the sample generator."""
    # Daemons that serve no HTTP do without its 7 MiB.
    from oslo_middleware import cors, sizelimit

    _set_database_defaults()
    cfg.set_defaults(sizelimit.OPTS, max_request_body_size=BODY_SIZE_MAX)
    cors.set_defaults(**CORS_DEFAULTS)


def load(
    argv: list[str], *, files: list[str] | None = None, conf: cfg.ConfigOpts = cfg.CONF
) -> cfg.ConfigOpts:
    """Return *conf* as read() does, and set up logging."""
    read(argv, files=files, conf=conf)
    set_up_logging(conf)
    return conf


def read(
    argv: list[str], *, files: list[str] | None = None, conf: cfg.ConfigOpts
) -> cfg.ConfigOpts:
    """Return *conf* with files and arguments read.

    :param argv: command line without the program's name.
    :param files: configuration files instead of those on the search path.
    :raises ConfigurationError: a file cannot be read or a value is not allowed; the text names
        file, option and what is allowed.
    """
    register(conf)
    try:
        conf(
            argv,
            project=PROJECT,
            version=f'%(prog)s {version.version_string()}',
            default_config_files=files,
            validate_default_values=True,
        )
    except cfg.Error as exc:
        raise errors.ConfigurationError(reason=' '.join(str(exc).split())) from exc
    except OSError as exc:
        raise errors.ConfigurationError(reason=f'{exc.filename}: {exc.strerror}') from exc
    except UnicodeDecodeError as exc:
        path = _first_binary([*argv, *(files or cfg.find_config_files(PROJECT))])
        raise errors.ConfigurationError(reason=f'{path}: not UTF-8: {exc}') from exc
    check(conf)
    return conf


def is_progress(record: logging.LogRecord) -> bool:
    """Return whether a record of alembic tells which revision it runs; the others tell nothing."""
    return record.levelno > logging.INFO or str(record.msg).startswith('Running ')


def quote_message(record: logging.LogRecord) -> bool:
    """Escape what is unseen in *record*, because tenants choose the names of servers and scripts.

    Every log record passes here, so no other code needs to quote.
    """
    try:
        text = record.getMessage()
    except Exception:  # The handler reports the error, as it would without this filter.
        return True
    quoted = bounds.quote_unseen(text)
    if quoted != text:
        record.msg, record.args = quoted, ()
    return True


def set_up_logging(conf: cfg.ConfigOpts) -> None:
    """Configure logging from *conf*; may be called again, for another file or after a rotation."""
    log.setup(conf, PROJECT)
    for handler in logging.getLogger().handlers:
        handler.addFilter(quote_message)
    # Lines about each connection and each attempt are noise to operators; the final failure is
    # logged by the caller.
    for name, level in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger('alembic.runtime.migration').addFilter(is_progress)


def register_driver(
    conf: cfg.ConfigOpts, group: str, options: list[cfg.Opt]
) -> cfg.ConfigOpts.GroupAttr:
    """Register a driver's *options* and return its section, each value checked.

    :raises ConfigurationError: a value is not allowed, see load.
    """
    conf.register_opts(options, group=group)
    _check_group(conf, group)
    return conf[group]


def check(conf: cfg.ConfigOpts) -> None:
    """Read every registered option once, so that wrong values are found at the start."""
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
                reason=_explain(conf, exc, group=group, name=name)
            ) from exc


def _explain(conf, exc, *, group, name):
    """Return one line with file, section, option, the error and the allowed values."""
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


def explain_error(exc: Exception, conf: cfg.ConfigOpts = cfg.CONF) -> str:
    """Return *exc* in one line; what the operator must change with the files that were read."""
    text = ' '.join(str(exc).split())
    if not isinstance(exc, errors.ConfigurationError):
        return text
    try:
        files = [*(conf.config_file or []), *(conf.config_dir or [])]
    except cfg.Error:
        return text
    if any(path in text for path in files):
        return text
    return f'{text} (configuration: {", ".join(files) or "no file was found"})'


def run(main, failure: int = 1) -> None:
    """Run *main* and end the process: a ServiceError is one line on stderr.

    :param failure: exit status for these and all other errors.
    """
    try:
        sys.exit(main())
    except (errors.ServiceError, cfg.Error) as exc:
        print(f'{os.path.basename(sys.argv[0])}: {explain_error(exc)}', file=sys.stderr)
        sys.exit(failure)
    # Python's exit status for an uncaught error is 1, which may have another meaning here.
    except Exception:
        traceback.print_exc()
        sys.exit(failure)
