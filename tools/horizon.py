"""Start Keystone, the API and Horizon, and let a browser use the rating panels.

Started by tools/horizon, which has installed what is needed.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.tests import peers, services
from cloudkitty.tests.keystone import Keystone
from cloudkitty.tests.rating_api import RatingApi

HERE = pathlib.Path(__file__).resolve().parent
SCREENSHOTS = HERE.parent / '.tools' / 'horizon-screenshots'
HOUR = timedelta(hours=1)
METRICS = """\
metrics:
  instance:
    unit: instance
    groupby: [resource_id, project_id]
    metadata: [flavor_name, vcpus]
  volume.size:
    unit: GiB
    groupby: [resource_id, project_id]
    metadata: [volume_type]
"""


class Horizon(peers.WsgiPeer):
    """Horizon with the rating panels of cloudkitty-dashboard."""

    program = 'horizon'
    ready_path = '/auth/login/'
    application = 'horizon_wsgi:application'

    def __init__(self, folder: pathlib.Path, keystone: Keystone):
        super().__init__(folder, peers.environment('horizon'))
        self.keystone = keystone

    def environment(self):
        return {
            **super().environment(),
            'HORIZON_KEYSTONE_URL': f'{self.keystone.url}/v3',
            'HORIZON_FOLDER': str(self.folder),
            'DJANGO_SETTINGS_MODULE': 'openstack_dashboard.settings',
        }

    def prepare(self):
        """Switch the panels on; collecting and compressing what is static is done once."""
        home = self.bin_folder.parent
        packages = next(home.glob('lib/python3*/site-packages'))
        local = packages / 'openstack_dashboard' / 'local'
        shutil.copy(peers.LISTS / 'horizon_settings.py', local / 'local_settings.py')
        for panel in (packages / 'cloudkittydashboard' / 'enabled').glob('_3*.py'):
            shutil.copy(panel, local / 'enabled')
        stamp = home / 'static' / '.made'
        if not stamp.exists():
            print('collecting static files (once, half a minute)', file=sys.stderr)
            self.run('python', '-m', 'django', 'collectstatic', '--noinput', '-v', '0')
            self.run('python', '-m', 'django', 'compress', '--force')
            stamp.touch()


def frames(project_id: str, now: datetime):
    """Yield what a project has used last month and this month."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for begin, instance, volume in ((month - HOUR, '100', '0.25'), (month, '12.5', '3.75')):
        yield DataFrame(
            begin,
            begin + HOUR,
            {
                'instance': [_point('instance', 'server-1', instance, project_id)],
                'volume.size': [_point('GiB', 'disk-1', volume, project_id)],
            },
        )


def _point(unit, resource_id, price, project_id):
    return DataPoint(unit, '1', price, {'project_id': project_id, 'resource_id': resource_id}, {})


def main(out: pathlib.Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix='ck-horizon-') as name,
        Keystone(pathlib.Path(name) / 'keystone') as keystone,
        RatingApi(pathlib.Path(name) / 'api', keystone=keystone, metrics=METRICS) as api,
        Horizon(pathlib.Path(name) / 'horizon', keystone) as horizon,
    ):
        storage = api.open_storage()
        for project in ('alpha', 'beta'):
            project_id = keystone.project_id(project)
            storage.push(list(frames(project_id, datetime.now(UTC))), project_id)
        facts = {
            'horizon': horizon.url,
            'api': api.url,
            'out': str(out),
            'project_id': keystone.project_id('alpha'),
            'tokens': {
                user: keystone.token(user, project=project)
                for user, project in (('admin', 'admin'), ('alice', 'alpha'))
            },
        }
        return subprocess.run(
            [horizon.bin_folder / 'python', HERE / 'horizon_tour.py'],
            text=True,
            input=json.dumps(facts),
            timeout=600,
        ).returncode


if __name__ == '__main__':
    try:
        sys.exit(main(pathlib.Path(sys.argv[1]).resolve() if sys.argv[1:] else SCREENSHOTS))
    except services.ServiceFailed as exc:
        sys.exit(f'tools/horizon: {exc}')
