"""Survey of a metric and a scope in Prometheus, and of the result of its definition."""

import difflib
from collections import defaultdict
from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.clients import prometheus
from cloudkitty.collector import prometheus_measures, survey
from cloudkitty.collector.prometheus_query import SUMMED_FUNCTIONS, length_s, named_metrics
from cloudkitty.core import metrics
from cloudkitty.core.timeframe import Period

# Least similarity of a misspelt name to the right one.
ALIKE = 0.9
NAMES_MAX = 3
GROWTH_FUNCTIONS = (*SUMMED_FUNCTIONS, 'changes', 'delta', 'deriv', 'idelta')
ADDING_METHODS = ('sum', 'count')
NAME_LABEL = '__name__'
# How far back to search for two samples.
SPACING_RANGE_S = 3600
# Tolerance, because scrapes are never exactly on time.
LATE = 1.05


class PrometheusSurvey:
    """Surveys one metric of one scope in one period.

    :param client: the server.
    """

    def __init__(
        self,
        client: prometheus.Client,
        metric: metrics.Metric,
        *,
        scope_key: str,
        scope_id: str,
        period: Period,
    ):
        self._client = client
        self._metric = metric
        self._scope_key = scope_key
        self._period = period
        self._range_s = length_s(*period)
        self._of_scope = f'{prometheus.label(scope_key)}={prometheus.quote(scope_id)}'
        self._found = survey.Survey()

    def run(self) -> survey.Survey:
        """Query the server and return the findings.

        :raises SourceUnreachable, CollectError: the server does not answer.
        """
        series = self.samples(max(self._range_s, SPACING_RANGE_S))
        if series:
            self._describe(series)
        else:
            self._find_reason()
        return self._found

    def samples(self, range_s: int) -> list[tuple[dict, list[tuple[float, str]]]]:
        """Return labels and samples, (unix time, value), by series, up to the end of the period."""
        matchers = ', '.join(
            filter(None, (self._of_scope, self._metric.extra_args.get('matchers')))
        )
        answer = self._client.query_samples(
            prometheus.selector(self._metric.name, matchers), range_s, self._period.end
        )
        begin = self._period.end.timestamp() - range_s
        found = []
        for series in answer:
            # Up to Prometheus 2 a range includes its begin.
            inside = [(float(at), text) for at, text in series.get('values', ()) if at > begin]
            labels = {name: value for name, value in series['metric'].items() if name != NAME_LABEL}
            if inside:
                found.append((labels, inside))
        return found

    # There are samples

    def _describe(self, series):
        instants = [[at for at, _ in samples] for _, samples in series]
        usual_s = survey.spacing(instants)
        begin = self._period.begin.timestamp()
        counts = [sum(at > begin for at in found) for found in instants]
        text = f'{sum(map(bool, counts))} series, {sum(counts)} samples'
        self._found.facts.append(text if usual_s is None else f'{text}, {usual_s:g} s apart')
        if usual_s is not None:
            self._check_spacing(usual_s)
            self._tell_hole(instants, usual_s)
        self._tell_type()
        self._check_labels([labels for labels, _ in series])
        self._check_operand()
        self._check_named()
        self._tell_duplicates(series)

    def _check_spacing(self, usual_s):
        if 'measure' not in self._metric.extra_args:
            if usual_s > self._range_s:
                self._found.faults.append(
                    f'samples are {usual_s:g} s apart, and a period is {self._range_s} s: some '
                    'periods have none'
                )
            return
        interval_s = self._metric.extra_args['scrape_interval']
        text = f'samples are {usual_s:g} s apart, and scrape_interval is {interval_s} s'
        if usual_s > prometheus_measures.BRIDGED * interval_s:
            self._found.faults.append(f'{text}: it must not be shorter')
        elif usual_s > interval_s * LATE:
            self._found.notes.append(f'{text}: one lost scrape is not charged')

    def _tell_hole(self, instants, usual_s):
        hole = survey.largest_hole(instants, usual_s)
        if hole:
            begin, end = (datetime.fromtimestamp(at, UTC).time() for at in hole)
            self._found.facts.append(
                f'longest hole {hole[1] - hole[0]:g} s, {begin:%H:%M:%S} to {end:%H:%M:%S}'
            )

    def _tell_type(self):
        try:
            kind = self._client.metric_type(self._metric.name)
        except errors.CollectError:
            # Not every server or proxy supports this.
            kind = None
        self._found.facts.append(f'type {kind or "unknown"}')
        is_counter = kind == 'counter' or (kind is None and self._metric.name.endswith('_total'))
        args = self._metric.extra_args
        takes_growth = (
            args.get('range_function') in GROWTH_FUNCTIONS
            or args.get('measure') in prometheus_measures.COUNTER_MEASURES
        )
        if is_counter and not takes_growth:
            self._found.notes.append(
                'it is a counter, and what it stands at is no usage; try measure: increase'
            )
        elif kind == 'gauge' and takes_growth:
            self._found.notes.append('it is a gauge, whose growth is no usage as a rule')

    def _check_labels(self, rows):
        self._found.facts.append(
            f'labels {", ".join(sorted({name for row in rows for name in row}))}'
        )
        names = (
            *self._metric.groupby,
            *self._metric.metadata,
            *self._metric.extra_args.get('parts', ()),
        )
        missing = [name for name in names if not any(name in row for row in rows)]
        if missing:
            self._found.notes.append(f'no series has the label {", ".join(missing)}')

    def _check_operand(self):
        other = prometheus_measures.operand(self._metric)
        if other and not self._count(self._of_scope, other):
            self._found.faults.append(
                f'it is combined with {other}, of which this scope has no samples'
            )

    def _check_named(self):
        for name in named_metrics(self._metric):
            text = f'query_prefix or query_suffix names {name}'
            if self._count('', name):
                self._found.notes.append(f'{text}, whose missing samples are not noticed')
            else:
                self._found.faults.append(f'{text}, of which the source has no samples')

    def _tell_duplicates(self, series):
        by_labels = defaultdict(list)
        names = (*self._metric.groupby, *self._metric.extra_args.get('parts', ()))
        for labels, _ in series:
            by_labels[tuple(labels.get(name, '') for name in names)].append(labels)
        largest = max(by_labels.values(), key=len)
        if len(largest) == 1:
            return
        text = f'{len(largest)} series {survey.DIFFER_ONLY} {", ".join(survey.varying(largest))}'
        if 'measure' in self._metric.extra_args:
            self._found.facts.append(f'{text}: they are one resource')
        elif self._metric.extra_args['aggregation_method'] in ADDING_METHODS:
            self._found.notes.append(f'{text}: they are added up, also where they are the same')
        else:
            self._found.notes.append(f'{text}: metadata that differs makes points of its own')

    # There are none

    def _find_reason(self):
        if self._count(self._of_scope):
            self._found.notes.append('the scope has series, and none of them fits the matchers')
        elif not self._count(''):
            self._find_name()
        elif others := self._scopes():
            self._found.facts.append(f'no series of this scope; others have some: {others}')
        else:
            self._found.faults.append(
                f'{self._metric.name} has samples, none with label {self._scope_key}; it has '
                f'{", ".join(self._labels())}'
            )

    def _find_name(self):
        name = self._metric.name
        names = self._client.metric_names()
        near = difflib.get_close_matches(name, names, NAMES_MAX, ALIKE)
        if name in names:
            self._found.facts.append('no samples in this time')
        elif near:
            self._found.faults.append(f'the source has no metric {name}; it has {", ".join(near)}')
        else:
            self._found.facts.append(survey.NO_METRIC)

    def _count(self, matchers, name=None):
        answer = self._client.query(f'count({self._recent(matchers, name)})', self._period.end)
        return int(answer[0]['value'][1]) if answer else 0

    def _scopes(self):
        """Return some scopes that have series."""
        label = prometheus.label(self._scope_key)
        series = self._recent(f'{label}!=""')
        answer = self._client.query(
            f'topk({NAMES_MAX}, count by ({label}) ({series}))', self._period.end
        )
        return ', '.join(sorted(one['metric'].get(self._scope_key, '') for one in answer))

    def _labels(self):
        answer = self._client.query(f'topk(1, {self._recent("")})', self._period.end)
        return sorted(answer[0]['metric'].keys() - {NAME_LABEL}) if answer else []

    def _recent(self, matchers, name=None):
        selector = prometheus.selector(name or self._metric.name, matchers)
        return f'last_over_time({selector}[{self._range_s}s])'
