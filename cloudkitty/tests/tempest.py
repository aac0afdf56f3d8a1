"""Tempest with the plugin for the rating API."""

import os
import subprocess
from pathlib import Path

from cloudkitty.tests import keystone as keystones
from cloudkitty.tests import peers

RATING_TESTS = 'cloudkitty_tempest_plugin'
CONFIGURATION = """
[DEFAULT]
log_file = tempest.log
[oslo_concurrency]
lock_path = {workspace}/locks
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = admin
admin_password = admin
admin_project_name = admin
admin_domain_name = Default
[identity]
auth_version = v3
uri_v3 = {url}/v3
v3_endpoint_type = public
region = {region}
[service_available]
cloudkitty = true
cinder = false
glance = false
horizon = false
neutron = false
nova = false
swift = false
"""


def run(folder: Path, keystone: keystones.Keystone) -> subprocess.CompletedProcess:
    """Run every rating test against the service that the catalog of *keystone* names.

    :param folder: where its workspace and its log are made.
    """
    bin_folder = peers.environment('tempest')
    program = bin_folder / 'tempest'
    workspace = Path(folder) / 'workspace'
    # It keeps a list of its workspaces in HOME, and would run the tests with the caller's PYTHON.
    variables = {**os.environ, 'HOME': str(folder), 'PYTHON': str(bin_folder / 'python')}
    subprocess.run(
        [program, 'init', workspace], env=variables, check=True, timeout=60, capture_output=True
    )
    (workspace / 'etc' / 'tempest.conf').write_text(
        CONFIGURATION.format(workspace=workspace, url=keystone.url, region=keystones.REGION)
    )
    return subprocess.run(
        [program, 'run', '--regex', RATING_TESTS, '--concurrency', '1'],
        cwd=workspace,
        env=variables,
        text=True,
        capture_output=True,
        timeout=240,
    )
