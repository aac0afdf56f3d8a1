"""Sessions with a token, as a section says."""

import pytest

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.clients import keystone

GROUP = 'fetcher_keystone'


@pytest.fixture
def section(conf):
    conf.register_opts(keystone.OPTS, GROUP)
    return conf


def load(conf, **options):
    for name, value in options.items():
        conf.set_override(name, value, GROUP)
    return keystone.load_session(conf, GROUP)


def test_a_session_has_a_timeout_unless_told_otherwise(section):
    assert load(section, auth_type='none').timeout == keystone.TIMEOUT_S
    assert load(section, timeout=5).timeout == 5


def test_a_timeout_of_zero_is_refused(section):
    with pytest.raises(ValueError):
        section.set_override('timeout', 0, GROUP)


@pytest.mark.parametrize(
    'options, told',
    [
        ({}, '[fetcher_keystone]auth_type is missing'),
        ({'auth_type': 'nonsense'}, '[fetcher_keystone]: '),
        ({'auth_type': 'password'}, '[fetcher_keystone]: '),
    ],
)
def test_what_is_missing_is_said_with_its_section(section, options, told):
    with pytest.raises(errors.ConfigurationError) as caught:
        load(section, **options)

    assert told in str(caught.value)


def test_options_can_be_read_by_a_driver(conf):
    options = configuration.register_driver(conf, GROUP, keystone.OPTS)

    assert options.insecure is False
