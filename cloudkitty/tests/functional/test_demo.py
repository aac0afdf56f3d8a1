"""The main job: what a newcomer sees."""

import pathlib
import re
import subprocess
import sys

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEMO = ROOT / 'tools' / 'demo.py'


def _run(*arguments):
    return subprocess.run(
        [sys.executable, DEMO, *arguments], capture_output=True, text=True, timeout=200
    )


@pytest.mark.parametrize('options', [(), ('--metering',)])
def test_the_demo_rates_this_machine(tmp_path, options):
    """It measures, prices by rules made over REST, tells the cost, and leaves nothing running."""
    ended = _run('--seconds', '45', '--folder', str(tmp_path / 'demo'), *options)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    credits = [float(text) for text in re.findall(r' ([0-9.]+) credits\n', ended.stdout)]
    assert credits == sorted(credits)
    assert credits[0] > 0
    assert ('Prometheus' in ended.stdout) == (not options)
    for metric in ('cpu', 'memory', 'disk'):
        assert f'│ {metric} ' in ended.stdout
    url = re.search(r'http://127.0.0.1:\d+/v2/scope', ended.stdout)[0]
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    assert url.replace('/v2/scope', '/ui/#costs') in ended.stdout


def test_the_demo_empties_only_its_own_folder(tmp_path):
    """A folder that holds something else is left as it is."""
    (tmp_path / 'thesis.txt').write_text('years of work')

    ended = _run('--folder', str(tmp_path))

    assert ended.returncode == 1
    assert f'{tmp_path} holds something else' in ended.stderr
    assert (tmp_path / 'thesis.txt').exists()
