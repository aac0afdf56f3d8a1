"""The examples of doc/source/user/rating/hashmap.rst: rules made over REST, usage rated.

The page is for people, so that its examples are stated here again; section() returns what it says
of one, and Example.numbers every number that the section must name.
"""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import yaml

from cloudkitty.collector.file import FileCollector
from cloudkitty.core import timeframe
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.fetcher.source import SourceFetcher
from cloudkitty.processor import service
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.unit.core.pricing.tariffs import flat, level, rate

PAGE = pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'user' / 'rating' / 'hashmap.rst'
HASHMAP = '/v1/rating/module_config/hashmap'
HOUR = timedelta(hours=1)
# Numbers that the page spells out.
WORDS = {'Two': '2', 'Three': '3'}
METRICS = {
    'instance': {
        'unit': 'instance',
        'groupby': ['id'],
        'metadata': ['flavor', 'image', 'vcpus', 'ram'],
    },
    'volume.size': {'unit': 'GB', 'groupby': ['id']},
}


class Used(NamedTuple):
    """What a resource used in one period, and the price that the page names."""

    qty: str
    price: str
    attributes: Mapping[str, Any] = {}
    scope: str = 't0'


class Example(NamedTuple):
    """One example, by the title of its section."""

    title: str
    rules: tuple[Rule, ...]
    usage: tuple[Used, ...]

    @property
    def metric(self) -> str:
        return self.rules[0].service

    @property
    def resources(self) -> list[tuple[str, Used]]:
        """The usage with the id of each resource."""
        return [(f'{self.metric}-{number}', used) for number, used in enumerate(self.usage)]

    @property
    def numbers(self) -> set[Decimal]:
        """The numbers of the rules and of the usage."""
        found = [one.cost for one in self.rules]
        found += [one.level for one in self.rules if one.level is not None]
        texts = [one.value for one in self.rules if one.value is not None]
        for used in self.usage:
            texts += [used.qty, used.price, *map(str, used.attributes.values())]
        return {*found, *(Decimal(text) for text in texts if text.replace('.', '').isdigit())}


ALL = {'flavor': 'm1.tiny', 'image': 'img1', 'vcpus': 2}
DISCOUNT: dict[str, Any] = {'service': 'volume.size', 'group': 'vt'}
ATTRIBUTES = Example(
    'By flavor, image and number of CPUs',
    (
        flat('1.25'),
        flat('0.5', field='flavor', value='m1.tiny'),
        flat('2', field='image', value='img1'),
        rate('1.5', field='vcpus', value='2'),
    ),
    (
        Used('1', '3', ALL),
        Used('4', '12', ALL),
        Used('1', '1.25', {'flavor': 'm1.tiny'}),
        Used('1', '1.875', {'flavor': 'm1.tiny', 'vcpus': 2}),
    ),
)
VOLUMES = Example(
    'A discount for large volumes',
    (
        flat('0.001', **DISCOUNT),
        rate('0.98', level=level(50), **DISCOUNT),
        rate('0.95', level=level(200), **DISCOUNT),
        rate('0.97', level=level(50), scope='t1', **DISCOUNT),
    ),
    tuple(
        Used(qty, price, scope=scope)
        for qty, *prices in (
            ('20', '0.02', '0.02'),
            ('50', '0.049', '0.0485'),
            ('80', '0.0784', '0.0776'),
            ('250', '0.2375', '0.2375'),
        )
        for scope, price in zip(('t0', 't1'), prices, strict=True)
    ),
)
EXAMPLES = (
    Example(
        'A price per gigabyte and hour',
        (flat('0.25', service='volume.size'),),
        (Used('10', '2.5'),),
    ),
    ATTRIBUTES,
    Example(
        'Charges that add up',
        (
            flat('0.5', field='flavor', value='m1.tiny', group='A'),
            rate('1.5', field='vcpus', value='2', group='A'),
            flat('2', field='image', value='img1', group='B'),
            flat('0.1'),
        ),
        (Used('3', '8.55', ALL),),
    ),
    VOLUMES,
    Example(
        'A fee from a quantity on',
        (flat('0.5'), flat('3', level=level(5)), flat('4.5', level=level(8))),
        (Used('4', '2'), Used('5', '5.5'), Used('10', '9.5')),
    ),
    Example(
        'A price by the level of an attribute',
        (
            flat('0.5'),
            flat('0.75', field='ram', level=level(1024)),
            rate('3', field='ram', level=level(4096)),
        ),
        (
            Used('2', '1', {'ram': 512}),
            Used('2', '2.5', {'ram': 1024}),
            Used('2', '3', {'ram': 4096}),
        ),
    ),
)


