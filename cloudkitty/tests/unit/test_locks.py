"""Locks through tooz."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from cloudkitty import errors, locks
from cloudkitty.tests import conftest, lock_servers, services

NAME = locks.name('shard-1/4', collector='prometheus', fetcher='source', scope_key='project_id')


LIFE_S = 2
# Holds the lock until it is killed; the word tells that it has it.
HOLDER = """
import sys, threading
from cloudkitty import locks
with locks.Locks(sys.argv[1]).hold(sys.argv[2].encode()) as is_held:
    print('held' if is_held else 'not held', flush=True)
    threading.Event().wait()
"""


@pytest.fixture(scope='session')
def leases(tmp_path_factory):
    """URLs of locks that end when their holder is silent, by kind."""
    with (
        lock_servers.Redis(tmp_path_factory.mktemp('redis')) as redis,
        lock_servers.Etcd(tmp_path_factory.mktemp('etcd')) as etcd,
    ):
        yield {'redis': redis.lock_url(LIFE_S), 'etcd': etcd.lock_url(LIFE_S)}


@pytest.fixture(params=['file', 'postgresql', 'mysql', 'redis', 'etcd'])
def url(request, tmp_path):
    """A lock service of each kind that is documented."""
    servers = {
        'postgresql': f'{conftest.SERVERS["postgresql"]}/postgres',
        'mysql': f'{conftest.SERVERS["mariadb"]}/mysql',
    }
    if request.param == 'file':
        return f'file://{tmp_path}/a/b'
    if request.param in servers:
        return f'{request.param}://{servers[request.param].partition("://")[2]}'
    return request.getfixturevalue('leases')[request.param]


def test_a_lock_has_one_holder(url):
    first, second = locks.Locks(url), locks.Locks(url)

    with first.hold(NAME) as is_first:
        with second.hold(NAME) as is_second, second.hold(b'0' * 64) as is_another:
            assert (is_first, is_second, is_another) == (True, False, True)
    with second.hold(NAME) as is_second:
        assert is_second
    first.close()
    second.close()


def test_the_lock_of_a_worker_that_is_killed_goes_to_another_and_not_before(url):
    """A holder that lives keeps it for longer than a lease; a dead one for no more than that."""
    name, other = os.urandom(16).hex(), locks.Locks(url)

    def is_free():
        with other.hold(name.encode()) as is_held:
            return is_held

    with subprocess.Popen(
        [sys.executable, '-c', HOLDER, url, name], text=True, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout.readline() == 'held\n'
            begin = time.monotonic()
            while time.monotonic() < begin + (LIFE_S + 1 if 'timeout' in url else 0):
                assert not is_free()
            assert not is_free()
        finally:
            holder.kill()
    services.wait_until(is_free, deadline_s=LIFE_S + 3, what='the takeover')
    other.close()


@pytest.mark.parametrize('scope_key', ['project_id', 'Zürich', '\u200b'])
def test_a_name_is_plain_whatever_it_is_made_of(scope_key):
    """An id beyond ASCII kills no worker."""
    name = locks.name('x', collector='c', fetcher='f', scope_key=scope_key)

    assert len(name) == 64 and int(name, 16)
    assert name != NAME


def test_without_a_lock_service_no_lock_is_had_and_it_is_asked_ever_more_rarely(tmp_path, caplog):
    """One line in the log says that it went, and one that it is back."""
    caplog.set_level('INFO', 'cloudkitty')
    in_the_way = tmp_path / 'locks'
    in_the_way.write_text('not a directory')
    seconds = [0.0]
    tried = []

    class Watched(locks.Locks):
        def _lose(self, exc):
            tried.append(seconds[0])
            super()._lose(exc)

    mine = Watched(f'file://{in_the_way}', clock=lambda: seconds[0])

    for _ in range(40):
        with mine.hold(NAME) as is_held:
            assert not is_held
        seconds[0] += 1
    assert tried == [0, 1, 3, 7, 15, 31]
    in_the_way.unlink()
    seconds[0] = 100
    with mine.hold(NAME) as is_held:
        assert is_held

    assert [record.levelname for record in caplog.records] == ['ERROR', 'INFO']
    mine.close()


@pytest.mark.parametrize(
    'url, reason',
    [
        ('nothing://host', 'nothing:// cannot be used'),
        ('file:///proc/nothing', 'file:// cannot be used'),
        ('', 'no:// cannot be used'),
        ('postgresql://postgres:secret@127.0.0.1:1/x', 'postgresql:// cannot be used'),
        ('redis://:secret@127.0.0.1:1', 'redis:// cannot be used'),
    ],
)
def test_a_lock_service_that_cannot_be_used_is_one_clear_line(url, reason):
    """Without the password."""
    with pytest.raises(errors.ConfigurationError) as caught:
        locks.check(url)

    assert str(caught.value).startswith(f'[orchestrator]coordination_url: {reason}')
    assert '\n' not in str(caught.value)
    assert 'secret' not in str(caught.value)


def test_the_directory_of_a_file_lock_is_made(tmp_path):
    locks.check(f'file://{tmp_path}/new/deep')

    assert os.path.isdir(pathlib.Path(tmp_path, 'new', 'deep'))
