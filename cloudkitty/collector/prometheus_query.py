"""Metric definitions of the Prometheus collectors, and the PromQL made from them.

Source: doc/source/contributor/compatibility/collection.rst, "Collector: prometheus".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from urllib import parse

from cloudkitty import errors
from cloudkitty.clients import prometheus
from cloudkitty.collector import prometheus_measures
from cloudkitty.core import metrics
from cloudkitty.core.dataframe import FrozenDict

# Prometheus refuses a range query of more steps.
STEPS_MAX = 11000
# Label with the name of a metric in answers that have no other labels.
METRIC_LABEL = 'metric'
# Words in a prefix or suffix that treat each series separately, so that a query for many scopes
# gives the same as a query for each. `topk`, for example, does not.
SEPARABLE_WORDS = frozenset(
    (
        'abs',
        'bool',
        'ceil',
        'clamp',
        'clamp_max',
        'clamp_min',
        'exp',
        'floor',
        'ln',
        'log10',
        'log2',
        'round',
        'sgn',
        'sqrt',
    )
)
# Words of PromQL that look like metrics.
KEYWORDS = frozenset(('and', 'or', 'unless', 'bool', 'offset', 'atan2', 'inf', 'nan'))
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`', re.DOTALL)
_LABEL_LIST = re.compile(
    r'\b(?:by|without|on|ignoring|group_left|group_right)\b\s*(?:\([^)]*\))?', re.IGNORECASE
)
# What is called is a function.
_METRIC_NAME = re.compile(r'(?<![\w.:])[a-zA-Z_:][\w:]*+(?!\s*\()', re.ASCII)
_WORD = re.compile(r'(?<![\w.])[a-zA-Z_]\w*')
_NO_ARITHMETIC = re.compile(r'[^\w\s.,()+\-*/%^<>=!]', re.ASCII)
_SCALAR = re.compile(r'(?<![\w.:])scalar\s*(?=\()')
# Tokens: a string, a parenthesis, or anything else.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|.', re.DOTALL)
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"\s*', re.ASCII)

_SELECTOR = re.compile(
    rf'[a-zA-Z_:][\w:]*(?:\{{(?:{_MATCHER.pattern})(?:,{_MATCHER.pattern})*\}})?', re.ASCII
)


def _matchers(value):
    """Return the label matchers in *value* as PromQL, without braces."""
    wrong = (
        [one for one in value if not isinstance(one, str) or not _MATCHER.fullmatch(one)]
        if isinstance(value, list)
        else [value]
    )
    if wrong:
        raise errors.InvalidInput(
            reason='must be a list of label matchers, such as '
            f'\'container!=""\', not {wrong[0]!r:.80}'
        )
    return ', '.join(one.strip() for one in value)


def _health(value):
    """Return a PromQL selector as it is: a metric, with or without label matchers."""
    if not isinstance(value, str) or not _SELECTOR.fullmatch(value):
        raise errors.InvalidInput(
            reason='must be a metric that is 0 while this one cannot be measured, such as '
            f'openstack_nova_up or name{{label="value"}}, not {value!r:.80}'
        )
    return value


EXTRA_ARGS = {
    'aggregation_method': metrics.choice('avg', 'count', 'max', 'min', 'stddev', 'stdvar', 'sum'),
    'query_function': metrics.choice(
        'abs', 'ceil', 'exp', 'floor', 'ln', 'log2', 'log10', 'round', 'sqrt'
    ),
    'range_function': metrics.choice(
        'changes', 'delta', 'deriv', 'idelta', 'increase', 'irate', 'rate'
    ),
    'query_prefix': metrics.text,
    'query_suffix': metrics.text,
    'matchers': _matchers,
    'utf8_names': metrics.boolean,
    'health': _health,
    **prometheus_measures.EXTRA_ARGS,
}
EXTRA_ARGS_DEFAULTS = {'aggregation_method': 'max', 'query_prefix': '', 'query_suffix': ''}
# The results of these do not grow with the length of the range.
LEVEL_METHODS = ('avg', 'max', 'min')
# Increases of several series of a counter are added up.
SUMMED_FUNCTIONS = ('increase', 'irate', 'rate')


def check_extra_args(extra_args: Mapping) -> FrozenDict:
    """Return *extra_args* with defaults.

    :raises InvalidInput: a key is unknown, or a value not allowed.
    """
    checked = metrics.only_keys(extra_args, EXTRA_ARGS)
    prometheus_measures.check(checked)
    defaults = EXTRA_ARGS_DEFAULTS
    if checked.get('range_function') in SUMMED_FUNCTIONS:
        defaults = {**defaults, 'aggregation_method': 'sum'}
    return FrozenDict({**defaults, **checked})


def check_names(metric: metrics.Metric) -> None:
    """Raise InvalidInput for names that are not valid in Prometheus; the text names them."""
    if metric.extra_args.get('utf8_names'):
        return
    hint = '; for names of Prometheus 3 set utf8_names in extra_args.'
    wrong = [
        ((key,), f'{name!r} in groupby or metadata is no name of a Prometheus label{hint}')
        for key in ('groupby', 'metadata')
        for name in metric[key]
        if not prometheus.is_label(name)
    ]
    if wrong:
        raise errors.InvalidInput(reason=f'metric {metric.name!r}: {wrong[0][1]}', parts=wrong)
    if not prometheus.is_metric(metric.name):
        raise errors.InvalidInput(
            reason=f'metric {metric.name!r}: this is no name of a Prometheus metric{hint}'
        )


def length_s(begin: datetime, end: datetime) -> int:
    """Return the length of a period, whole seconds."""
    return abs(round((end - begin).total_seconds()))


def chunks(
    items: Sequence[str], render: Callable[[str], str], length_max: int
) -> Iterator[list[str]]:
    """Yield parts of *items* that fit into a URL together.

    :param render: returns what an item adds to a query.
    :param length_max: most encoded characters that the items of one part add.
    """
    chunk: list[str] = []
    length = 0
    for item in items:
        size = len(parse.quote(render(item)))
        if chunk and length + size > length_max:
            yield chunk
            chunk, length = [], 0
        chunk.append(item)
        length += size
    if chunk:
        yield chunk


def steps_max(metric: metrics.Metric) -> int:
    """Return for how many periods one range query gives the same as a query for each."""
    # `@ end()` is the end of the whole range.
    return 1 if '@' in _added(metric) else STEPS_MAX


def named_metrics(metric: metrics.Metric) -> list[str]:
    """Return the names of other metrics in query_prefix and query_suffix."""
    # Without texts and durations, then without labels.
    text = _STRING.sub('""', _added(metric))
    text = _LABEL_LIST.sub(' ', re.sub(r'\{[^}]*\}|\[[^\]]*\]', ' ', text))
    found = dict.fromkeys(one for one in _METRIC_NAME.findall(text) if one.lower() not in KEYWORDS)
    return [name for name in found if name != metric.name]


def _added(metric):
    return f'{metric.extra_args["query_prefix"]} {metric.extra_args["query_suffix"]}'


def takes_levels(metric: metrics.Metric) -> bool:
    """Return whether a range longer than the period gives a quantity of the same meaning.

    For sums, counts and increases it would be too large.
    """
    args = metric.extra_args
    return (
        not {'measure', 'range_function'} & args.keys()
        and args['aggregation_method'] in LEVEL_METHODS
    )


def can_ask_for_many(metric: metrics.Metric) -> bool:
    """Return whether one query for many scopes gives the same as a query for each."""
    args = metric.extra_args
    added = ' '.join(_without_scalars(args[key]) for key in ('query_prefix', 'query_suffix'))
    return not _NO_ARITHMETIC.search(added) and SEPARABLE_WORDS.issuperset(_WORD.findall(added))


def _without_scalars(text):
    """Return *text* with 0 for each `scalar(...)`, which is one number for all scopes."""
    found = _SCALAR.search(text)
    if not found:
        return text
    depth = 0
    for token in _TOKEN.finditer(text, found.end()):
        depth += {'(': 1, ')': -1}.get(token[0], 0)
        if not depth:
            return f'{text[: found.start()]}0{_without_scalars(text[token.end() :])}'
    # The parentheses do not match, so its extent is unknown.
    return text


def alternative(scope_id: str) -> str:
    """Return the text that a scope adds to a query for many."""
    return f'|{prometheus.quote_regex(scope_id)}'


def build_query(
    metric: metrics.Metric,
    scope_key: str,
    scope_ids: Sequence[str],
    range_s: int,
    *,
    is_plain: bool = False,
    is_finite: bool = False,
) -> str:
    """Return the PromQL expression for *metric* of *scope_ids*.

    :param is_plain, is_finite: see prometheus_measures.build().

    Source: doc/source/contributor/compatibility/collection.rst, "Collector: prometheus".
    """
    matcher = scope_matcher(scope_key, scope_ids)
    args = metric.extra_args
    if 'measure' in args:
        return prometheus_measures.build(
            metric, matcher, scope_key, range_s, is_plain=is_plain, is_finite=is_finite
        )
    matchers = ', '.join(filter(None, (matcher, args.get('matchers'))))
    method = args['aggregation_method']
    inner = args.get('range_function') or f'{method}_over_time'
    query = f'{inner}({prometheus.selector(metric.name, matchers)}[{range_s}s])'
    if 'query_function' in args:
        query = f'{args["query_function"]}({query})'
    names = ', '.join(map(prometheus.label, (*metric.groupby, *metric.metadata)))
    query = f'{method}({query}) by ({names})'
    if args['query_prefix']:
        query = f'{args["query_prefix"]} {query}'
    if args['query_suffix']:
        query = f'{query} {args["query_suffix"]}'
    return query


def build_search(
    metric: metrics.Metric, scope_key: str, scope_ids: Sequence[str], range_s: int
) -> str:
    """Return the PromQL expression for the scopes in which a resource has several series."""
    matcher = scope_matcher(scope_key, scope_ids)
    return prometheus_measures.build_search(metric, matcher, scope_key, range_s)


def build_sparse(
    metric: metrics.Metric,
    scope_key: str,
    scope_ids: Sequence[str],
    range_s: int,
    *,
    is_plain: bool,
) -> str:
    """Return the PromQL expression for the scopes that lack much usage, as values are no numbers.

    :param is_plain: see prometheus_measures.build().
    """
    matcher = scope_matcher(scope_key, scope_ids)
    return prometheus_measures.build_sparse(metric, matcher, scope_key, range_s, is_plain=is_plain)


def scope_matcher(scope_key: str, scope_ids: Sequence[str]) -> str:
    """Return the label matcher that selects *scope_ids*."""
    if len(scope_ids) == 1:
        return f'{prometheus.label(scope_key)}={prometheus.quote(scope_ids[0])}'
    return prometheus.one_of(scope_key, scope_ids)


def scope_lists(metric: metrics.Metric) -> int:
    """Return how many times the query of *metric* lists the scopes."""
    return build_query(metric, 'scope', ['0'], 3600).count('scope="0"')


def build_newest_query(names: Iterable[str]) -> str:
    """Return the PromQL expression for the time of the newest sample of each metric."""
    return ' or '.join(map(build_newest_term, sorted(names)))


def build_newest_term(name: str) -> str:
    """Return the term of one metric in that expression, without the operator."""
    newest = f'max(timestamp({prometheus.selector(name, "")}))'
    return f'label_replace({newest}, "{METRIC_LABEL}", {prometheus.quote(name)}, "", "")'
