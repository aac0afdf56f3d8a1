"""Collectors ask a source what scopes used. Contract of the driver family."""

import abc
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import dataframe, errors, metrics, plugins
from cloudkitty.collector import assignment, definitions
from cloudkitty.dataframe import DataPoint
from cloudkitty.timeframe import Period

NAMESPACE = 'cloudkitty.collector.backends'
FAMILY = 'collector'


class BaseCollector(abc.ABC):
    """A driver that collects usage.

    :cvar collector_name: name of the entry point; also stored with each scope.
    :cvar GROUP: section of the driver's options, unless the driver is made with another.
    :cvar OPTS: the driver's options; self.options reads them.
    :ivar group: section that this driver's options are in.
    :ivar conf: metric definitions by internal key, see metrics.Metric.
    :ivar period: length of a period, seconds.
    """

    collector_name: str = ''
    GROUP: str = ''
    OPTS: list[cfg.Opt] = []

    def __init__(self, *, period: int | None = None, conf: Mapping | None = None,
                 service_conf: cfg.ConfigOpts = cfg.CONF, group: str | None = None):
        """Check *conf* and keep it.

        :param conf: the parsed metric definition file.
        :raises ValueError: *period* or *conf* is missing.
        :raises InvalidInput: *conf* is wrong; the text names the metric and the key.
        """
        if period is None or conf is None:
            raise ValueError('a collector needs period and conf')
        self.period = period
        self.service_conf = service_conf
        self.group = group or self.GROUP
        if self.group:
            self.options = configuration.register_driver(service_conf, self.group, self.OPTS)
        self.scope_key = service_conf.collect.scope_key
        self.conf = self.check_configuration(conf, self.scope_key)

    @classmethod
    def check_configuration(cls, conf: Mapping, scope_key: str) -> dict[str, metrics.Metric]:
        """Return the definitions in *conf* by internal key, ready for use; no I/O.

        :param scope_key: attribute that names the scope; appended to each groupby.
        :raises InvalidInput: something is wrong; the text names the metric and the key.
        """
        return metrics.parse(conf, scope_key=scope_key, check_extra_args=cls.check_extra_args)

    @classmethod
    def check_extra_args(cls, extra_args: Mapping) -> dataframe.FrozenDict:
        """Return the parameters of this collector in a definition, with defaults.

        :raises InvalidInput: a key is unknown or a value not allowed.
        """
        return metrics.mapping(extra_args)

    @classmethod
    def members(cls, service_conf: cfg.ConfigOpts, instance: plugins.Instance,
                ) -> list[plugins.Instance]:
        """Return the collectors that answer for *instance* of this driver: itself, or several.

        :raises ConfigurationError: they are configured wrongly.
        """
        return [instance]

    def refresh(self) -> None:
        """Look whether something outside was changed; called before each batch.

        :raises Exception: that could not be found out; nothing is collected then.
        """

    @abc.abstractmethod
    def fetch_all(self, metric_name: str, start: datetime, end: datetime, scope_id: str,
                  q_filter=None) -> list[DataPoint]:
        """Return the points of one metric, one scope, one period; possibly none.

        :param metric_name: internal key, see metrics.Metric.key.
        :param start, end: the period, aware UTC.
        :raises CollectError: the source failed; no points never stand for a failure.
        """

    def retrieve(self, metric_name: str, start: datetime, end: datetime,
                 scope_id: str | None = None, q_filter=None) -> tuple[str, list[DataPoint]]:
        """Return the published name of the metric and its points.

        :raises NoDataCollected: there are none.
        """
        published = self.conf[metric_name].published_name
        points = self.fetch_all(metric_name, start, end, scope_id, q_filter)
        if not points:
            raise errors.NoDataCollected(collector=self.collector_name, resource=published)
        return published, points

    def collect(self, metric_name: str, periods: Sequence[Period], scope_ids: Sequence[str],
                ) -> Iterator[tuple[str, Period, list[DataPoint]]]:
        """Yield (scope id, period, points) wherever there are points.

        Override it where the source can answer for many scopes and periods at once; this one
        asks for each.

        :param periods: consecutive periods, oldest first.
        :raises CollectError: the source failed for any of them.
        """
        for scope_id in scope_ids:
            for period in periods:
                points = self.fetch_all(metric_name, period.begin, period.end, scope_id)
                if points:
                    yield scope_id, period, points

    def newest(self, metric_names: Sequence[str], *, since: datetime,
               now: datetime) -> Mapping[str, datetime | None]:
        """Return up to when the source has data of each metric, of whatever scope.

        Periods that end later wait for it, see [collect]lag_max. It is asked about once a period by
        each worker, so it must cost little, and no more for many scopes than for few. Override it
        where the source can tell; a metric that is left out is never waited for.

        :param metric_names: internal keys, see metrics.Metric.key.
        :param since: how far back to look, aware UTC.
        :param now: no later than this, aware UTC.
        :returns: by internal key, aware UTC: the time of the newest measure, or the end of the span
            it stands for; None: there is none at or after *since*.
        :raises CollectError: the source failed.
        """
        return {}


def get_definitions(conf: cfg.ConfigOpts) -> dict[str, metrics.Metric]:
    """Return the metric definitions by internal key, as the collector sees them.

    For those who do not collect: neither the driver's options nor its source are looked at.

    :raises ConfigurationError: no such driver, or the metric definitions are wrong.
    """
    members = get_members(conf)
    with _definition_errors(conf.collect.metrics_conf):
        found = assignment.assign(definitions.load(conf.collect.metrics_conf), members,
                                  conf.collect.scope_key)
    return {key: assigned.metric for key, assigned in found.items()}


def get_members(conf: cfg.ConfigOpts) -> list[plugins.Instance]:
    """Return the collectors among which metrics can choose; one, unless there are several at once.

    :raises ConfigurationError: no such driver, or they are configured wrongly.
    """
    instance = _instance(conf)
    return instance.driver.members(conf, instance)


def get_driver(conf: cfg.ConfigOpts) -> BaseCollector:
    """Return the collector that [collect]collector names, with the definitions of metrics_conf.

    :raises ConfigurationError: no such driver, its options or the metric definitions are wrong.
    """
    instance = _instance(conf)
    members = instance.driver.members(conf, instance)
    with _definition_errors(conf.collect.metrics_conf):
        content = definitions.load(conf.collect.metrics_conf)
        assignment.assign(content, members, conf.collect.scope_key)
        return build(conf, instance, content)


def build(conf: cfg.ConfigOpts, instance: plugins.Instance, content: Mapping) -> BaseCollector:
    """Return the collector of *instance* with the definitions of *content*.

    :raises ConfigurationError: its options are wrong.
    :raises InvalidInput: the definitions are.
    """
    # Drivers of other packages may know no group.
    section = {} if instance.group is None else {'group': instance.group}
    driver = instance.driver(period=conf.collect.period, service_conf=conf, conf=content,
                             **section)
    # Its errors name the instance.
    driver.collector_name = instance.name
    return driver


def _instance(conf):
    return plugins.find(conf, conf.collect.collector, namespace=NAMESPACE, family=FAMILY,
                        group='collect', option='collector')


@contextlib.contextmanager
def _definition_errors(path):
    try:
        yield
    except errors.InvalidInput as exc:
        raise errors.MetricsFileError(path=path, reason=exc) from exc
