"""`/v1/info`: the metrics in the metric definition file."""

import logging
from collections.abc import Mapping
from datetime import date
from typing import Any

import pecan
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import rest, types
from cloudkitty.collector import metrics_file
from cloudkitty.core import metrics

LOG = logging.getLogger(__name__)

INTEGER_MAX = 2**63  # range of integers that every JSON parser supports


class Metric(wtypes.Base):
    """A metric that is rated."""

    metric_id = wtypes.wsattr(str)
    metadata = wtypes.wsattr([str])
    unit = wtypes.wsattr(str)


class MetricCollection(wtypes.Base):
    metrics = [Metric]


def _read_file():
    """Return the content of the metric definition file.

    :raises NotFound: it cannot be read. Its path is only logged.
    """
    try:
        content = metrics_file.load(pecan.request.services.conf.collect.metrics_conf)
    except errors.MetricsFileError as exc:
        LOG.error('The metric definitions cannot be shown: %s', exc)
        raise _unreadable() from exc
    if not isinstance(content, Mapping):
        LOG.error('The metric definitions cannot be shown: the file is not a YAML mapping.')
        raise _unreadable()
    return content


def _unreadable():
    return errors.NotFound(reason='The metric definitions cannot be read.')


def _read_metrics():
    """Return the metrics in the order of the file.

    Parameters of the collector are not validated: it need not be installed here.

    :raises NoMetrics: the file defines none, or is wrong.
    """
    scope_key = pecan.request.services.conf.collect.scope_key
    try:
        return list(metrics.parse(_read_file(), scope_key=scope_key).values())
    except errors.InvalidInput as exc:
        LOG.error('The metric definitions cannot be shown: %s', exc)
        raise errors.NoMetrics() from exc


def _model(metric):
    return Metric(metric_id=metric.published_name, metadata=list(metric.metadata), unit=metric.unit)


class MetricsController(rest.Controller):
    """`/v1/info/metrics`, and under its old name `/v1/info/services`."""

    @rest.expose(MetricCollection, rule='info:list_metrics_info')
    def get_all(self):
        return MetricCollection(metrics=[_model(metric) for metric in _read_metrics()])

    @rest.expose(Metric, str, rule='info:get_metric_info')
    def get_one(self, metric_name):
        for metric in _read_metrics():
            if metric.published_name == metric_name:
                return _model(metric)
        raise errors.NotFound(reason=metric_name)


class ConfigController(rest.Controller):
    """`/v1/info/config`."""

    @rest.expose(types.json_object, rule='info:get_config')
    def get_all(self):
        return to_json(_read_file())


def to_json(content: Any) -> Any:
    """Convert YAML values to JSON values: dates and keys of other types become text."""
    if isinstance(content, Mapping):
        return {_key(key): to_json(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, set)):
        return [to_json(value) for value in content]
    if isinstance(content, date):  # and datetime, which is one
        return content.isoformat()
    if isinstance(content, bytes):
        return content.decode('utf-8', 'backslashreplace')
    if isinstance(content, int) and not -INTEGER_MAX <= content < INTEGER_MAX:
        return str(content)
    return content


def _key(key):
    if isinstance(key, bool) or key is None:
        return {True: 'true', False: 'false', None: 'null'}[key]
    return str(to_json(key))


class InfoController(rest.Controller):
    """`/v1/info`."""

    metrics = MetricsController()
    services = MetricsController()
    config = ConfigController()
