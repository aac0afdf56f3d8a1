"""What real services have sent, see the key `source` of each file in fixtures/metering."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / 'fixtures' / 'metering'
SECRET = 'a-shared-secret-for-tests'
PROJECT = '0000000000004000800000000000bbbb'


def read(name: str) -> Any:
    """Return what was recorded in a file."""
    return json.loads((FOLDER / f'{name}.json').read_text())['data']


def body(name: str) -> dict[str, Any]:
    """Return the notification in a file that holds a whole message of the bus."""
    return json.loads(json.loads(read(name)['body'])['oslo.message'])
