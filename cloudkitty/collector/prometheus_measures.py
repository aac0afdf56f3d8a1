"""PromQL for metric definitions with the key `measure`. Pure.

The query first computes one value per resource and instant, then aggregates over the period, so a
series that occurs twice, or continues under other labels, does not add usage. There are two
instants per scrape interval; those in (begin, end] belong to a period, so each belongs to one.
"""

import dataclasses
import math
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction

from cloudkitty import errors
from cloudkitty.clients import prometheus
from cloudkitty.core import metrics
from cloudkitty.core.coverage import GAP
from cloudkitty.core.dataframe import FrozenDict

MEASURES = ('seen', 'share', 'time_weighted', 'mean', 'max', 'increase', 'rate')
COUNTER_MEASURES = ('increase', 'rate')
PLAIN_FUNCTIONS = {
    'seen': 'count_over_time',
    'share': 'count_over_time',
    'time_weighted': 'sum_over_time',
    'mean': 'avg_over_time',
    'max': 'max_over_time',
    'increase': 'sum_over_time',
    'rate': 'sum_over_time',
}
ADDITIVE = ('time_weighted', 'increase', 'rate')
# For these measures each series counts as 1, whatever its value is.
PRESENCES = ('seen', 'share')
SCRAPE_INTERVAL_S = 60
OPERATORS = {'plus': '+', 'minus': '-', 'times': '*', 'divided_by': '/'}
# Aggregation of the series of one resource at one instant.
COMBINATIONS = ('max', 'min', 'avg', 'sum')
# Instants per scrape interval: series that are scraped at different times begin and end between.
INSTANTS = 2
# Two samples this many intervals apart have one lost scrape between them: the resource existed.
BRIDGED = 2
# Series that show the growth of one counter do so at most this many intervals apart, even if a
# scrape was lost or late, and the samples around it are in such a range.
CHANGE_WINDOW = 4


def _names(value):
    """Return the names in *value*: one, or a list of them."""
    return metrics.names([value] if isinstance(value, str) else value)


def _metric(value):
    if not isinstance(value, str) or not prometheus.is_metric(value):
        raise errors.InvalidInput(reason=f'must be the name of a metric, not {value!r:.80}')
    return value


EXTRA_ARGS = {
    'measure': metrics.choice(*MEASURES),
    'resource_key': _names,
    'parts': _names,
    'scrape_interval': metrics.positive_number,
    **dict.fromkeys(OPERATORS, _metric),
}


def check(extra_args: Mapping) -> None:
    """Validate parameters against each other.

    :raises InvalidInput: the text names the key.
    """
    measure = extra_args.get('measure')
    for key in EXTRA_ARGS if measure is None else ():
        if key in extra_args:
            _refuse(key, f'{key} needs the key measure')
    if measure is None:
        return
    if 'range_function' in extra_args:
        _refuse('range_function', 'range_function does not go with measure')
    method = extra_args.get('aggregation_method', 'max')
    if method not in COMBINATIONS:
        _refuse(
            'aggregation_method',
            f'aggregation_method must be one of {", ".join(COMBINATIONS)} with measure, '
            f'not {method!r}',
        )
    operators = [key for key in OPERATORS if key in extra_args]
    if len(operators) > 1:
        _refuse(operators[1], f'{operators[1]} does not go with {operators[0]}')
    if measure in PRESENCES:
        for key in ('parts', 'aggregation_method', *OPERATORS):
            if key in extra_args:
                _refuse(key, f'{key} does not go with measure {measure!r}, which takes no values')


def _refuse(key, text):
    raise errors.InvalidInput(reason=text, parts=[((key,), text)])


def check_metric(metric: metrics.Metric) -> None:
    """Validate the attributes of *metric* against its parameters.

    :raises InvalidInput: the text names the attribute.
    """
    for name in metric.extra_args.get('resource_key', ()):
        if name not in metric.groupby:
            raise errors.InvalidInput(
                reason=f'metric {metric.name!r}: {name!r} is in resource_key, so it must be in '
                'groupby, too.',
                parts=[
                    (
                        ('extra_args', 'resource_key'),
                        f'{name!r} is in resource_key, so it must be in groupby, too.',
                    )
                ],
            )
    for name in metric.extra_args.get('parts', ()):
        if name in (*metric.groupby, *metric.metadata):
            text = f'{name!r} is in parts, so it must not be in groupby or metadata.'
            raise errors.InvalidInput(
                reason=f'metric {metric.name!r}: {text}', parts=[(('extra_args', 'parts'), text)]
            )


