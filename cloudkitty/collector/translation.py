"""Translation of definitions of the collector gnocchi to the collector metering. Pure.

Source: doc/source/admin/switching.rst, "Metric definitions".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.collector import gnocchi_query
from cloudkitty.core import metrics
from cloudkitty.core.metering import facts, quantities

GNOCCHI = 'gnocchi'
# Meters of listeners and agents of this service, by kind.
STATES = frozenset(
    (
        'instance',
        'vcpus',
        'memory',
        'disk.root.size',
        'disk.ephemeral.size',
        'volume.size',
        'volume.snapshot.size',
        'volume.backup.size',
        'image.size',
        'ip.floating',
        'router',
        'loadbalancer',
    )
)
GAUGES = frozenset(
    (
        'memory.usage',
        'disk.device.capacity',
        'storage.objects',
        'storage.objects.size',
        'storage.objects.containers',
    )
)
COUNTERS = frozenset(
    (
        'cpu',
        *(
            f'disk.device.{way}.{what}'
            for way in ('read', 'write')
            for what in ('requests', 'bytes')
        ),
        *(
            f'network.{way}.{what}'
            for way in ('incoming', 'outgoing')
            for what in ('bytes', 'packets')
        ),
    )
)
# Meters for the existence of resources, by Gnocchi's resource type.
EXISTENCE = {
    'instance': 'instance',
    'network': 'ip.floating',
    'loadbalancer': 'loadbalancer',
}
# Attributes of resources in Gnocchi that no usage has.
UNKNOWN_ATTRIBUTES = frozenset(('user_id', 'created_by_user_id', 'created_by_project_id'))
_ONES = frozenset(('instance', 'ip.floating', 'router', 'loadbalancer'))
_DROPPED = ('collector', 'extra_args', 'alt_name', 'groupby', 'metadata')


class Remark(NamedTuple):
    """A remark on a definition; *path* is its path in the file."""

    path: metrics.Path
    text: str


class Translation(NamedTuple):
    """A translated file.

    :ivar content: a file of the collector metering, as YAML has it.
    :ivar notes: what counts differently from now on, or needs something else.
    :ivar missing: definitions without counterpart, which are left out.
    """

    content: dict[str, Any]
    notes: list[Remark]
    missing: list[Remark]


class _NoCounterpart(Exception):
    """A definition has no counterpart; the text is the reason."""


def translate(content: Any, scope_key: str) -> Translation:
    """Return the translation of a parsed definition file.

    :raises InvalidInput: the file is wrong.
    """
    good, problems = metrics.read(content, scope_key=scope_key)
    if problems:
        raise errors.InvalidInput(reason=problems[0].text)
    made: dict[str, list[dict[str, Any]]] = {}
    notes: list[Remark] = []
    missing: list[Remark] = []
    for path, metric in good.items():
        raw = content
        for step in path:
            raw = raw[step]
        one = _Definition(metric, raw)
        try:
            name, form = one.translated()
        except _NoCounterpart as exc:
            missing.append(Remark(path, f'{metrics.describe_place(path)}: {exc}'))
            continue
        made.setdefault(name, []).append(form)
        notes += [Remark(path, f'{metrics.describe_place(path)}: {text}') for text in one.notes]
    forms = {name: found[0] if len(found) == 1 else found for name, found in made.items()}
    return Translation({'metrics': forms}, notes, missing)


class _Definition:
    """One definition, with its remarks."""

    def __init__(self, metric: metrics.Metric, raw: Mapping[str, Any]) -> None:
        self._metric = metric
        self._raw = raw
        self.notes: list[str] = []

    def translated(self) -> tuple[str, dict[str, Any]]:
        """Return the name of the meter and the definition.

        :raises _NoCounterpart: there is none.
        :raises InvalidInput: its parameters are wrong.
        """
        if self._metric.collector not in (None, GNOCCHI):
            raise _NoCounterpart(f'is of collector {self._metric.collector!r}')
        args = gnocchi_query.check_extra_args(metrics.mapping(self._raw.get('extra_args', {})))
        meter, kind, method = self._measured(args)
        form = {key: value for key, value in self._raw.items() if key not in _DROPPED}
        if meter != self._metric.published_name:
            form['alt_name'] = self._metric.published_name
        form |= {name: kept for name in ('groupby', 'metadata') if (kept := self._kept(name))}
        form['extra_args'] = {'kind': kind}
        if method != quantities.METHODS_OF[kind][0]:
            form['extra_args']['aggregation_method'] = method
        self._compare(args, meter, kind, method)
        return meter, form

    def _measured(self, args: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return meter, kind and method."""
        name, measure = self._metric.name, args.get('measure')
        if measure is None and args['custom_query']:
            raise _NoCounterpart('custom_query has no counterpart')
        if measure == 'share':
            return self._existing(args['resource_type']), facts.STATE, quantities.DURATION
        if measure == 'increase' or (measure is None and _is_rate(args)):
            if name in STATES | GAUGES:
                raise _NoCounterpart(f'{name} does not count up, so nothing tells what it grew by')
            return name, facts.CUMULATIVE, 'sum'
        kind = facts.GAUGE
        if name in STATES:
            kind = facts.STATE
        elif name in COUNTERS:
            kind = facts.CUMULATIVE
        method = str(measure or args['aggregation_method'])
        if method == 'time_weighted' or (method == 'mean' and kind == facts.STATE):
            method = quantities.DURATION
        if method not in quantities.METHODS_OF[kind]:
            raise _NoCounterpart(f'{method} of a {kind} has no counterpart')
        return name, kind, method

    def _existing(self, resource_type: str) -> str:
        """Return the meter that says from when to when a resource existed."""
        name = self._metric.name
        if name in _ONES:
            return name
        if resource_type not in EXISTENCE:
            raise _NoCounterpart(f'nothing tells from when to when a {resource_type} existed')
        return EXISTENCE[resource_type]

    def _kept(self, name: str) -> list[str]:
        """Return the attributes of a key that usage has."""
        given = list(self._raw.get(name) or [])
        self.notes += [
            f'{name}: usage has no attribute {one}; it is left out'
            for one in given
            if one in UNKNOWN_ATTRIBUTES
        ]
        return [one for one in given if one not in UNKNOWN_ATTRIBUTES]

    def _compare(self, args: Mapping[str, Any], meter: str, kind: str, method: str) -> None:
        """Record what counts differently."""
        measure = args.get('measure')
        if args['resource_key'] != 'id':
            self.notes.append(f'resource_key {args["resource_key"]}: id is the one of the service')
        if not args['use_all_resource_revisions']:
            self.notes.append('use_all_resource_revisions: all that a resource was counts')
        if kind == facts.STATE and method == quantities.DURATION and measure in (None, 'mean'):
            self.notes.append(
                'what existed for a part of the period counted the whole one, and counts its part'
            )
            if self._metric.mutate not in ('NONE', 'NUMBOOL', 'NOTNUMBOOL'):
                self.notes.append(f'mutate {self._metric.mutate}: of the quantity times its part')
        if kind == facts.GAUGE and meter not in GAUGES:
            self.notes.append(
                f'{meter} is measured by no agent of this service: it needs Ceilometer, or '
                'somebody who pushes it'
            )


def _is_rate(args: Mapping[str, Any]) -> bool:
    return gnocchi_query.RATE in args['aggregation_method'] + args['re_aggregation_method']
