"""Peak memory of a process of its own that exports, migrates, or answers as the API does."""

import re
import subprocess
import sys
from pathlib import Path

import webob
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.api import app
from cloudkitty.cli import storage
from cloudkitty.storage.v2.sql import SQLStorage

MONTH = 'begin=2024-05-01&end=2024-06-01'
PATHS = [
    f'/v2/summary?{MONTH}&groupby=project_id,type&limit=1000',
    f'/v2/summary?{MONTH}&groupby=department',
    '/v2/summary?begin=2024-05-01T06:00:00&end=2024-05-31T18:00:00&groupby=type'
    '&filters=project_id:project-250',
    f'/v2/summary?{MONTH}&groupby=time&filters=project_id:project-250',
    f'/v2/summary?{MONTH}&groupby=type&filters=project_id:project-250'
    '&custom_fields=max(qty) AS top',
    f'/v2/dataframes?{MONTH}&filters=project_id:project-250&offset=1500',
    f'/v2/dataframes?{MONTH}&offset=500000',
    f'/v1/report/summary?{MONTH}&groupby=tenant_id,res_type',
]


def of_command(configuration_file: Path, *arguments) -> float:
    """Return the peak of `cloudkitty-storage` with *arguments*, MiB."""
    return _of('storage', '--config-file', configuration_file, *arguments)


def of_answers(configuration_file: Path) -> float:
    """Return the peak of a process that answers all PATHS, MiB."""
    return _of('answers', configuration_file)


def _of(*arguments):
    ended = subprocess.run(
        [sys.executable, '-m', 'benchmarks.peak', *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stderr.splitlines()[-1])


def _answer(path):
    conf = configuration.load([], files=[path], conf=cfg.ConfigOpts())
    store = SQLStorage(conf)
    application = app.build(conf, database=store.database, storage=store)
    for question in PATHS:
        answer = webob.Request.blank(question).get_response(application)
        assert answer.status_code == 200, answer.text


def main() -> None:
    kind, *arguments = sys.argv[1:]
    if kind == 'answers':
        _answer(*arguments)
    else:
        sys.argv = ['cloudkitty-storage', *arguments]
        try:
            storage.main()
        except SystemExit as ended:
            if ended.code:
                raise
    # Of this program alone: what the kernel counts for a child begins with its parent's.
    peak = re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())
    print(int(peak[1]) / 1024, file=sys.stderr)


if __name__ == '__main__':
    main()
