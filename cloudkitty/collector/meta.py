"""Several collectors at once: each metric is collected by the one that serves it."""

import logging
import threading
from collections.abc import Callable

from oslo_config import cfg

from cloudkitty import collector, db, errors, plugins
from cloudkitty import conf as configuration
from cloudkitty.collector import preferences, routing

LOG = logging.getLogger(__name__)


class MetaCollector(collector.BaseCollector):
    """Delegates to several collectors.

    A metric is collected by the collector that its definition names. If it names none, those that
    accept it are tried until one answers: first the one that v1 of the API maps its published name
    to, then the others in the configured order. An empty answer is an answer; only an error leads
    to the next collector. A collector that is switched off over the API is not used.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector and fetcher: meta".
    """

    collector_name = 'meta'
    GROUP = 'collector_meta'
    OPTS = [
        cfg.ListOpt(
            'collectors',
            default=[],
            help='Collectors to query, in this order: names of drivers, or of sections '
            '[collector_NAME] with the option driver.',
        )
    ]

    def __init__(self, **arguments):
        super().__init__(**arguments)
        me = plugins.Instance(self.collector_name, type(self), self.group)
        members = self.members(self.service_conf, me)
        self._assigned = routing.assign(arguments['conf'], members, self.scope_key)
        self.conf = {key: assigned.metric for key, assigned in self._assigned.items()}
        self._drivers = {
            member.name: self._build(member) for member in members if self._definitions_of(member)
        }
        self.is_authoritative = all(
            collector.is_authoritative(driver) for driver in self._drivers.values()
        )
        for member in members:
            if member.name not in self._drivers:
                LOG.warning('Collector %s serves none of the metrics', member.name)
        self._failovers = _FailoverLog()
        self._preferences = preferences.Preferences({}, frozenset())
        self._unreachable: set[str] = set()
        # Opened on first use in the collecting process, never before a fork.
        self._database: db.Database | None = None

    @classmethod
    def members(cls, service_conf, instance):
        group = instance.group or cls.GROUP
        options = configuration.register_driver(service_conf, group, cls.OPTS)
        found = plugins.find_all(
            service_conf,
            options.collectors,
            namespace=collector.NAMESPACE,
            family=collector.FAMILY,
            group=group,
            option='collectors',
        )
        nested = [member.name for member in found if issubclass(member.driver, MetaCollector)]
        if nested:
            raise errors.ConfigurationError(
                reason=f'[{group}]collectors: {nested[0]!r} has several collectors itself'
            )
        return found

    def _build(self, member):
        return collector.build(self.service_conf, member, {'metrics': self._definitions_of(member)})

    def _definitions_of(self, member):
        found = {}
        for assigned in self._assigned.values():
            if member.name in assigned.collectors:
                found.setdefault(assigned.metric.name, []).append(assigned.raw)
        return found

    def refresh(self):
        self._unreachable.clear()
        if self._database is None:
            self._database = db.Database(self.service_conf)
        with self._database.reader() as connection:
            self._preferences = preferences.get_preferences(connection)
        for driver in self._drivers.values():
            driver.refresh()

    def source_times(self):
        return [now for driver in self._drivers.values() for now in driver.source_times()]

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        return self._ask(
            metric_name,
            lambda driver: driver.fetch_all(metric_name, start, end, scope_id, q_filter),
        )

    def collect(self, metric_name, periods, scope_ids):
        # The answer of one collector is used whole, never mixed with that of another.
        return iter(
            self._ask(
                metric_name, lambda driver: list(driver.collect(metric_name, periods, scope_ids))
            )
        )

    def collect_columns(self, metric_name, periods, scope_ids):
        return iter(
            self._ask(
                metric_name,
                lambda driver: collector.collect_columns(driver, metric_name, periods, scope_ids),
            )
        )

    def newest(self, metric_names, *, since, now):
        return self._ask_together(
            metric_names, lambda driver, names: driver.newest(names, since=since, now=now)
        )

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        return self._ask_together(
            metric_names,
            lambda driver, names: driver.coverage(
                names, periods, known=known, now=now, scope_ids=scope_ids
            ),
        )

    def _ask_together(self, metric_names, query: Callable):
        """Return the answers by metric, with one query for all that have the same collectors."""
        by_collectors: dict[tuple, list[str]] = {}
        for name in metric_names:
            by_collectors.setdefault(tuple(self._order(name)), []).append(name)
        found = {}
        for names in by_collectors.values():
            found.update(self._ask(names[0], lambda driver, names=names: query(driver, names)))
        return found

    def samples(self, metric_name, period, scope_id):
        return self._ask(metric_name, lambda driver: driver.samples(metric_name, period, scope_id))

    def survey(self, metric_name, period, scope_id):
        return self._ask(metric_name, lambda driver: driver.survey(metric_name, period, scope_id))

    def _ask(self, metric_name, query: Callable):
        failures: dict[str, Exception] = {}
        for name in self._order(metric_name):
            try:
                found = query(self._drivers[name])
            except errors.NoDataCollected:
                self._failovers.record(metric_name, failures, name)
                raise
            # A third-party driver may raise anything.
            except Exception as exc:
                failures[name] = exc
                if isinstance(exc, errors.SourceUnreachable):
                    self._unreachable.add(name)
                continue
            self._failovers.record(metric_name, failures, name)
            return found
        raise self._failure(metric_name, failures)

    def _order(self, metric_name):
        """Return the names of the collectors to try, in order."""
        first = self._preferences.collectors.get(self.conf[metric_name].published_name)
        found = [
            name
            for name in self._assigned[metric_name].collectors
            if name not in self._preferences.switched_off
        ]
        # One that timed out in this batch would cost another timeout.
        return sorted(found, key=lambda name: (name in self._unreachable, name != first))

    def _failure(self, metric_name, failures):
        if not failures:
            names = ', '.join(self._assigned[metric_name].collectors)
            return errors.SourceUnreachable(
                collector=self.collector_name,
                reason=f'no collector of metric {metric_name} is switched on: {names}',
            )
        # The unreachable source could have answered, so the query itself is not at fault.
        is_unreachable = any(isinstance(exc, errors.SourceUnreachable) for exc in failures.values())
        kind = errors.SourceUnreachable if is_unreachable else errors.CollectError
        if len(failures) == 1:
            ((name, exc),) = failures.items()
            return kind(collector=name, reason=_reason(exc))
        return kind(
            collector=self.collector_name,
            reason='; '.join(f'{name}: {_reason(exc)}' for name, exc in failures.items()),
        )


class _FailoverLog:
    """Failures while another collector answered: one log line at the begin, one at the end."""

    def __init__(self):
        self._lock = threading.Lock()
        self._known: set[tuple[str, ...]] = set()

    def record(self, metric_name: str, failures: dict[str, Exception], answered: str) -> None:
        """Record for one metric which collectors failed, and which one answered."""
        with self._lock:
            for name, exc in failures.items():
                # An unreachable source is unreachable for every metric.
                is_unreachable = isinstance(exc, errors.SourceUnreachable)
                what: tuple[str, ...] = (name,) if is_unreachable else (name, metric_name)
                if what not in self._known:
                    self._known.add(what)
                    LOG.warning(
                        'Collector %s failed, %s is used instead: %s',
                        ', metric '.join(what),
                        answered,
                        _reason(exc),
                    )
            for what in {(answered,), (answered, metric_name)} & self._known:
                self._known.remove(what)
                LOG.info('Collector %s works again', ', metric '.join(what))


def _reason(exc):
    return exc.facts['reason'] if isinstance(exc, errors.CollectError) else errors.describe(exc)
