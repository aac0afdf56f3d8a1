"""What agents say of themselves is bounded, and refused if it is nothing that they say."""

import pytest

from cloudkitty import errors
from cloudkitty.core.metering import facts, message, reports

AT = 1_700_000_000 * facts.SECOND_US
PART = reports.Part('central', 'volumes', ('volume.size',), AT, AT + 1, True, True, 1, 1, ())
LONG = 'x' * (facts.NAME_LENGTH_MAX + 1)


def sent(made=PART, **changed):
    """Return the message of a list as the bus has it, with changes to its metadata."""
    form = message.build(next(reports.census(made, 'ab')))
    form['resource_metadata'].update(changed)
    return form


def test_a_list_arrives_as_it_was_made():
    assert reports.read_census(sent()) == PART._replace(resource_ids=('a', 'b'))


@pytest.mark.parametrize(
    'changed, reason',
    [
        ({'ids': f'a\n{LONG}'}, 'ids'),
        ({'ids': 'a\n\nb'}, 'ids'),
        ({'ids': '\n'.join(map(str, range(reports.PART_MAX + 1)))}, 'ids has more than 1000'),
        ({'meters': LONG}, 'meters'),
        ({'meters': ''}, 'a census has a meter'),
        ({'meters': '\n'.join(map(str, range(reports.METERS_MAX + 1)))}, 'meters has more than'),
        ({'producer': LONG}, 'producer'),
        ({'part': 0}, 'part 0 of 1'),
        ({'part': 2}, 'part 2 of 1'),
        ({'parts': reports.PARTS_MAX + 1}, 'parts is no whole number'),
        ({'part': True}, 'part is no whole number'),
        ({'is_complete': 1}, 'is_complete is neither'),
        ({'begin': None}, 'a time is missing'),
        ({'begin': '3000-01-01T00:00:00+00:00'}, 'between 1970 and 3000'),
        ({'begin': facts.render_us(AT + 2)}, 'ends after its begin'),
    ],
)
def test_what_no_agent_says_is_refused(changed, reason):
    with pytest.raises(errors.InvalidInput, match=reason):
        reports.read_census(sent(**changed))


def test_the_subject_of_a_list_is_a_name():
    with pytest.raises(errors.InvalidInput, match='subject of a census'):
        reports.read_census(sent(PART._replace(subject=LONG)))
