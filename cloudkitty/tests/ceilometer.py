"""Ceilometer from the Python index, in an environment of its own: its notification agent.

It makes samples and events of the notifications of services, and signs them.
"""

import subprocess
from pathlib import Path

import yaml

from cloudkitty.tests import ini, peers, services

PUBLISHER = 'notifier://?topic='


class NotificationAgent:
    """ceilometer-agent-notification; runs while the block does.

    :param publishers: where samples go, beside the bus.
    """

    def __init__(
        self, folder: Path, *, transport_url: str, secret: str, publishers: tuple[str, ...] = ()
    ):
        self._folder = folder
        folder.mkdir()
        source = {'name': 'all', 'sinks': ['out']}
        for name, kind, topic, more in (
            ('pipeline', 'meters', 'metering', publishers),
            ('event_pipeline', 'events', 'event', ()),
        ):
            sink = {'name': 'out', 'publishers': [PUBLISHER + topic, *more]}
            content = {'sources': [{**source, kind: ['*']}], 'sinks': [sink]}
            (folder / f'{name}.yaml').write_text(yaml.safe_dump(content))
        self._path = ini.write(
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
        self._process: subprocess.Popen | None = None

    def __enter__(self):
        program = peers.environment('ceilometer') / 'ceilometer-agent-notification'
        with open(self._folder / 'log', 'ab') as log:
            self._process = subprocess.Popen(
                [program, '--config-file', self._path],
                stdout=log,
                stderr=log,
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
