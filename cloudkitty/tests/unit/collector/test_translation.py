"""Definitions of the collector gnocchi as ones of the collector metering."""

import pathlib

import pytest
import yaml

from cloudkitty import errors
from cloudkitty.collector import translation
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.collector.metering import MeteringCollector

OURS = pathlib.Path(__file__).resolve().parents[4] / 'etc/cloudkitty/metrics.yml'


def translate(content):
    """Return what became of *content*, which both collectors accept."""
    GnocchiCollector.check_configuration(content, 'project_id')
    made = translation.translate(content, 'project_id')
    if made.content['metrics']:
        MeteringCollector.check_configuration(made.content, 'project_id')
    return made


def of(name, extra_args, **more):
    """Return the definition of one metric, and what became of it."""
    given = {'unit': 'u', 'extra_args': {'resource_type': 'instance', **extra_args}, **more}
    return translate({'metrics': {name: given}})


def test_our_own_definitions():
    """All of them have a counterpart; names under which they are rated stay."""
    content = yaml.safe_load(OURS.read_text())

    made = translate(content)

    assert made.missing == []
    before = GnocchiCollector.check_configuration(content, 'project_id').values()
    after = MeteringCollector.check_configuration(made.content, 'project_id').values()
    shown = [
        {(one.published_name, one.unit, one.factor, one.mutate) for one in found}
        for found in (before, after)
    ]
    assert shown[0] == shown[1]
    assert made.content['metrics']['instance'] == {
        'unit': 'instance',
        'groupby': ['id', 'project_id', 'flavor_name', 'flavor_id'],
        'extra_args': {'kind': 'state'},
    }
    assert made.content['metrics']['network.incoming.bytes']['extra_args'] == {'kind': 'cumulative'}


@pytest.mark.parametrize(
    'name, extra_args, expected',
    [
        ('vcpus', {'measure': 'mean'}, {'kind': 'state'}),
        ('vcpus', {'measure': 'time_weighted'}, {'kind': 'state'}),
        ('vcpus', {'measure': 'max'}, {'kind': 'state', 'aggregation_method': 'max'}),
        # What the former release did: the largest value.
        ('volume.size', {}, {'kind': 'state', 'aggregation_method': 'max'}),
        ('memory.usage', {'measure': 'mean'}, {'kind': 'gauge', 'aggregation_method': 'mean'}),
        ('memory.usage', {'measure': 'time_weighted'}, {'kind': 'gauge'}),
        ('cpu', {'measure': 'increase'}, {'kind': 'cumulative'}),
        ('cpu', {'re_aggregation_method': 'rate:max'}, {'kind': 'cumulative'}),
        ('cpu', {'aggregation_method': 'rate:mean'}, {'kind': 'cumulative'}),
        ('cpu', {'aggregation_method': 'max'}, {'kind': 'cumulative', 'aggregation_method': 'max'}),
    ],
)
def test_how_a_meter_is_measured(name, extra_args, expected):
    made = of(name, extra_args)

    assert (made.missing, made.content['metrics'][name]['extra_args']) == ([], expected)


@pytest.mark.parametrize(
    'name, extra_args, more, reason',
    [
        ('vcpus', {'custom_query': 'x'}, {}, 'custom_query has no counterpart'),
        ('vcpus', {'measure': 'increase'}, {}, 'does not count up'),
        ('vcpus', {'aggregation_method': '95pct'}, {}, '95pct of a state'),
        ('memory.usage', {'aggregation_method': 'median'}, {}, 'median of a gauge'),
        (
            'volume.size',
            {'measure': 'share', 'resource_type': 'volume'},
            {},
            'from when to when a volume existed',
        ),
        ('vcpus', {}, {'collector': 'prometheus'}, "is of collector 'prometheus'"),
    ],
)
def test_what_has_no_counterpart_is_named(name, extra_args, more, reason):
    """And left out; the rest of the file stays."""
    given = {'unit': 'u', 'extra_args': {'resource_type': 'instance', **extra_args}, **more}
    memory = {'unit': 'MiB', 'extra_args': {'resource_type': 'instance', 'measure': 'max'}}

    made = translation.translate({'metrics': {name: given, 'memory': memory}}, 'project_id')

    (remark,) = made.missing
    assert remark.path == ('metrics', name)
    assert reason in remark.text
    assert list(made.content['metrics']) == ['memory']


@pytest.mark.parametrize(
    'name, extra_args, more, noted',
    [
        ('vcpus', {'measure': 'mean'}, {}, 'counts its part'),
        ('vcpus', {'measure': 'mean'}, {'mutate': 'CEIL'}, 'mutate CEIL'),
        ('vcpus', {'measure': 'max'}, {'groupby': ['user_id', 'id']}, 'no attribute user_id'),
        ('vcpus', {'measure': 'max', 'resource_key': 'host'}, {}, 'resource_key host'),
        (
            'vcpus',
            {'measure': 'max', 'use_all_resource_revisions': False},
            {},
            'use_all_resource_revisions',
        ),
        ('manila.share.size', {'measure': 'max'}, {}, 'measured by no agent'),
    ],
)
def test_what_counts_differently_is_noted(name, extra_args, more, noted):
    made = of(name, extra_args, **more)

    assert made.missing == []
    assert noted in ' '.join(remark.text for remark in made.notes)


def test_what_counts_the_same_needs_no_word():
    assert of('volume.size', {'measure': 'time_weighted'}).notes == []


def test_two_metrics_of_one_meter():
    """Become a list, as in the file of the other."""
    share = {'unit': 'u', 'extra_args': {'resource_type': 'instance', 'measure': 'share'}}
    content = {'metrics': {'cpu': {**share, 'alt_name': 'a'}, 'memory': {**share, 'alt_name': 'b'}}}

    made = translate(content)

    assert [one['alt_name'] for one in made.content['metrics']['instance']] == ['a', 'b']


def test_a_file_that_is_wrong():
    with pytest.raises(errors.InvalidInput):
        translation.translate({'metrics': {'cpu': {}}}, 'project_id')
