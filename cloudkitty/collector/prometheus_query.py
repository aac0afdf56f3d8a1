"""Metric definitions as the Prometheus collectors read them, and the PromQL made of them.

Source: contract collection, sections 2.5 and 5.2.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from urllib import parse

from cloudkitty import errors, metrics
from cloudkitty.clients import prometheus
from cloudkitty.dataframe import FrozenDict

# Prometheus refuses a range query of more steps.
STEPS_MAX = 11000
# Carries the name of a metric in answers that have no other labels.
METRIC_LABEL = 'metric'
# Words in a prefix or suffix that look at one series at a time, so that asking for many scopes
# at once gives what asking for each gives. `topk` is one that does not.
SEPARABLE_WORDS = frozenset(('abs', 'bool', 'ceil', 'clamp', 'clamp_max', 'clamp_min', 'exp',
                             'floor', 'ln', 'log10', 'log2', 'round', 'sgn', 'sqrt'))
_WORD = re.compile(r'(?<![\w.])[a-zA-Z_]\w*')
_NO_ARITHMETIC = re.compile(r'[^\w\s.,()+\-*/%^<>=!]', re.ASCII)
_SCALAR = re.compile(r'(?<![\w.:])scalar\s*(?=\()')
# A string, a parenthesis, or anything else.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|.', re.DOTALL)
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"\s*', re.ASCII)


def _matchers(value):
    """Return the label matchers in *value* as PromQL has them between braces."""
    wrong = [one for one in value if not isinstance(one, str) or not _MATCHER.fullmatch(one)
             ] if isinstance(value, list) else [value]
    if wrong:
        raise errors.InvalidInput(reason='must be a list of label matchers, such as '
                                         f"'container!=\"\"', not {wrong[0]!r:.80}")
    return ', '.join(one.strip() for one in value)


EXTRA_ARGS = {
    'aggregation_method': metrics.choice('avg', 'count', 'max', 'min', 'stddev', 'stdvar', 'sum'),
    'query_function': metrics.choice('abs', 'ceil', 'exp', 'floor', 'ln', 'log2', 'log10',
                                     'round', 'sqrt'),
    'range_function': metrics.choice('changes', 'delta', 'deriv', 'idelta', 'irate', 'rate'),
    'query_prefix': metrics.text,
    'query_suffix': metrics.text,
    'matchers': _matchers,
}
EXTRA_ARGS_DEFAULTS = {'aggregation_method': 'max', 'query_prefix': '', 'query_suffix': ''}


def check_extra_args(extra_args: Mapping) -> FrozenDict:
    """Return *extra_args* with defaults.

    :raises InvalidInput: a key is unknown, or a value not allowed.
    """
    return FrozenDict({**EXTRA_ARGS_DEFAULTS, **metrics.only_keys(extra_args, EXTRA_ARGS)})


def length_s(begin: datetime, end: datetime) -> int:
    """Return the length of a period, whole seconds."""
    return abs(round((end - begin).total_seconds()))


def chunks(items: Sequence[str], render: Callable[[str], str],
           length_max: int) -> Iterator[list[str]]:
    """Yield parts of *items* that fit into a URL together.

    :param render: returns what an item adds to a query.
    :param length_max: of what the items of one part add, encoded.
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
    """Return for how many periods one range query gives what a query for each would give."""
    # `@ end()` is the end of the whole range.
    return 1 if '@' in _added(metric) else STEPS_MAX


def _added(metric):
    return f'{metric.extra_args["query_prefix"]} {metric.extra_args["query_suffix"]}'


def can_ask_for_many(metric: metrics.Metric) -> bool:
    """Return whether one query for many scopes gives what a query for each would give."""
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
            return f'{text[:found.start()]}0{_without_scalars(text[token.end():])}'
    # It ends elsewhere: nobody knows what it holds.
    return text


def alternative(scope_id: str) -> str:
    """Return what a scope adds to a query for many."""
    return f'|{prometheus.quote_regex(scope_id)}'


def build_query(metric: metrics.Metric, scope_key: str, scope_ids: Sequence[str],
                range_s: int) -> str:
    """Return the PromQL text that asks for *metric* of *scope_ids*.

    Source: contract collection, section 5.2, "Query".
    """
    if len(scope_ids) == 1:
        matcher = f'{scope_key}={prometheus.quote(scope_ids[0])}'
    else:
        regex = ''.join(map(alternative, scope_ids))[1:]
        matcher = f'{scope_key}=~{prometheus.quote(regex)}'
    args = metric.extra_args
    matchers = ', '.join(filter(None, (matcher, args.get('matchers'))))
    method = args['aggregation_method']
    inner = args.get('range_function') or f'{method}_over_time'
    query = f'{inner}({metric.name}{{{matchers}}}[{range_s}s])'
    if 'query_function' in args:
        query = f'{args["query_function"]}({query})'
    query = f'{method}({query}) by ({", ".join((*metric.groupby, *metric.metadata))})'
    if args['query_prefix']:
        query = f'{args["query_prefix"]} {query}'
    if args['query_suffix']:
        query = f'{query} {args["query_suffix"]}'
    return query


def build_newest_query(names: Iterable[str]) -> str:
    """Return the PromQL text that asks for the time of the newest sample of each metric."""
    return ' or '.join(map(build_newest_term, sorted(names)))


def build_newest_term(name: str) -> str:
    """Return what a metric adds to that, but for the joint."""
    return f'label_replace(max(timestamp({name})), "{METRIC_LABEL}", "{name}", "", "")'
