"""The database servers that tools/test starts where the machine runs none."""

import pytest

from cloudkitty.tests import databases


@pytest.mark.parametrize('kind', [databases.PostgreSQL, databases.MariaDB])
def test_server_of_our_own_starts_and_ends(kind, tmp_path_factory):
    """A server started here answers without a password, and is gone at the end."""
    folder = tmp_path_factory.mktemp('server')
    for part in (folder, *folder.parents):
        # Root's temporary directories are private, and PostgreSQL runs as a user of its own.
        if part.owner() == 'root' and 'pytest' in part.name:
            part.chmod(0o755)
    folder.chmod(0o755)

    with kind(folder / 'server') as server:
        assert databases.answers(server.url)

    assert not databases.answers(server.url)
