"""The paste file of earlier releases: it is not loaded, and what is set in it still counts."""

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

SIZE_MAX_BYTES = 1 << 20
# Filters whose function the application has itself.
PROVIDED = re.compile(
    r'oslo[_.]middleware\b.*(request_?id|cors|http_?proxy|size_?limit|catch_?errors|health)'
    r'|AuthTokenMiddleware|keystonemiddleware\.auth_token',
    re.IGNORECASE,
)
FACTORY_KEYS = ('paste.filter_factory', 'paste.filter_app_factory', 'use')
# What the shipped file of earlier releases says.
FORMER_ROUTES = ('', '/v1', '/v2')


@dataclass(frozen=True)
class Paste:
    """What a paste file says.

    :ivar path: None: there is no such file.
    :ivar fault: why it cannot be read; None: it can.
    :ivar missing: filters of its pipeline that the application lacks, each with its factory.
    :ivar public_paths: paths without token, no slash at the end; None: the usual ones.
    :ivar disable_file: the file whose presence makes /healthcheck answer 503; None: the usual one.
    """

    path: str | None = None
    fault: str | None = None
    missing: tuple[str, ...] = ()
    public_paths: tuple[str, ...] | None = None
    disable_file: str | None = None

    def explain(self) -> str | None:
        """Return what an operator has to know about the file; None: nothing."""
        if self.fault:
            return f'[DEFAULT]api_paste_config: {self.path}: {self.fault}; no paste file is needed'
        if self.missing:
            return (
                f'[DEFAULT]api_paste_config: {self.path} is not loaded, and these filters of it '
                f'have no counterpart: {", ".join(self.missing)}; put them into a WSGI script '
                'that wraps cloudkitty.wsgi.api:application, or into the web server'
            )
        return None


def read(conf: cfg.ConfigOpts) -> Paste:
    """Return what the file of [DEFAULT]api_paste_config says."""
    name = conf.api_paste_config
    path = conf.find_file(name) if name else None
    if path is None:
        found = name and conf.get_location('api_paste_config')
        is_default = not found or found.location is cfg.Locations.opt_default
        return Paste() if is_default else Paste(name, 'there is no such file')
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        with Path(path).open(encoding='utf-8') as file:
            parser.read_string(file.read(SIZE_MAX_BYTES), path)
        filters = _filters(parser, conf.auth_strategy)
    except (OSError, UnicodeDecodeError, configparser.Error) as exc:
        return Paste(path, f'it cannot be read: {" ".join(str(exc).split())}')
    factories = {name: _factory(parser, name) for name in filters}
    return Paste(
        path,
        missing=tuple(
            f'{name} ({factory})' for name, factory in factories.items() if not _is_here(factory)
        ),
        public_paths=_public_paths(parser, filters),
        disable_file=_first(
            parser, 'disable_by_file_path', ('app:healthcheck', 'filter:healthcheck')
        ),
    )


def _is_here(factory):
    return PROVIDED.search(factory) is not None


def _filters(parser, auth_strategy) -> list[str]:
    """Return the names of the filters in front of the application."""
    composite = f'composite:cloudkitty+{auth_strategy}'
    pipeline = _first(parser, '/', (composite,)) or f'api+{auth_strategy}'
    words = (_first(parser, 'pipeline', (f'pipeline:{pipeline}',)) or '').split()
    return words[:-1]


def _factory(parser, name) -> str:
    section = f'filter:{name}'
    found = (_first(parser, key, (section,)) for key in FACTORY_KEYS)
    return next(filter(None, found), name)


def _public_paths(parser, filters) -> tuple[str, ...] | None:
    text = _first(parser, 'acl_public_routes', [f'filter:{name}' for name in filters])
    paths = tuple(path.strip().rstrip('/') for path in (text or '').split(','))
    return None if not text or sorted(paths) == sorted(FORMER_ROUTES) else paths


def _first(parser, key, sections) -> str | None:
    for section in sections:
        if parser.has_option(section, key):
            return parser.get(section, key).strip()
    return None
