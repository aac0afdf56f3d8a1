"""Settings of web servers that serve the API: entry point, and required uWSGI options."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from cloudkitty import doctor
from cloudkitty.doctor import Finding

SUBJECT = 'web server'
# Folders in which Debian, Red Hat and installers keep the files of web servers.
PATTERNS = (
    'etc/apache2/sites-enabled/*',
    'etc/apache2/conf-enabled/*',
    'etc/httpd/conf.d/*.conf',
    'etc/uwsgi/apps-enabled/*.ini',
    'etc/uwsgi.d/*.ini',
    'etc/cloudkitty/*.ini',
)
SIZE_MAX_BYTES = 1 << 20
SCRIPT = re.compile(r'^\s*(?:wsgi-file\s*=|WSGIScriptAlias\s+\S+)\s*(\S+)', re.MULTILINE)
MODULE = re.compile(r'^\s*(?:module|wsgi)\s*=\s*([\w.]+)(?::(\w+))?', re.MULTILINE)
SETTING = re.compile(r'^\s*([a-z0-9-]+)\s*=\s*(\S+)', re.MULTILINE)
APACHE_THREADS = re.compile(r'^\s*WSGIDaemonProcess\s.*\bthreads=(\d+)', re.MULTILINE)
BUFFER_MIN_BYTES = 16384
ENTRY = 'cloudkitty.wsgi.api:application'
TRUE = ('1', 'true', 'yes', 'on')


def check_entries(root: Path = Path('/')) -> Iterator[Finding]:
    """Yield problems of the entry points in files of web servers."""
    for path, text in _files(root):
        for found in SCRIPT.findall(text):
            yield from _check_script(path, root, found.strip('"\''))
        for module, attribute in MODULE.findall(text):
            yield from _check_module(path, module, attribute or 'application')


def check_settings(threads: int, root: Path = Path('/')) -> Iterator[Finding]:
    """Yield settings that make the API lose requests or hang its callers.

    :param threads: [api]threads.
    """
    for path, text in _files(root):
        if '[uwsgi]' in text:
            yield from _check_uwsgi(path, dict(SETTING.findall(text)), threads)
        for count in APACHE_THREADS.findall(text):
            yield from _check_threads(path, int(count), threads)


def _files(root) -> Iterator[tuple[Path, str]]:
    """Yield path and text of each file that names the service."""
    for path in sorted(path for pattern in PATTERNS for path in root.glob(pattern)):
        try:
            with path.open(encoding='utf-8') as file:
                text = file.read(SIZE_MAX_BYTES)
        except (OSError, UnicodeDecodeError):
            continue
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(('#', ';'))]
        if any('cloudkitty' in line for line in lines):
            yield path, '\n'.join(lines)


def _check_script(path, root, name):
    script = root / name.lstrip('/')
    remedy = f'let it name the installed cloudkitty-api, or a file that imports {ENTRY}'
    try:
        text = script.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as exc:
        if 'cloudkitty' in name:
            reason = exc.strerror if isinstance(exc, OSError) else 'it is not text'
            yield doctor.error(SUBJECT, f'{path}: {name}: {reason}', remedy)
        return
    if 'cloudkitty' in text and not re.search(r'\bapplication\b', text):
        yield doctor.error(SUBJECT, f'{path}: {name} has no `application`', remedy)


def _check_module(path, module, attribute):
    if not module.startswith('cloudkitty.') or f'{module}:{attribute}' == ENTRY:
        return
    if _is_there(module):
        what = f'{path}: {module}:{attribute} is no entry point for a web server'
    else:
        what = f'{path}: there is no module {module}'
    yield doctor.error(SUBJECT, what, f'set module = {ENTRY}')


def _is_there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _check_uwsgi(path, settings, threads):
    if int(settings.get('buffer-size', '4096')) < BUFFER_MIN_BYTES:
        yield doctor.warning(SUBJECT, f'{path}: long queries do not fit', 'set buffer-size = 65535')
    if not _is_on(settings, 'need-app') or _is_on(settings, 'lazy-apps'):
        yield doctor.warning(
            SUBJECT,
            f'{path}: uWSGI is ready though the application cannot load, and its callers hang',
            'set need-app = true and remove lazy-apps, as in the shipped file',
        )
    if not _is_on(settings, 'die-on-term'):
        yield doctor.warning(
            SUBJECT, f'{path}: SIGTERM reloads uWSGI and does not stop it', 'set die-on-term = true'
        )
    if int(settings.get('threads', '1')) > 1:
        yield from _check_threads(path, int(settings['threads']), threads)


def _is_on(settings, name):
    return settings.get(name, '').lower() in TRUE


def _check_threads(path, found, threads):
    if found != threads:
        yield doctor.warning(
            SUBJECT,
            f'{path}: it has {found} threads, and [api]threads is {threads}: long calls of one '
            'project take more or less than half of them',
            f'set [api]threads = {found}',
        )
