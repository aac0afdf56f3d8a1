"""cloudkitty-status upgrade check, as installers run it."""

import json
import pathlib
import subprocess
import sys

import pytest

from cloudkitty.cli import upgrade_check

BIN = pathlib.Path(sys.executable).parent
NAMES = [name for name, _ in upgrade_check.CHECKS]


@pytest.fixture
def check(tmp_path, database):
    """Run the command with a configuration, and files beside it; return the ended process."""

    def run(*arguments, text='', policy=None):
        (tmp_path / 'policy.json').unlink(missing_ok=True)
        if policy:
            name, content = policy
            (tmp_path / name).write_text(content)
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(
            f'[orchestrator]\ncoordination_url = file://{tmp_path}/locks\n'
            f'[database]\nconnection = {database.url}\n{text}'
        )
        return subprocess.run(
            [BIN / 'cloudkitty-status', '--config-file', path, 'upgrade', *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_all_is_well(check):
    """A table with the names that installers know first; status 0."""
    ended = check('check')

    assert ended.returncode == 0, ended.stderr
    assert '| Upgrade Check Results' in ended.stdout
    shown = [
        line.split('Check: ')[1].rstrip(' |')
        for line in ended.stdout.splitlines()
        if 'Check: ' in line
    ]
    assert shown == NAMES
    assert NAMES[:2] == ['Storage version', 'Policy File JSON to YAML Migration']
    assert ended.stdout.count('Result: Success') == len(NAMES)
    assert ended.stdout.count('Details: None') == len(NAMES)


@pytest.mark.parametrize(
    'text, policy, name, status, told',
    [
        ('[storage]\nversion = 1\nbackend = sqlalchemy', None, NAMES[0], 1, 'is inferior to 2'),
        ('', ('policy.json', '{}'), NAMES[1], 2, 'policy.json is not read'),
        ('', ('policy.yaml', '{"a": "b"}'), NAMES[1], 2, 'policy.yaml is JSON'),
        ('[database]\nconnection = sqlite://', None, NAMES[2], 2, 'holds no schema; run `cloud'),
        ('[storage]\nbackend = loki', None, NAMES[3], 2, "'loki' is only read, by `cloudkitty-"),
        ('[storage]\nretention_period = 24', None, NAMES[4], 1, 'rated points before 20'),
        ('[collect]\nwait_perids = 1', None, NAMES[5], 1, 'did you mean wait_periods?'),
        ('[DEFAULT]\napi_paste_config = none.ini', None, NAMES[6], 1, 'there is no such file'),
        ('[orchestrator]\ncoordination_url = redis://127.0.0.1:1', None, NAMES[8], 2, 'redis://'),
    ],
)
def test_each_trouble_is_found(check, text, policy, name, status, told):
    """It alone, with what to do; the status is that of the gravest."""
    ended = check('--json', 'check', text=text, policy=policy)

    assert ended.returncode == status, ended.stderr
    found = json.loads(ended.stdout)
    assert found['name'] == 'Upgrade Check Results'
    assert [one['check'] for one in found['checks']] == NAMES
    troubles = {one['check']: one for one in found['checks'] if one['result']}
    assert list(troubles) == [name]
    assert told in troubles[name]['details']
    assert troubles[name]['result'] == status


@pytest.mark.parametrize('own, code', [('America/Sao_Paulo', 1), ('UTC', 0), ('Mars/Base', 1)])
def test_the_zone_of_the_rules_is_named(former_25, conf, monkeypatch, own, code):
    """Before a former database is adopted on a machine whose zone is not UTC."""
    monkeypatch.setenv('TZ', own)

    result = upgrade_check.rule_time_zone(conf)

    assert result.code == code
    assert code == 0 or own in result.details
