"""Every command of the released client, with a password for a real Keystone."""

import json
import os
import subprocess
import sys
from importlib import metadata
from typing import NamedTuple

import pytest

SPAN = '-b 2019-01-01T00:00:00 -e 2019-02-01T00:00:00'
LATER = '2019-03-01T00:00:00+00:00'
# Runs the commands that it is told one after the other, in one process; what one shows can be an
# argument of the next.
RUNNER = """
import contextlib, io, json, sys
from cloudkittyclient.shell import main
options, steps = json.load(sys.stdin)
known, ended = {}, []
for words, kept in steps:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            status = main(options + [word.format(**known) for word in words])
        except SystemExit as exc:  # an argument that argparse does not understand
            status = exc.code
    if isinstance(status, dict):  # "scope patch" takes its answer for a status
        status = 0
    ended.append([status, output.getvalue()])
    if status:
        break
    for name, column in kept.items():
        known[name] = json.loads(output.getvalue())[0][column]
print(json.dumps(ended))
"""


class Step(NamedTuple):
    """A command.

    :ivar words: {NAME} is what an earlier step kept, {alpha} the id of the project.
    :ivar shown: columns of the first row, {}: an empty table; None: the command shows nothing.
    :ivar kept: names for values of the first row, by column.
    """

    words: str
    shown: dict | None
    kept: dict = {}


RULES = [
    Step('hashmap mapping-types list', {'Mapping types': 'flat'}),
    Step('hashmap service create client', {'Name': 'client'}, {'service': 'Service ID'}),
    Step('hashmap service get {service}', {'Name': 'client'}),
    Step('hashmap service list', {'Name': 'client'}),
    Step('hashmap field create {service} flavor', {'Name': 'flavor'}, {'field': 'Field ID'}),
    Step('hashmap field get {field}', {'Name': 'flavor'}),
    Step('hashmap field list {service}', {'Name': 'flavor'}),
    Step('hashmap group create g', {'Name': 'g'}, {'group': 'Group ID'}),
    Step('hashmap group list', {'Name': 'g'}),
    Step(
        'hashmap mapping create 0.25 --field-id {field} --value m1 -g {group} -p {alpha}'
        ' --start 2090-01-01 --end 2100-01-31 --name n --description d',
        {'Cost': '0.2500000000000000000000000000'},
        {'mapping': 'Mapping ID'},
    ),
    Step('hashmap mapping get {mapping}', {'Value': 'm1'}),
    Step('hashmap mapping list --field-id {field}', {'Value': 'm1'}),
    Step('hashmap mapping update {mapping} --cost 0.5', {'Cost': '0.5000000000000000000000000000'}),
    Step('hashmap group mappings get {group}', {'Cost': '0.5000000000000000000000000000'}),
    Step(
        'hashmap threshold create 10 0.9 -s {service} -t rate -g {group}',
        {'Level': '10.00000000'},
        {'threshold': 'Threshold ID'},
    ),
    Step('hashmap threshold get {threshold}', {'Type': 'rate'}),
    Step('hashmap threshold list -s {service}', {'Type': 'rate'}),
    Step('hashmap threshold update {threshold} -l 20', {'Level': '20.00000000', 'Type': 'rate'}),
    Step('hashmap group thresholds get {group}', {'Level': '20.00000000'}),
    Step('hashmap mapping delete {mapping}', None),
    Step('hashmap threshold delete {threshold}', None),
    Step('hashmap group delete --recursive {group}', None),
    Step('hashmap field delete {field}', None),
    Step('hashmap service delete {service}', None),
    Step(
        'pyscript create one {script_file} --description d',
        {'Name': 'one'},
        {'script': 'Script ID'},
    ),
    Step('pyscript get {script}', {'Name': 'one', 'Data': 'pass\n'}),
    Step('pyscript list -n', {'Name': 'one'}),
    Step('pyscript update {script} --end 2100-01-31', {'Name': 'one'}),
    Step('pyscript delete {script}', None),
]
SERVICE = [
    Step('info config get', {'Section': 'metrics'}),
    Step('info metric list', {'Metric': 'instance'}),
    Step('info metric get image.count', {'Metric': 'image.count', 'Unit': 'image'}),
    Step('module list', {'Module': 'hashmap'}),
    Step('module enable hashmap', {'Enabled': True}),
    Step('module set priority hashmap 7', {'Priority': 7}),
    Step('module get hashmap', {'Enabled': True, 'Priority': 7}),
    Step('module disable hashmap', {'Enabled': False}),
    Step('collector-mapping create client gnocchi', {'Service': 'client'}),
    Step('collector-mapping get client', {'Collector': 'gnocchi'}),
    Step('collector-mapping list --collector gnocchi', {'Service': 'client'}),
    Step('collector-mapping delete client', None),
    Step('collector enable gnocchi', {'Collector': 'gnocchi', 'State': True}),
    Step('collector state get gnocchi', {'State': True}),
    Step('collector disable gnocchi', {'State': False}),
    Step(f'report tenant list {SPAN}', {'Tenant ID': '{first}'}),
]
STEPS = {
    '1': [
        *SERVICE,
        *RULES,
        Step(
            f'summary get {SPAN} -t {{alpha}} -g res_type',
            {'Resource Type': 'instance', 'Rate': '0.5'},
        ),
        Step(f'total get {SPAN} -t {{alpha}}', {'Total': 0.6}),
        Step(f'dataframes get {SPAN} -p {{alpha}}', {'Begin': '2019-01-01T00:00:00'}),
    ],
    '2': [
        *SERVICE,
        *RULES,
        Step(
            f'summary get {SPAN} -g type --filter project_id:{{alpha}}',
            {'Type': 'instance', 'Rate': 0.5},
        ),
        Step(f'dataframes get {SPAN} --filter project_id:{{alpha}}', {'Metric Type': 'instance'}),
        Step('dataframes add {frames_file}', None),
        Step('scope state get --scope-id {alpha}', {'Scope ID': '{alpha}'}),
        Step('scope patch -id {alpha} --collector prometheus --active 1', None),
        Step('scope state reset --scope-id {alpha} ' + LATER, None),
        Step(
            'tasks reprocessing create --scope-id {alpha} --reason test'
            ' --start-reprocess-time 2019-01-01T00:00:00Z'
            ' --end-reprocess-time 2019-01-01T02:00:00Z',
            {},
        ),
        Step('tasks reprocessing get --scope-id {alpha}', {'Scope ID': '{alpha}'}),
    ],
}


