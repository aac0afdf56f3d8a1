"""Ceilometer from the Python index, in an environment of its own: both of its agents.

One measures the instances of a node. The other one makes samples and events of that, and of the
notifications of services, and signs them.
"""

import os
import subprocess
import sys
from pathlib import Path

import libvirt
import yaml

from cloudkitty.tests import ini, peers, services

PUBLISHER = 'notifier://?topic='


class _Agent:
    """A program of Ceilometer; runs while the block does.

    :param variables: of its environment.
    """

    def __init__(self, folder: Path, program: str, *arguments: str | Path, **variables: str):
        self._folder = folder
        self._command = (program, *arguments)
        self._variables = {**os.environ, **variables}
        self._process: subprocess.Popen | None = None

    def __enter__(self):
        program, *arguments = self._command
        with open(self._folder / 'log', 'ab') as log:
            self._process = subprocess.Popen(
                [peers.environment('ceilometer') / program, *arguments],
                stdout=log,
                stderr=log,
                env=self._variables,
                start_new_session=True,
            )
        return self

    def __exit__(self, *exc_info):
        self._process.terminate()
        try:
            self._process.wait(services.STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class NotificationAgent(_Agent):
    """ceilometer-agent-notification; runs while the block does.

    :param publishers: where samples go, beside the bus.
    """

    def __init__(
        self, folder: Path, *, transport_url: str, secret: str, publishers: tuple[str, ...] = ()
    ):
        folder.mkdir()
        source = {'name': 'all', 'sinks': ['out']}
        for name, kind, topic, more in (
            ('pipeline', 'meters', 'metering', publishers),
            ('event_pipeline', 'events', 'event', ()),
        ):
            sink = {'name': 'out', 'publishers': [PUBLISHER + topic, *more]}
            content = {'sources': [{**source, kind: ['*']}], 'sinks': [sink]}
            (folder / f'{name}.yaml').write_text(yaml.safe_dump(content))
        path = ini.write(
            folder / 'ceilometer.conf',
            {
                'DEFAULT': {
                    'transport_url': transport_url,
                    'pipeline_cfg_file': folder / 'pipeline.yaml',
                    'event_pipeline_cfg_file': folder / 'event_pipeline.yaml',
                },
                'publisher': {'telemetry_secret': secret},
                'notification': {'workers': 1},
            },
        )
        super().__init__(folder, 'ceilometer-agent-notification', '--config-file', path)


class PollingAgent(_Agent):
    """ceilometer-polling of a node; runs while the block does.

    The libvirt of this environment is lent to it.

    :param node: file of libvirt's test driver.
    """

    def __init__(
        self, folder: Path, *, transport_url: str, secret: str, node: Path, interval_s: int
    ):
        lent = folder / 'lent'
        lent.mkdir(parents=True)
        for module in (libvirt, sys.modules['libvirtmod']):
            path = Path(module.__file__)
            (lent / path.name).symlink_to(path)
        source = {'name': 'all', 'interval': interval_s, 'meters': ['*']}
        polling = folder / 'polling.yaml'
        polling.write_text(yaml.safe_dump({'sources': [source]}))
        path = ini.write(
            folder / 'ceilometer.conf',
            {
                'DEFAULT': {
                    'transport_url': transport_url,
                    'host': 'node-1',
                    'libvirt_uri': f'test://{node}',
                },
                'compute': {'instance_discovery_method': 'libvirt_metadata'},
                'polling': {'cfg_file': polling},
                'publisher': {'telemetry_secret': secret},
            },
        )
        arguments = ('--polling-namespaces', 'compute', '--config-file', path)
        super().__init__(folder, 'ceilometer-polling', *arguments, PYTHONPATH=str(lent))


def verified(messages: str, secret: str) -> str:
    """Return what Ceilometer's own function says of each message: lines of True and False.

    :param messages: JSON list.
    """
    code = (
        'import json, sys; from ceilometer.publisher import utils\n'
        'for one in json.load(sys.stdin): print(utils.verify_signature(one, sys.argv[1]))'
    )
    ended = subprocess.run(
        [peers.environment('ceilometer') / 'python', '-W', 'ignore', '-c', code, secret],
        input=messages,
        text=True,
        capture_output=True,
        timeout=120,
        check=True,
    )
    return ended.stdout