def with_interval(metric: metrics.Metric, period_s: int, interval_s: int) -> metrics.Metric:
    """Return *metric* with a scrape interval of which the period is a multiple, or which is longer.

    :param interval_s: default for definitions without one.
    :raises InvalidInput: the period is longer and not a multiple of it.
    """
    if 'measure' not in metric.extra_args:
        return metric
    args = {'scrape_interval': interval_s, **metric.extra_args}
    if period_s % min(args['scrape_interval'], period_s):
        raise errors.InvalidInput(
            reason=f'metric {metric.name!r}: extra_args: a period of {period_s} s is no multiple '
            f'of a scrape_interval of {args["scrape_interval"]} s.'
        )
    return replaced(metric, args['scrape_interval'])


def replaced(metric: metrics.Metric, interval_s: int) -> metrics.Metric:
    """Return *metric* with another scrape interval."""
    args = {**metric.extra_args, 'scrape_interval': interval_s}
    return dataclasses.replace(metric, extra_args=FrozenDict(args))


def fitting_interval(metric: metrics.Metric, period_s: int, spacing_s: float) -> int:
    """Return a scrape interval for which no time between two samples is lost.

    It is that of the definition unless the samples are further apart than the query bridges.

    :param spacing_s: usual time between two samples.
    """
    interval_s = _interval_of(metric)
    if spacing_s <= BRIDGED * interval_s:
        return interval_s
    least = math.ceil(spacing_s)
    return next((one for one in range(least, period_s) if not period_s % one), max(least, period_s))


def scaled(metric: metrics.Metric, range_s: int) -> metrics.Metric:
    """Return *metric* with a factor that converts the result of build() to a quantity.

    Prometheus adds up the instants; the weight of one instant is an exact fraction here.
    """
    measure = metric.extra_args.get('measure')
    if measure not in ('share', 'time_weighted', 'rate'):
        return metric
    weight = Fraction(1, range_s)
    if measure != 'rate':
        weight *= Fraction(min(_interval_of(metric), range_s), INSTANTS)
    return dataclasses.replace(metric, factor=metric.factor * weight)


def _interval_of(metric):
    return metric.extra_args.get('scrape_interval', SCRAPE_INTERVAL_S)


def build(
    metric: metrics.Metric,
    scope_matcher: str,
    scope_key: str,
    range_s: int,
    *,
    is_plain: bool,
    is_finite: bool,
) -> str:
    """Return the PromQL expression for the measure of *metric*, to be evaluated at a period's end.

    :param scope_matcher: label matcher that selects the scopes.
    :param is_plain: each of their resources has one series, see build_search(): this gives the
        same quantities without combining series at each instant. Counters are exact then: of
        several series only the rates can be compared, since each is scraped at other times.
    :param is_finite: treat samples that are NaN or infinite as missing. Otherwise one of them
        makes the quantity of its period NaN or infinite.
    """
    query = _Query(
        metric, scope_matcher, scope_key, range_s, is_plain=is_plain, is_finite=is_finite
    )
    return query.plain_text() if is_plain else query.text()


def operand(metric: metrics.Metric) -> str | None:
    """Return the name of the metric that *metric* is combined with at each instant."""
    return next((metric.extra_args[key] for key in OPERATORS if key in metric.extra_args), None)


def can_be_plain(metric: metrics.Metric) -> bool:
    """Return whether there is a simple query for resources that have one series."""
    args = metric.extra_args
    return (
        'measure' in args
        and operand(metric) is None
        and not any(args.get(key) for key in ('query_prefix', 'query_suffix'))
        and not ('parts' in args and metric.metadata)
    )


def build_search(metric: metrics.Metric, scope_matcher: str, scope_key: str, range_s: int) -> str:
    """Return the PromQL expression for the scopes in which a resource has several series."""
    return _Query(metric, scope_matcher, scope_key, range_s).search_text()


def is_additive(metric: metrics.Metric) -> bool:
    """Return whether the quantity is the smaller the fewer samples there are."""
    return metric.extra_args.get('measure') in ADDITIVE


def build_sparse(
    metric: metrics.Metric, scope_matcher: str, scope_key: str, range_s: int, *, is_plain: bool
) -> str:
    """Return the PromQL expression for the scopes of which too many values are no numbers.

    These are as many as make a gap if they are missing.
    """
    return _Query(metric, scope_matcher, scope_key, range_s, is_plain=is_plain).sparse_text()


