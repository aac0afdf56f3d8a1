"""URLs of other services."""

import pytest

from cloudkitty.clients import urls


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('http://host:9090/api', 'http://host:9090/api'),
        ('http://user:word@host/api', 'http://host/api'),
        # Not encoded, as a URL requires it.
        ('http://user:w@rd@host/api', 'http://host/api'),
        ('http://user:w/rd@host/api', 'http://host/api'),
        (
            'no answer from http://user:word@one/ nor http://user:word@two/ of a@b',
            'no answer from http://one/ nor http://two/ of a@b',
        ),
    ],
)
def test_no_password_is_shown(text, shown):
    assert urls.hide_login(text) == shown


@pytest.mark.parametrize(
    'url', ['http://host', 'https://user:word@host:8041/', 'http://[::1]:80/path']
)
def test_the_address_of_a_service_is_taken(url):
    assert urls.is_address(url)


@pytest.mark.parametrize(
    'url',
    [
        None,
        '',
        'host:8041',
        'ftp://host',
        'http://',
        'http://host:0',
        'http://host:x',
        'http://[::1',
    ]
    + ['http://host:99999', 'http://host?a=b', 'http://host/#part', 'http://user:w/rd@host'],
)
def test_another_text_is_no_address(url):
    assert not urls.is_address(url)


def test_a_path_can_be_required():
    assert urls.is_address('http://host/prefix/api/v1/', '/api/v1')
    assert not urls.is_address('http://host/prefix', '/api/v1')
