"""Print what Grafana's model of dashboards does not know of files: grafana_boards.py FILE ...

Each file is read into the model and written again; what is lost or changed is a line. Run by the
Python of the model's environment, so it imports nothing of ours.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard


def main():
    plugins.register_default_plugins()
    for path in map(pathlib.Path, sys.argv[1:]):
        given = json.loads(path.read_text())
        board = dashboard.Dashboard.from_json(given)
        for line in differences(given, json.loads(json.dumps(board, cls=encoder.JSONEncoder))):
            print(f'{path.name}{line}')


def differences(given, known, place=''):
    """Yield a line for each part of *given* that *known* lacks or has with another value."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            if name in known:
                yield from differences(value, known[name], f'{place}.{name}')
            else:
                yield f'{place}.{name}: unknown'
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for number, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from differences(one, other, f'{place}[{number}]')
    elif given != known:
        yield f'{place}: {given!r} becomes {known!r}'


if __name__ == '__main__':
    main()
