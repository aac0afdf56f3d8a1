"""The released Python client and its pyscripts commands, against a running API."""

import json
import subprocess
import sys

import pytest
from cloudkittyclient import auth, client
from keystoneauth1 import session
from keystoneauth1.exceptions.http import HttpError

SOURCE = """
import decimal

for name, points in data['usage'].items():
    for item in points:
        item['rating'] = {'price': item['vol']['qty'] * decimal.Decimal('0.1') + 1}
"""


@pytest.fixture
def rating(server):
    """The client's rating commands."""
    opened = session.Session(auth=auth.CloudKittyNoAuthPlugin(endpoint=server))
    return client.Client('1', session=opened).rating


def test_scripts_are_kept(rating):
    """All that the client does with scripts; it sends back the whole of what it read."""
    scripts = rating.pyscripts
    made = scripts.create_script(name='one', data=SOURCE)
    future = scripts.create_script(
        name='two', data='return 0', start='2090-01-01 00:00:00', end='2100-01-31', description='d'
    )
    assert scripts.list_scripts() == {'scripts': [made, future]}
    assert 'data' not in scripts.list_scripts(no_data=True)['scripts'][0]
    assert scripts.get_script(script_id=made['script_id']) == made
    assert (future['start'], future['end']) == ('2090-01-01T00:00:00', '2100-01-31T23:59:59')

    ended = scripts.update_script(script_id=made['script_id'], end='2100-01-31')
    assert ended == {**made, 'end': '2100-01-31T23:59:59', 'updated_by': 'unknown'}
    assert scripts.update_script(script_id=made['script_id']) == ended
    changed = scripts.update_script(script_id=future['script_id'], data='a = 1', name='three')
    assert changed == {
        **future,
        'name': 'three',
        'data': 'a = 1',
        'updated_by': 'unknown',
        'checksum': changed['checksum'],
    }
    assert changed['checksum'] != future['checksum']
    with pytest.raises(HttpError, match='already processed'):
        scripts.update_script(script_id=made['script_id'], data='a = 1')

    scripts.delete_script(script_id=made['script_id'])
    assert scripts.list_scripts() == {'scripts': [changed]}
    with pytest.raises(HttpError, match='No such script'):
        scripts.get_script(script_id=made['script_id'])


def test_a_script_decides_what_a_quote_says(rating):
    """The API runs scripts, too, in a process of its own; with a bad one there is no price."""
    resources = [{'service': 'compute', 'desc': {'flavor_id': 'f1'}, 'volume': 3}]
    bad = rating.pyscripts.create_script(name='a bad one', data='import os; os._exit(1)')
    rating.pyscripts.create_script(name='price', data=SOURCE)
    assert float(rating.get_quotation(res_data=resources)) == 0
    rating.update_module(module_id='pyscripts', enabled=True)
    with pytest.raises(HttpError, match="Script 'a bad one' cannot price this"):
        rating.get_quotation(res_data=resources)
    rating.pyscripts.delete_script(script_id=bad['script_id'])
    assert rating.get_quotation(res_data=resources) == '1.3'


def test_the_commands(server, tmp_path):
    source = tmp_path / 'script.py'
    source.write_text(SOURCE)

    def run(*arguments):
        shown = [] if 'delete' in arguments else ['-f', 'json']
        ended = subprocess.run(
            [
                sys.executable,
                '-c',
                'from cloudkittyclient.shell import main; main()',
                '--os-auth-type',
                'cloudkitty-noauth',
                '--os-endpoint',
                server,
                'pyscript',
                *arguments,
                *shown,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout) if shown else None

    [made] = run('create', 'one', str(source), '--start', '2090-01-01', '--description', 'd')
    assert (made['Name'], made['Data']) == ('one', SOURCE)
    assert run('get', made['Script ID']) == [made]
    [changed] = run('update', made['Script ID'], '--data', 'a = 1', '--end', '2100-01-31')
    assert (changed['Data'], changed['Script End Date']) == ('a = 1', '2100-01-31T23:59:59')
    assert [script['Name'] for script in run('list', '--no-data')] == ['one']
    run('delete', made['Script ID'])
    assert run('list') == []