class _Query:
    """The parts of the query of one metric, as PromQL."""

    def __init__(
        self, metric, scope_matcher, scope_key, range_s, *, is_plain=False, is_finite=False
    ):
        self.is_plain = is_plain
        self.is_finite = is_finite
        self.args = metric.extra_args
        self.interval_s = _interval_of(metric)
        self.scope_matcher = scope_matcher
        self.scope_key = scope_key
        matchers = ', '.join(filter(None, (scope_matcher, self.args.get('matchers'))))
        self.selector = prometheus.selector(metric.name, matchers)
        self.groups = metric.groupby
        self.metadata = metric.metadata
        # The scope is always included, so that resources of different scopes are never mixed.
        key = self.args.get('resource_key') or metric.groupby
        self.resource = tuple(name for name in metric.groupby if name in (*key, scope_key))
        self.range_s = range_s
        # Two instants a period at least.
        self.step_s = min(self.interval_s, range_s)
        # The growth in a whole interval needs one look at its end.
        self.is_counter = self.args['measure'] in COUNTER_MEASURES
        self.looks = 1 if self.is_counter and self.interval_s <= range_s else INSTANTS
        # One millisecond less, because ranges include their begin up to Prometheus 2.
        self.instants = f'[{_less(range_s)}:{_duration(self.step_s, self.looks)}]'

    def text(self) -> str:
        query = getattr(self, f'_{self.args["measure"]}')()
        if self.metadata:
            names, added = _list(self.groups), _list(self.metadata)
            both = _list((*self.groups, *self.metadata))
            query = (
                f'{query} * on ({names}) group_left ({added}) '
                f'group by ({both}) ({self._newest_metadata()})'
            )
        return query

    def plain_text(self) -> str:
        """The query for resources with one series each, without aggregation per instant."""
        measure = self.args['measure']
        value = self._plain_value()
        found = f'{PLAIN_FUNCTIONS[measure]}(({value}){self.instants})'
        if measure == 'seen':
            found = f'count_over_time({self.selector}[{_less(self.range_s)}])'
        method = 'sum' if 'parts' in self.args else 'group' if measure == 'seen' else 'max'
        return f'{method} by ({_list((*self.groups, *self.metadata))}) ({found})'

    def search_text(self) -> str:
        """The query for scopes with several series of a resource, over the whole period."""
        ahead_s = BRIDGED * self.interval_s
        length_s = self.range_s + ahead_s + (CHANGE_WINDOW + 1) * self.interval_s
        found = f'count_over_time({self.selector}[{length_s}s] offset -{ahead_s}s)'
        names = _list((*self.resource, *self.args.get('parts', ())))
        return f'count by ({_list([self.scope_key])}) (count by ({names}) ({found}) > 1)'

    def sparse_text(self) -> str:
        """The query for scopes with too many values that are no numbers."""
        value = self._plain_value() if self.is_plain else self._value()
        lost = f'count_over_time((({value}) unless ({value} > -Inf < +Inf)){self.instants})'
        return f'count by ({_list([self.scope_key])}) ({lost} > {GAP * self.looks:g})'

    # Measures

    def _share(self):
        return f'sum_over_time(({self._shared(self._present())}){self.instants})'

    def _seen(self):
        if self.resource == self.groups:
            found = f'count_over_time({self.selector}[{_less(self.range_s)}])'
            return f'group by ({_list(self.groups)}) ({found})'
        return self._part_of_time()

    def _time_weighted(self):
        return f'sum_over_time(({self._shared(self._value())}){self.instants})'

    def _increase(self):
        value = self._value()
        if self.resource != self.groups:
            # A series that no longer grows gets no share of the growth of others.
            value = f'({value} > 0)'
        return f'sum_over_time(({self._shared(value)}){self.instants})'

    _rate = _increase

    def _mean(self):
        value = self._value()
        if self.resource == self.groups:
            return f'avg_over_time(({value}){self.instants})'
        total = f'sum_over_time(({self._shared(value)}){self.instants})'
        return self._by_time_of_resource(total)

    def _max(self):
        found = f'max_over_time(({self._value()}){self.instants})'
        if self.resource == self.groups:
            return found
        return f'{found} * on ({_list(self.groups)}) ({self._part_of_time()})'

    def _part_of_time(self):
        """The fraction of the resource's time in which it had these attributes."""
        return self._by_time_of_resource(
            f'sum_over_time(({self._shared(self._present())}){self.instants})'
        )

    def _by_time_of_resource(self, total):
        there = f'group by ({_list(self.resource)}) ({self._kept(self.selector)})'
        return (
            f'{total} / on ({_list(self.resource)}) group_left () '
            f'count_over_time(({there}){self.instants})'
        )

    # At one instant

    def _plain_value(self):
        value = self._kept(self.selector)
        if 'query_function' in self.args:
            value = self._finite(f'{self.args["query_function"]}({value})')
        return value

    def _shared(self, value):
        """*value* divided by the number of attribute sets of the resource at the instant."""
        if self.resource == self.groups:
            return value
        names = _list(self.resource)
        return f'{value} / on ({names}) group_left () count by ({names}) ({value})'

    def _present(self):
        found = f'group by ({_list(self.groups)}) ({self._kept(self.selector)})'
        return self._with_added(found)

    def _value(self):
        found = self._combined(self.selector)
        operator = next((key for key in OPERATORS if key in self.args), None)
        if operator:
            other = prometheus.selector(self.args[operator], self.scope_matcher)
            names = _list(self.groups)
            found = f'({found} {OPERATORS[operator]} on ({names}) {self._combined(other)})'
        # Even numbers may give none: x / 0, or ln(0).
        return self._finite(self._with_added(found))

    def _combined(self, selector):
        found = self._kept(selector)
        if 'query_function' in self.args:
            found = f'{self.args["query_function"]}({found})'
        method, parts = self.args['aggregation_method'], self.args.get('parts', ())
        names = _list((*self.groups, *parts))
        if self.is_counter and method == 'max':
            found = f'(sum by ({names}) ({found}) / {self._growing(selector, names)})'
        else:
            found = f'{method} by ({names}) ({found})'
        return f'sum by ({_list(self.groups)}) ({found})' if parts else found

    def _kept(self, selector):
        """The series from their first sample to one interval after the last.

        A sample is valid until the next one, if at most one scrape was lost between them.
        """
        if self.is_counter:
            return self._growth(selector)
        ahead_s = BRIDGED * self.interval_s
        around = f'{selector}[{_less(self.interval_s + ahead_s)}] offset -{ahead_s}s'
        return f'({self._sample(selector)} and last_over_time({around}))'

    def _sample(self, selector, moved=''):
        """The newest sample, if it is at most BRIDGED intervals old."""
        return self._finite(
            f'last_over_time({selector}[{_less(BRIDGED * self.interval_s)}]{moved})'
        )

    def _finite(self, value):
        return f'({value} > -Inf < +Inf)' if self.is_finite else value

    def _growth(self, selector):
        """The growth in the scrape interval before the instant, divided by the instants in it.

        So what a series grows between two samples is counted once, whenever they were scraped.
        The growth before the first sample is assumed to equal the growth after it; if the next
        scrape was lost, half of that until the one after it.
        """
        interval = f'{self.interval_s}s'
        latest, before, later, after = (
            self._sample(selector, moved)
            for moved in (
                '',
                f' offset {interval}',
                f' offset -{interval}',
                f' offset -{BRIDGED * self.interval_s}s',
            )
        )
        grown = f'{latest} - {before} >= 0'
        # The counter was reset in between. After an infinite sample it was not.
        begun = f'{latest} < ({before} < +Inf)'
        following = self._finite(
            f'last_over_time({selector}[{_less(self.interval_s)}] offset -{interval})'
        )
        since = f'({later} - {latest})'
        first = f'{since} and {following} or ({after} - {latest}) / {BRIDGED} or {since}'
        # 0 if the counter was reset then; what is no number stays visible.
        found = f'(({grown}) or ({begun}) or (clamp_min({first}, 0)))'
        # Even times 1: arithmetic drops the name of the metric, which a comparison keeps.
        part = Fraction(self.step_s, self.looks * self.interval_s)
        return f'({found} * {part.numerator} / {part.denominator})'

    def _growing(self, selector, names):
        """The number of series that have shown growth about then, 1 at least.

        All of them tell of one counter, and each shows its growth when it is scraped: so the mean
        of them counts it once. One that no longer grows, as of a dead container, is left out.
        """
        around = f'{selector}[{_less(CHANGE_WINDOW * self.interval_s)}] offset -{self.interval_s}s'
        # VictoriaMetrics counts the first sample of a series in changes().
        growing = f'max_over_time({around}) > bool min_over_time({around})'
        return f'clamp_min(sum by ({names}) ({growing}), 1)'

    def _with_added(self, text):
        prefix, suffix = self.args['query_prefix'], self.args['query_suffix']
        if not prefix and not suffix:
            return text
        return f'({" ".join(filter(None, (prefix, text, suffix)))})'

    def _newest_metadata(self):
        """One series per group, with the metadata of the newest sample."""
        names = _list((*self.groups, *self.metadata))
        latest, earlier = (
            f'group by ({names}) (last_over_time({self.selector}[{_less(length)}])) * {instant}'
            for length, instant in (
                (self.interval_s, '(time() + 0.5)'),
                (BRIDGED * self.interval_s, 'time()'),
            )
        )
        found = f'max_over_time(({latest} or {earlier}){self.instants})'
        return f'topk by ({_list(self.groups)}) (1, {found})'


def _duration(length_s, parts):
    """A fraction of a length as a PromQL duration."""
    return f'{timedelta(seconds=length_s) // timedelta(milliseconds=1) // parts}ms'


def _less(length_s):
    """A PromQL duration that is one millisecond shorter."""
    return f'{timedelta(seconds=length_s) // timedelta(milliseconds=1) - 1}ms'


def _list(names):
    return ', '.join(map(prometheus.label, names))
