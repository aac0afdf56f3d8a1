"""Collectors query a source for the usage of scopes. Contract of the driver family."""

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors, plugins
from cloudkitty.collector import metrics_file, routing, survey
from cloudkitty.core import dataframe, metrics
from cloudkitty.core.columns import Column, Unusable, columns_of
from cloudkitty.core.coverage import Coverage, Gap
from cloudkitty.core.dataframe import DataPoint
from cloudkitty.core.timeframe import Period

NAMESPACE = 'cloudkitty.collector.backends'
FAMILY = 'collector'


class BaseCollector(abc.ABC):
    """A driver that collects usage.

    :cvar collector_name: name of the entry point; also stored with each scope.
    :cvar GROUP: section of the driver's options, unless an instance has another.
    :cvar OPTS: the driver's options; self.options reads them.
    :cvar is_authoritative: the source keeps all usage for as long as periods may be rated again,
        so an empty answer means no usage, and rating again removes stored points.
    :cvar collect_columns: columnar variant of collect(); None: collect() is called, as it is if a
        subclass overrides collect() but not collect_columns. It takes the arguments of collect()
        and yields pairs of a scope id and a columns.Column without prices, whose offsets are
        indexes of *periods*; or a columns.Unusable for values that had to be left out, so that
        these periods are noted.
    :ivar group: section that this driver's options are in.
    :ivar conf: metric definitions by internal key, see metrics.Metric.
    :ivar period: length of a period, seconds.
    """

    collector_name: str = ''
    GROUP: str = ''
    OPTS: list[cfg.Opt] = []
    is_authoritative: bool = False
    collect_columns: Callable[..., Iterator[tuple[str, Column | Unusable]]] | None = None

    def __init__(
        self,
        *,
        period: int | None = None,
        conf: Mapping[str, Any] | None = None,
        service_conf: cfg.ConfigOpts = cfg.CONF,
        group: str | None = None,
    ) -> None:
        """Validate *conf* and store it.

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
    def check_configuration(
        cls, conf: Mapping[str, Any], scope_key: str
    ) -> dict[str, metrics.Metric]:
        """Return the definitions in *conf* by internal key, ready for use; no I/O.

        :param scope_key: attribute that names the scope; appended to each groupby.
        :raises InvalidInput: something is wrong; the text names the metric and the key.
        """
        return metrics.parse(conf, scope_key=scope_key, check_extra_args=cls.check_extra_args)

    @classmethod
    def check_extra_args(cls, extra_args: Mapping[str, Any]) -> dataframe.FrozenDict[str, Any]:
        """Return the parameters of this collector in a definition, with defaults.

        :raises InvalidInput: a key is unknown or a value not allowed.
        """
        return metrics.mapping(extra_args)

    @classmethod
    def definition_warnings(cls, metric: metrics.Metric) -> Iterator[tuple[metrics.Path, str]]:
        """Yield (path in the definition, text) of warnings about a valid definition."""
        return iter(())

    @classmethod
    def members(
        cls,
        service_conf: cfg.ConfigOpts,
        instance: plugins.Instance,
    ) -> list[plugins.Instance]:
        """Return the collectors that *instance* of this driver stands for: itself, or several.

        :raises ConfigurationError: they are configured wrongly.
        """
        return [instance]

    def source_times(self) -> Iterable[datetime]:
        """Return the current time, aware UTC, of each source with a recent answer."""
        return ()

    def refresh(self) -> None:
        """Reload external state; called before each batch.

        :raises Exception: the state cannot be read; nothing is collected then.
        """

    @abc.abstractmethod
    def fetch_all(
        self,
        metric_name: str,
        start: datetime,
        end: datetime,
        scope_id: str | None,
        q_filter: Any = None,
    ) -> list[DataPoint]:
        """Return the points of one metric, scope and period; possibly none.

        :param metric_name: internal key, see metrics.Metric.key.
        :param start, end: the period, aware UTC.
        :param scope_id: None: retrieve() was called without a scope, which the service never does.
        :raises CollectError: the source failed; an empty result never stands for a failure.
        """

    def retrieve(
        self,
        metric_name: str,
        start: datetime,
        end: datetime,
        scope_id: str | None = None,
        q_filter: Any = None,
    ) -> tuple[str, list[DataPoint]]:
        """Return the published name of the metric and its points.

        :raises NoDataCollected: there are none.
        """
        published = self.conf[metric_name].published_name
        points = self.fetch_all(metric_name, start, end, scope_id, q_filter)
        if not points:
            raise errors.NoDataCollected(collector=self.collector_name, resource=published)
        return published, points

    def collect(
        self,
        metric_name: str,
        periods: Sequence[Period],
        scope_ids: Sequence[str],
    ) -> Iterator[tuple[str, Period, list[DataPoint]]]:
        """Yield (scope id, period, points) wherever there are points.

        Override it if the source can answer for many scopes and periods at once; by default there
        is one query for each.

        :param periods: consecutive periods, oldest first.
        :raises CollectError: the source failed for any of them.
        """
        for scope_id in scope_ids:
            for period in periods:
                points = self.fetch_all(metric_name, period.begin, period.end, scope_id)
                if points:
                    yield scope_id, period, points

    def newest(
        self, metric_names: Sequence[str], *, since: datetime, now: datetime
    ) -> Mapping[str, datetime | None]:
        """Return the watermark of each metric: up to when the source has data, of any scope.

        Periods that end later wait for the metric, see [collect]lag_max. Each worker calls this
        about once a period, so it must be cheap, also for many scopes. Override it if the source
        can tell; periods never wait for a metric that is left out.

        :param metric_names: internal keys, see metrics.Metric.key.
        :param since: how far back to search, aware UTC.
        :param now: latest time to return, aware UTC.
        :returns: by internal key, aware UTC: the time of the newest measure, or the end of the span
            it stands for; None: there is none at or after *since*.
        :raises CollectError: the source failed.
        """
        return {}

    def coverage(
        self,
        metric_names: Sequence[str],
        periods: Sequence[Period],
        *,
        known: Mapping[str, Gap],
        now: datetime,
        scope_ids: Sequence[str] = (),
    ) -> Mapping[str, Coverage]:
        """Return the gaps of each metric: times without samples of any scope in the source.

        Periods with a hole wait for [collect]lag_max and are then noted. Workers call this once for
        each range of periods, before collect(). Override it if the source can tell; the coverage
        of metrics that are left out is unknown.

        :param metric_names: internal keys, see metrics.Metric.key.
        :param periods: consecutive periods, oldest first.
        :param known: gaps that were found before and may still go on, by internal key.
        :param now: the current time, aware UTC.
        :param scope_ids: scopes that are rated; where some of them have all samples, there is no
            gap, and others need not be examined.
        :returns: by internal key; gaps may begin before and end after *periods*.
        :raises CollectError: the source failed.
        """
        return {}

    def clock(self) -> datetime | None:
        """Return the time of the source, aware UTC; None: this driver does not support that.

        :raises CollectError: the source failed.
        """
        return None

    def samples(
        self, metric_name: str, period: Period, scope_id: str
    ) -> list[tuple[Mapping[str, str], list[tuple[float, str]]]] | None:
        """Return the raw samples of a period; None: this driver does not support that.

        :returns: labels and samples, (unix time, value), of each series; oldest first.
        :raises CollectError: the source failed.
        """
        return None

    def survey(self, metric_name: str, period: Period, scope_id: str) -> survey.Survey | None:
        """Return facts about a metric in the source; None: this driver does not support that.

        For people who write definitions; it may be expensive.

        :param metric_name: internal key, see metrics.Metric.key.
        :raises CollectError: the source failed.
        """
        return None


def is_authoritative(driver: BaseCollector) -> bool:
    """Return whether an empty answer of *driver* means that nothing was used.

    Drivers of other packages may lack the attribute.
    """
    return bool(getattr(driver, 'is_authoritative', False))


def collect_columns(
    driver: BaseCollector, metric_name: str, periods: Sequence[Period], scope_ids: Sequence[str]
) -> list[tuple[str, Column | Unusable]]:
    """Return the usage that *driver* collects, in columns; see BaseCollector.collect_columns.

    :raises CollectError: the source failed, or the driver returned usage that was not requested.
    """
    is_current = plugins.is_current(type(driver), 'collect_columns', 'collect')
    shortcut = driver.collect_columns if is_current else None
    if shortcut is not None:
        return list(shortcut(metric_name, periods, scope_ids))
    return list(
        columns_of(
            driver.conf[metric_name].published_name,
            _requested(driver, driver.collect(metric_name, periods, scope_ids), periods, scope_ids),
            periods,
        )
    )


def _requested(
    driver: BaseCollector,
    found: Iterable[tuple[str, Period, list[DataPoint]]],
    periods: Sequence[Period],
    scope_ids: Sequence[str],
) -> Iterator[tuple[str, Period, list[DataPoint]]]:
    known_scopes, known_periods = set(scope_ids), set(periods)
    for scope_id, period, points in found:
        if scope_id not in known_scopes or period not in known_periods:
            raise errors.CollectError(
                collector=driver.collector_name,
                reason=f'returned usage of {scope_id!r} at {period}, which was not requested',
            )
        yield scope_id, period, points


def get_members(conf: cfg.ConfigOpts) -> list[plugins.Instance]:
    """Return the configured collectors that metrics can choose from; mostly one.

    :raises ConfigurationError: no such driver, or they are configured wrongly.
    """
    instance = _instance(conf)
    driver: type[BaseCollector] = instance.driver
    return driver.members(conf, instance)


def list_unmeasured(conf: cfg.ConfigOpts) -> list[str]:
    """Return the configured collectors that cannot detect gaps in the samples of the source."""
    try:
        members = get_members(conf)
    except errors.ConfigurationError:
        # The API may run on a host without access to the source.
        return [conf.collect.collector]
    own = BaseCollector.coverage
    return [member.name for member in members if getattr(member.driver, 'coverage', own) is own]


def get_driver(conf: cfg.ConfigOpts) -> BaseCollector:
    """Return the collector that [collect]collector names, with the definitions of metrics_conf.

    :raises ConfigurationError: no such driver, its options or the metric definitions are wrong.
    """
    instance = _instance(conf)
    members = instance.driver.members(conf, instance)
    with _definition_errors(conf.collect.metrics_conf):
        content = metrics_file.load(conf.collect.metrics_conf)
        routing.assign(content, members, conf.collect.scope_key)
        return build(conf, instance, content)


def build(
    conf: cfg.ConfigOpts, instance: plugins.Instance, content: Mapping[str, Any]
) -> BaseCollector:
    """Return the collector of *instance* with the definitions of *content*.

    :raises ConfigurationError: its options are wrong.
    :raises InvalidInput: the definitions are.
    """
    # Drivers of other packages may not take the argument *group*.
    section = {} if instance.group is None else {'group': instance.group}
    driver: BaseCollector = instance.driver(
        period=conf.collect.period, service_conf=conf, conf=content, **section
    )
    # So that its errors name the instance.
    driver.collector_name = instance.name
    return driver


def _instance(conf: cfg.ConfigOpts) -> plugins.Instance:
    return plugins.find(
        conf,
        conf.collect.collector,
        namespace=NAMESPACE,
        family=FAMILY,
        group='collect',
        option='collector',
    )


@contextlib.contextmanager
def _definition_errors(path: str) -> Iterator[None]:
    try:
        yield
    except errors.InvalidInput as exc:
        raise errors.MetricsFileError(path=path, reason=exc) from exc
