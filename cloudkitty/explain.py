"""Explains the price of a resource in a period: samples, quantity, rules, price."""

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import collector, errors
from cloudkitty.collector import BaseCollector
from cloudkitty.core import decimals
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.pricing import formula
from cloudkitty.core.timeframe import Period
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage.v2 import BaseStorage

# Most runs of equal values of one series, and most series of one metric, in an explanation.
RUNS_MAX = 1000
SERIES_MAX = 100


class Run(NamedTuple):
    """Samples in a row with the same value; *value* is the source's text."""

    begin: datetime
    end: datetime
    value: str
    samples: int


class Samples(NamedTuple):
    """The samples of one series in the period."""

    labels: Mapping[str, str]
    runs: Sequence[Run]


class Step(NamedTuple):
    """The effect of a rating module.

    :ivar rules: those that match the point.
    :ivar amounts: what they add to the price; empty: the module does not support that.
    :ivar price: after the module; None: it removed the point.
    """

    module: str
    rules: Sequence[str]
    amounts: Sequence[formula.Amount]
    price: Decimal | None


class Priced(NamedTuple):
    """A point that would be stored, or is stored.

    :ivar price: None: a module removed the point.
    :ivar stored: the stored price; None: it was not queried.
    """

    quantity: Decimal
    unit: str
    groupby: Mapping[str, Any]
    steps: Sequence[Step]
    price: Decimal | None
    stored: Decimal | None = None


class Explanation(NamedTuple):
    """The usage of a resource in one metric.

    :ivar name: published name of the metric.
    :ivar source_name: its name in the source.
    :ivar measure: how usage is measured over the period; None: the collector has no measures.
    """

    name: str
    source_name: str
    measure: str | None
    samples: Sequence[Samples]
    points: Sequence[Priced]


def explain(
    driver: BaseCollector, modules: ModuleSet, *, scope_id: str, resource: str, period: Period
) -> Iterator[Explanation]:
    """Yield an explanation for each metric that has usage of this resource.

    :param resource: value of an attribute in groupby, mostly an id.
    :raises CollectError, ModuleLoadError, ModuleFailed: the price cannot be computed.
    """
    usage: dict[str, list[DataPoint]] = {}
    for key, metric in driver.conf.items():
        with contextlib.suppress(errors.NoDataCollected):
            for _, _, points in driver.collect(key, [period], [scope_id]):
                usage.setdefault(metric.published_name, []).extend(points)
    frame = DataFrame(period.begin, period.end, usage)
    steps = list(modules.explain(frame, scope_id))
    for key, metric in driver.conf.items():
        name = metric.published_name
        chosen = [point for point in usage.get(name, ()) if _is_of(point, resource)]
        if chosen:
            yield Explanation(
                name,
                metric.name,
                metric.extra_args.get('measure'),
                _samples(driver.samples(key, period, scope_id), resource),
                [_priced(steps, name, point) for point in chosen],
            )


def explain_stored(
    usage: Sequence[DataFrame],
    modules: ModuleSet,
    *,
    scope_id: str,
    resource: str,
    period: Period,
) -> Iterator[Explanation]:
    """Yield an explanation for each metric of which usage of this resource is stored.

    The source is not queried: the price is computed again from the stored quantities.

    :param usage: the stored usage of the scope in the period.
    :raises ModuleLoadError, ModuleFailed: the price cannot be computed.
    """
    frame = DataFrame(period.begin, period.end)
    chosen: dict[str, list[DataPoint]] = {}
    for stored in usage:
        for name, points in stored.itertypes():
            frame.add_points([point.set_price(decimals.ZERO) for point in points], name)
            found = [point for point in points if _is_of(point, resource)]
            if found:
                chosen.setdefault(name, []).extend(found)
    steps = list(modules.explain(frame, scope_id))
    for name, points in chosen.items():
        priced = [
            _priced(steps, name, point.set_price(decimals.ZERO))._replace(stored=point.price)
            for point in points
        ]
        yield Explanation(name, name, None, [], priced)


class Explainer:
    """Explains prices for a process that does not rate; it opens the source at its first use."""

    def __init__(self, conf: cfg.ConfigOpts, modules: ModuleSet, storage: BaseStorage):
        self._conf = conf
        self._modules = modules
        self._storage = storage
        self._lock = threading.Lock()
        self._driver: BaseCollector | None = None

    def explain(self, scope_id: str, resource: str, begin: datetime) -> list[Explanation]:
        """Return the explanation for the period that begins at *begin*.

        :raises ConfigurationError: the collector cannot be built.
        :raises CollectError, ModuleLoadError, ModuleFailed: see explain().
        """
        period = self._period(begin)
        # One at a time: a driver may keep what it has read for one batch.
        with self._lock:
            if self._driver is None:
                self._driver = collector.get_driver(self._conf)
            self._driver.refresh()
            return list(
                explain(
                    self._driver,
                    self._modules,
                    scope_id=scope_id,
                    resource=resource,
                    period=period,
                )
            )

    def explain_stored(self, scope_id: str, resource: str, begin: datetime) -> list[Explanation]:
        """Return the explanation of the stored usage of the period that begins at *begin*.

        :raises ModuleLoadError, ModuleFailed: see explain_stored().
        """
        period = self._period(begin)
        answer = self._storage.retrieve(
            begin=period.begin,
            end=period.end,
            filters={self._conf.collect.scope_key: [scope_id]},
            paginate=False,
        )
        # One that begins later is none of this period, if lengths have changed.
        usage = [frame for frame in answer['dataframes'] if frame.start == begin]
        # The modules keep what they have loaded, as in explain().
        with self._lock:
            return list(
                explain_stored(
                    usage, self._modules, scope_id=scope_id, resource=resource, period=period
                )
            )

    def _period(self, begin: datetime) -> Period:
        return Period(begin, begin + timedelta(seconds=self._conf.collect.period))


def _is_of(point, resource):
    return resource in map(str, point.series.groupby.values())


def _samples(found, resource) -> list[Samples]:
    """Return the series of the resource, with a run for each value in a row."""
    chosen = ((labels, samples) for labels, samples in found or () if resource in labels.values())
    return [
        Samples(dict(labels), list(itertools.islice(_runs(samples), RUNS_MAX)))
        for labels, samples in itertools.islice(chosen, SERIES_MAX)
    ]


def _runs(samples) -> Iterator[Run]:
    for value, run in itertools.groupby(samples, key=lambda sample: sample[1]):
        instants = [datetime.fromtimestamp(at, UTC) for at, _ in run]
        yield Run(instants[0], instants[-1], str(value), len(instants))


def _priced(steps, name: str, point: DataPoint) -> Priced:
    """Return the price of *point* after each module, in their order."""
    price: Decimal | None = point.price
    told: list[Step] = []
    for module, instance, frame in steps:
        found = next((one for one in frame.usage.get(name, ()) if one.series == point.series), None)
        if found is None:
            told.append(Step(module, [], [], None))
            price = None
            break
        rules = instance.explain(name, found)
        if rules or found.price != price:
            told.append(Step(module, rules, instance.amounts(name, found), found.price))
        price = found.price
    return Priced(point.qty, point.unit, point.series.groupby, told, price)