def sections() -> dict[str, str]:
    """Return the examples of the page, by title."""
    examples = PAGE.read_text().partition('\nExamples\n========\n')[2]
    examples = re.split(r'\n[^\n]+\n={3,}\n', examples)[0]
    _, *parts = re.split(r'\n([^\n]+)\n-{3,}\n', examples)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def numbers_of(section: str) -> set[Decimal]:
    """Return the numbers that a section names; those within names, as in m1.tiny, are none."""
    for word, number in WORDS.items():
        section = re.sub(rf'\b{word}\b', number, section)
    return set(map(Decimal, re.findall(r'(?<![\w.])\d+(?:\.\d+)?(?!\w|\.\w)', section)))


def make_rules(application, rules: Iterable[Rule], begin: datetime) -> None:
    """Make *rules* over REST; mappings are valid from *begin* on."""
    made: dict[tuple[Any, ...], str] = {}

    def post(kind, **form):
        """Return the id of an object, made unless there is one."""
        key = (kind, *form.values())
        if key not in made:
            answer = world.call(application, f'{HASHMAP}/{kind}s', 'POST', json=form)
            assert answer.status_int == 201, answer.text
            made[key] = answer.json[f'{kind}_id']
        return made[key]

    world.call(application, '/v2/rating/modules/hashmap', 'PUT', json={'enabled': True})
    for rule in rules:
        service_id = post('service', name=rule.service)
        form = {'cost': str(rule.cost), 'type': rule.type, 'service_id': service_id}
        if rule.field is not None:
            form['field_id'] = post('field', name=rule.field, service_id=form.pop('service_id'))
        if rule.group is not None:
            form['group_id'] = post('group', name=rule.group)
        form |= {'value': rule.value} if rule.value is not None else {}
        form |= {'tenant_id': rule.scope} if rule.scope is not None else {}
        if rule.level is not None:
            path, form['level'] = 'thresholds', str(rule.level)
        else:
            path, form['start'] = 'mappings?force=true', begin.isoformat()
        answer = world.call(application, f'{HASHMAP}/{path}', 'POST', json=form)
        assert answer.status_int == 201, answer.text


def write_usage(made: world.World, examples: Sequence[Example], begin: datetime) -> None:
    """Let *made* collect the usage of *examples*, all in the hour from *begin* on."""
    lines = [
        {
            'begin': timeframe.render(begin),
            'end': timeframe.render(begin + HOUR),
            'metric': example.metric,
            'project_id': used.scope,
            'quantity': used.qty,
            'id': resource,
            **used.attributes,
        }
        for example in examples
        for resource, used in example.resources
    ]
    (made.folder / 'usage.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (made.folder / 'metrics.yml').write_text(yaml.safe_dump({'metrics': METRICS}))
    made.conf.register_opts(FileCollector.OPTS, group='collector_file')
    made.conf.register_opts(SourceFetcher.OPTS, group='fetcher_source')
    for group, name, value in (
        ('collect', 'collector', 'file'),
        ('collect', 'start_date', timeframe.render(begin)),
        ('collector_file', 'files', [str(made.folder / 'usage.jsonl')]),
        ('fetcher', 'backend', 'source'),
        (
            'fetcher_source',
            'sources',
            sorted({used.scope for one in examples for used in one.usage}),
        ),
        ('orchestrator', 'coordination_url', f'file://{made.folder}/locks'),
    ):
        made.conf.set_override(name, value, group)


def rate_usage(made: world.World, now: datetime) -> None:
    """Rate all that is due at *now*."""
    service.build(made.conf, 0, clock=lambda: now).worker.turn()