def _commands(version):
    """Return the commands of the client, as it registers them."""
    return {
        entry.name.replace('_', ' ')
        for entry in metadata.entry_points(group=f'cloudkittyclient_v{version}')
    }


def _command_of(words, commands):
    return max((command for command in commands if f'{words} '.startswith(f'{command} ')), key=len)


@pytest.fixture
def run(cloud):
    """Run steps as a user: run(version, steps, user, project); returns [(status, output)]."""

    def run_as(version, steps, user, project):
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith('OS_')},
            'OS_AUTH_TYPE': 'password',
            'OS_AUTH_URL': f'{cloud.keystone.url}/v3',
            'OS_USERNAME': user,
            'OS_PASSWORD': user,
            'OS_PROJECT_NAME': project,
            'OS_USER_DOMAIN_ID': 'default',
            'OS_PROJECT_DOMAIN_ID': 'default',
            'OS_REGION_NAME': 'RegionOne',
        }
        ended = subprocess.run(
            [sys.executable, '-c', RUNNER],
            env=variables,
            capture_output=True,
            text=True,
            timeout=200,
            input=json.dumps([['--os-rating-api-version', version], steps]),
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout), ended.stderr

    return run_as


@pytest.fixture
def texts(cloud, tmp_path):
    """What stands for the names in steps that no step makes."""
    (tmp_path / 'script.py').write_text('pass\n')
    # In another year and project than what other tests look at.
    project_id = cloud.keystone.project_id('elsewhere')
    (tmp_path / 'frames.json').write_text(
        json.dumps(
            {
                'dataframes': [
                    {
                        'period': {
                            'begin': '2018-01-01T00:00:00+00:00',
                            'end': '2018-01-01T01:00:00+00:00',
                        },
                        'usage': {
                            'disk': [
                                {
                                    'vol': {'unit': 'GiB', 'qty': 1},
                                    'rating': {'price': 2},
                                    'groupby': {'project_id': project_id},
                                    'metadata': {},
                                }
                            ]
                        },
                    }
                ]
            }
        )
    )
    rated = [cloud.keystone.project_id(name) for name in ('alpha', 'beta')]
    return {
        '{alpha}': rated[0],
        '{first}': min(rated),
        '{script_file}': str(tmp_path / 'script.py'),
        '{frames_file}': str(tmp_path / 'frames.json'),
    }


@pytest.mark.parametrize('version', ['1', '2'])
def test_every_command_works(run, texts, version):
    """The client's own list says which there are."""
    steps = STEPS[version]
    commands = _commands(version)
    assert {_command_of(step.words, commands) for step in steps} == commands

    ended, errors = run(version, [_prepared(step, texts) for step in steps], 'admin', 'admin')

    for step, (status, output) in zip(steps, ended, strict=False):
        assert status == 0, (step.words, output, errors[-2000:])
        if step.shown is None:
            assert output == '', step.words
            continue
        row = _first_row(output)
        expected = {column: texts.get(value, value) for column, value in step.shown.items()}
        assert expected.items() <= row.items() if expected else not row, (step.words, row)
    assert len(ended) == len(steps)


def _first_row(output):
    shown = json.loads(output)
    if isinstance(shown, list):
        return shown[0] if shown else {}
    return shown


def _prepared(step, texts):
    words = [texts.get(word, word) for word in step.words.split()]
    words = [word.replace('{alpha}', texts['{alpha}']) for word in words]
    return [words if step.shown is None else [*words, '-f', 'json'], step.kept]


@pytest.mark.parametrize('user, project, total', [('alice', 'alpha', 0.6), ('bob', 'beta', 1.5)])
def test_a_user_sees_the_cost_of_the_own_project(run, user, project, total):
    [[status, output]], errors = run(
        '1', [[f'total get {SPAN} -f json'.split(), {}]], user, project
    )

    assert (status, json.loads(output)) == (0, {'Total': total}), errors


def test_a_user_who_may_not_is_told_so(run):
    [[status, _]], errors = run('2', [[['module', 'list'], {}]], 'alice', 'alpha')

    assert status != 0
    assert "Policy doesn't allow v2_rating:list_modules to be performed." in errors
