"""A pool of scripts with a process of its own, and frames to run them on."""

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.rating.pyscripts import host, processor
from cloudkitty.rating.pyscripts.store import Script

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MIB = 1 << 20
LIMITS = host.Limits(
    time_s=20,
    memory_bytes=256 * MIB,
    output_bytes=2 * MIB,
    user='nobody',
    # Where the library of Python lies in the home of root, nobody cannot read it.
    preload=('subprocess', 'threading'),
)


def script(data, name='s', **values):
    """Return a script with this source."""
    checksum = hashlib.sha512((data or '').encode()).hexdigest()
    return Script(
        **{
            'name': name,
            'data': data,
            'checksum': checksum,
            'start': START,
            'script_id': f'id of {name}',
            'created_at': START,
            'created_by': 'me',
            **values,
        }
    )


def point(qty='4', price='0', **groupby):
    series = Series('GiB', {'project_id': 'p', **groupby}, {'flavor': 'm1'}, 'what it is')
    return DataPoint.of(series, Decimal(qty), Decimal(price), timeframe.calendar_of(START))


def frame(*points, **usage):
    """Return a frame with these points of the metric m, and others by metric."""
    named = {'m': points} if points else {}
    return DataFrame(START, START + HOUR, {**named, **usage})


class Pool(processor.ScriptPool):
    """Scripts by their sources."""

    def __init__(self, limits=LIMITS, **values):
        self.host = host.Host(limits)
        super().__init__([], self.host, scope_key='project_id', **values)

    def rate(self, given, *scripts):
        """Return what the scripts, or sources of scripts, make of a frame."""
        return self.run(
            [
                one if isinstance(one, Script) else script(one, f's{number}')
                for number, one in enumerate(scripts)
            ],
            given,
            'p',
        )


@pytest.fixture
def make_pool():
    """Return what makes pools, whose processes are ended after the test."""
    made = []

    def make(**limits):
        made.append(Pool(LIMITS._replace(**limits)))
        return made[-1]

    yield make
    for pool in made:
        pool.host.stop()


@pytest.fixture(scope='module')
def pool():
    """A pool that the tests of a module share."""
    shared = Pool()
    yield shared
    shared.host.stop()
