"""Warnings of the processor and the API at start."""

import contextlib
import itertools
import logging

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.db import migration
from cloudkitty.doctor import Severity, options, prices, sources
from cloudkitty.doctor.site import Site

LOG = logging.getLogger(__name__)

WARNINGS_MAX = 10


def warn(conf: cfg.ConfigOpts) -> None:
    """Log a warning for each option without effect and each rule that cannot be intended."""
    options.warn(conf)
    warn_of_prices(conf)


def warn_of_prices(conf: cfg.ConfigOpts) -> None:
    """Log problems of the rules; errors of configuration and database are reported elsewhere."""
    with contextlib.suppress(errors.ServiceError):
        site = Site(conf)
        try:
            migration.check(site.database)
            for one in itertools.islice(prices.check_rules(site), WARNINGS_MAX):
                LOG.warning('%s; %s', one.what, one.remedy)
        finally:
            # Connections must not be shared across a fork.
            site.database.close()


def warn_of_definitions(conf: cfg.ConfigOpts) -> None:
    """Log why the processor will refuse the metric definitions, which the API shows nevertheless.

    Nothing is logged where this host has no such file, or lacks the package of a collector.
    """
    with contextlib.suppress(errors.ServiceError):
        refused = (
            one.what
            for one in sources.check_definitions(Site(conf))
            if one.severity is Severity.ERROR
        )
        for what in itertools.islice(refused, WARNINGS_MAX):
            LOG.warning('cloudkitty-processor refuses the metric definitions: %s', what)
