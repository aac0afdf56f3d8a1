"""The database servers that tools/test starts where the machine runs none."""

import pathlib
import tempfile

import pytest

from cloudkitty.tests import databases


@pytest.mark.parametrize('kind', [databases.PostgreSQL, databases.MariaDB])
def test_server_of_our_own_starts_and_ends(kind):
    """A server started here answers without a password, and is gone at the end."""
    # Not in tmp_path, which is private to root: PostgreSQL runs as a user of its own.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        with kind(folder / 'server') as server:
            assert databases.answers(server.url)

    assert not databases.answers(server.url)
