"""Each example of the page on hashmap, from rules over REST to the reasons for the stored price."""

import functools
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.core import decimals
from cloudkitty.tests.functional import hashmap_page
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.unit.core.pricing.tariffs import value_of

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)


def _title(example):
    return example.title


@pytest.fixture
def rated(request, tmp_path, sqlite_template):
    """An application after the processor has rated the usage of an example."""
    with world.opened(tmp_path, sqlite_template) as made:
        hashmap_page.write_usage(made, [request.param], BEGIN)
        application = made.noauth()
        hashmap_page.make_rules(application, request.param.rules, BEGIN)
        hashmap_page.rate_usage(made, BEGIN + 3 * hashmap_page.HOUR)
        yield request.param, application


def _ask(application, path):
    """Return the answer with the digits that were sent."""
    answer = world.call(application, path)
    assert answer.status_int == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)


def _explained(application, kind, resource, used):
    """Return the only point of a resource."""
    path = f'/v2/explain{kind}?scope_id={used.scope}&resource={resource}&period=2024-05-01'
    (found,) = _ask(application, path)['results']
    (point,) = found['points']
    return point


def _stored(application):
    """Return the prices of all resources."""
    table = _ask(application, '/v2/summary?groupby=id&begin=2024-05-01&end=2024-05-02')
    rows = [dict(zip(table['columns'], row, strict=True)) for row in table['results']]
    return {row['id']: row['rate'] for row in rows}


@pytest.mark.parametrize('rated', hashmap_page.EXAMPLES, ids=_title, indirect=True)
def test_the_reasons_add_up_to_the_stored_price_to_the_last_digit(rated):
    """From the source as from the storage; each amount is what the numbers before it make."""
    example, application = rated
    stored = _stored(application)

    assert stored == {name: Decimal(used.price) for name, used in example.resources}
    for resource, used in example.resources:
        for kind in ('', '/stored'):
            point = _explained(application, kind, resource, used)
            (step,) = point['steps']
            amounts = [one['amount'] for one in step['amounts']]
            assert functools.reduce(decimals.CONTEXT.add, amounts) == stored[resource]
            assert step['price'] == point['price'] == stored[resource]
            assert point.get('stored', point['price']) == stored[resource]
            for one in step['amounts']:
                assert value_of(one['expression']) == one['amount']


@pytest.mark.parametrize('example', hashmap_page.EXAMPLES, ids=_title)
def test_the_page_names_the_numbers_of_the_example(example):
    section = hashmap_page.sections()[example.title]

    assert hashmap_page.numbers_of(section) == example.numbers


def test_every_example_of_the_page_is_tried():
    assert list(hashmap_page.sections()) == [example.title for example in hashmap_page.EXAMPLES]
