"""Samples with known values, one a minute, that the tests' Prometheus has.

| metric | series |
| --- | --- |
| test_vcpus | alpha/web 1; alpha/db 4 until half time; beta/job 1, from half time on 2 |
| test_volume_gib | alpha/disk-a 20; beta/disk-b 10, nothing in hours 2 and 3 |
| test_cpu_seconds_total | alpha/web +30 a minute; beta/job +15 a minute, restarted at half time |
| test_strange_values | alpha/nan NaN; alpha/inf +Inf; alpha/minus -Inf; alpha/fine 3; beta/fine 5 |
| test_odd_scopes | a series of each of ODD_SCOPES, the first 1, the second 2, ... |

Half time is right before the sample of hour 3.
"""

from datetime import UTC, datetime, timedelta

from cloudkitty.core.timeframe import Period
from cloudkitty.tests.services import Family

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOURS = 6
ODD_SCOPES = (
    'it"s',
    "it's",
    '{project_id="alpha"}',
    '"} or vector(1) #',
    '\\',
    'back\\slash',
    '\\"',
    '\\d',
    '.*',
    '.+',
    '.',
    '|',
    'alpha|beta',
    '^alpha$',
    '(?i)alpha',
    '(',
    '[a-z]+',
    'a{2}',
    '$1',
    '%s',
    'ALPHA',
    ' alpha',
    'alpha ',
    'two\nlines',
    'a\ttab',
    'a,b',
    'Zürich',
    'Zu\u0308rich',
    '東京',
    '😀',
    '\u200b',
    'x' * 255,
    '\\n',
    '`',
    '#',
    '-',
    '~',
    '&',
    '0',
)

_MINUTES = HOURS * 60
_HALF = _MINUTES // 2
_START = int(BEGIN.timestamp())


def hour(number: int) -> Period:
    """Return the hour *number* of the history, from 0."""
    begin = BEGIN + timedelta(hours=number)
    return Period(begin, begin + timedelta(hours=1))


PERIODS = [hour(number) for number in range(HOURS)]


def _series(project_id, resource, value, **labels):
    samples = [(_START + minute * 60, value(minute)) for minute in range(_MINUTES + 1)]
    return (
        {'project_id': project_id, 'resource': resource, **labels},
        [(instant, sample) for instant, sample in samples if sample is not None],
    )


FAMILIES = [
    Family(
        'test_vcpus',
        'gauge',
        [
            _series('alpha', 'web', lambda i: 1, flavor='m1.small'),
            _series('alpha', 'db', lambda i: 4 if i < _HALF else None, flavor='m1.large'),
            _series('beta', 'job', lambda i: 1 if i < _HALF else 2, flavor='m1.small'),
        ],
    ),
    Family(
        'test_volume_gib',
        'gauge',
        [
            _series('alpha', 'disk-a', lambda i: 20, volume_type='ssd'),
            _series('beta', 'disk-b', lambda i: None if 120 <= i <= 240 else 10, volume_type='hdd'),
        ],
    ),
    Family(
        'test_cpu_seconds_total',
        'counter',
        [
            _series('alpha', 'web', lambda i: i * 30),
            _series('beta', 'job', lambda i: (i if i < _HALF else i - _HALF) * 15),
        ],
    ),
    Family(
        'test_strange_values',
        'gauge',
        [
            _series('alpha', 'nan', lambda i: 'NaN'),
            _series('alpha', 'inf', lambda i: '+Inf'),
            _series('alpha', 'minus', lambda i: '-Inf'),
            _series('alpha', 'fine', lambda i: 3),
            _series('beta', 'fine', lambda i: 5),
        ],
    ),
    Family(
        'test_odd_scopes',
        'gauge',
        [
            _series(scope_id, 'one', lambda i, value=number: value)
            for number, scope_id in enumerate(ODD_SCOPES, 1)
        ],
    ),
]


def usage():
    """Yield every tenth sample, if finite, as a line of a file with usage has it, a dict.

    They have the values that all samples have, at a tenth of the time to read them.
    """
    for family in FAMILIES:
        for labels, samples in family.series:
            for instant, value in samples[::10]:
                if not isinstance(value, str):
                    yield {
                        'timestamp': datetime.fromtimestamp(instant, UTC).isoformat(),
                        'metric': family.name,
                        'quantity': value,
                        **labels,
                    }
