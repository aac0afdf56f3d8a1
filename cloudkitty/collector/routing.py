"""Assigns metric definitions to the collectors that can serve them."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.collector import definition_warnings
from cloudkitty.core import metrics
from cloudkitty.plugins import Instance
from cloudkitty.rating import skip


class Assigned(NamedTuple):
    """A definition and the collectors that can serve it.

    :ivar metric: as parsed by the first of the collectors.
    :ivar raw: the definition as in the file.
    :ivar collectors: names, in the configured order; at least one.
    """

    metric: metrics.Metric
    raw: Mapping
    collectors: tuple[str, ...]


def assign(content: Any, instances: Sequence[Instance], scope_key: str) -> dict[str, Assigned]:
    """Return the definitions of a parsed file by internal key, in the order of the file.

    A definition is served by the collector it names; one that names none by each that accepts it.

    :param instances: the configured collectors.
    :raises InvalidInput: something is wrong; the text names the metric and the key.
    """
    found, problems = _read(content, instances, scope_key)
    if problems:
        raise errors.InvalidInput(reason=problems[0].text)
    return {assigned.metric.key: assigned for assigned in found}


def find_problems(
    content: Any, instances: Sequence[Instance], scope_key: str
) -> list[metrics.Problem]:
    """Return all problems of a parsed file, including those of skip expressions."""
    _, problems = _read(content, instances, scope_key)
    good, _ = metrics.read(content, scope_key=scope_key)
    for path, raw in metrics.definitions(content, []):
        if isinstance(raw, Mapping):
            problems.extend(_skip_problems(path, raw))
            # The parameters of the others were checked already.
            if path not in good:
                problems.extend(_parameter_problems(path, raw, instances))
    return problems


def find_warnings(
    content: Any, instances: Sequence[Instance], scope_key: str
) -> list[metrics.Problem]:
    """Return warnings about valid definitions of a parsed file."""
    good, _ = metrics.read(content, scope_key=scope_key)
    found = []
    for path, metric in good.items():
        raw = _follow(content, path)
        for instance in instances:
            if metric.collector not in (None, instance.name):
                continue
            try:
                seen = _as_seen(instance.driver, metric, raw, scope_key)
            except errors.InvalidInput:
                continue
            found += [
                metrics.Problem((*path, *below), f'{metrics.describe_place(path)}: {text}.')
                for below, text in (
                    *definition_warnings.of_attributes(seen),
                    *instance.driver.definition_warnings(seen),
                )
            ]
            break
    return found


def _skip_problems(path, raw):
    text = raw.get('skip_datapoints_expression')
    if not isinstance(text, str) or not text:
        return
    try:
        skip.Expression(text)
    except errors.InvalidInput as exc:
        yield metrics.Problem(
            (*path, 'skip_datapoints_expression'), f'{metrics.describe_place(path)}: {exc}'
        )


def _parameter_problems(path, raw, instances):
    """Return the problems in the parameters of a definition that has other problems."""
    found = []
    for instance in instances:
        if raw.get('collector') not in (None, instance.name):
            continue
        try:
            _check_parameters(instance.driver, raw)
        except errors.InvalidInput as exc:
            found.append(_refusals(path, exc, instance if len(instances) > 1 else None))
        else:
            return []
    # A value that is no mapping was reported already.
    is_mapping = isinstance(raw.get('extra_args', {}), Mapping)
    return list(itertools.chain(*found)) if is_mapping else []


def _read(content, instances, scope_key):
    good, problems = metrics.read(content, scope_key=scope_key)
    found = []
    for path, metric in good.items():
        candidates = [
            instance for instance in instances if metric.collector in (None, instance.name)
        ]
        raw = _follow(content, path)
        accepted, refused = {}, []
        for instance in candidates:
            try:
                accepted[instance.name] = _as_seen(instance.driver, metric, raw, scope_key)
            except errors.InvalidInput as exc:
                refused.extend(_refusals(path, exc, instance if len(instances) > 1 else None))
        if accepted:
            found.append(Assigned(next(iter(accepted.values())), raw, tuple(accepted)))
        elif candidates:
            problems.extend(refused)
        else:
            problems.append(_no_collector(path, metric, instances))
    return found, problems


def _follow(content, path):
    for step in path:
        content = content[step]
    return content


def _as_seen(driver, metric, raw, scope_key):
    """Return the metric as parsed by *driver*.

    :raises InvalidInput: the driver does not accept it.
    """
    _check_parameters(driver, raw)
    (seen,) = driver.check_configuration({'metrics': {metric.name: raw}}, scope_key).values()
    return seen


def _check_parameters(driver, raw):
    try:
        driver.check_extra_args(metrics.mapping(raw.get('extra_args', {})))
    except errors.InvalidInput as exc:
        parts = [
            (('extra_args', *below), f'extra_args {text}.')
            for below, text in metrics.problem_parts(exc)
        ]
        raise errors.InvalidInput(reason=exc, parts=parts) from exc


def _refusals(path, exc, instance) -> Iterable[metrics.Problem]:
    by_whom = f' (collector {instance.name!r})' if instance else ''
    place = f'{metrics.describe_place(path)}: '
    for below, text in metrics.problem_parts(exc):
        # Messages of a driver about the definition as a whole name the metric already.
        yield metrics.Problem((*path, *below), f'{place if below else ""}{text}{by_whom}')


def _no_collector(path, metric, instances):
    allowed = ', '.join(instance.name for instance in instances)
    return metrics.Problem(
        (*path, 'collector'),
        (
            f'{metrics.describe_place(path)}: collector {metric.collector!r} is not configured; '
            f'allowed: {allowed}.'
        ),
    )
