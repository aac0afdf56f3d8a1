"""Configuration files, written and read."""

from collections.abc import Mapping
from pathlib import Path

from oslo_config import cfg

from cloudkitty import conf as configuration


def write(path: Path, sections: Mapping[str, Mapping[str, object]]) -> Path:
    """Write options by section; return *path*."""
    path.write_text(
        '\n'.join(
            line
            for section, values in sections.items()
            for line in (f'[{section}]', *(f'{name} = {value}' for name, value in values.items()))
        )
    )
    return path


def load(path: Path, sections: Mapping[str, Mapping[str, object]]) -> cfg.ConfigOpts:
    """Return the configuration that has these options, which *path* then holds; logs stay as is."""
    loaded = cfg.ConfigOpts()
    configuration.register(loaded)
    loaded(['--config-file', str(write(path, sections))], project=configuration.PROJECT)
    return loaded
