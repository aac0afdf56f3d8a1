"""The machines that libvirt runs on this node, and what Nova has written down about them."""

import contextlib
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core.metering import facts

URI = 'qemu:///system'
NAME = 'libvirt'
_NOVA = '{http://openstack.org/xmlns/libvirt/nova/1.'
# What Nova calls the states of libvirt, which are numbers.
_STATES = (
    'active',
    'active',
    'active',
    'paused',
    'stopped',
    'stopped',
    'error',
    'suspended',
)


class Flavor(NamedTuple):
    """Sizes in MiB and GiB."""

    id: str | None
    name: str
    vcpus: int
    memory: int
    disk: int
    ephemeral: int


class Domain(NamedTuple):
    """A machine of Nova's.

    :ivar handle: libvirt's domain.
    :ivar id: uuid of the instance.
    :ivar name: libvirt's name, such as instance-0000002a.
    :ivar display_name: that which its owner gave it.
    :ivar created_at: microseconds since the epoch; None: not known.
    :ivar disks, interfaces: names of its devices.
    """

    handle: Any
    id: str
    name: str
    display_name: str
    project_id: str
    user_id: str | None
    flavor: Flavor
    image_ref: str | None
    created_at: int | None
    state: str
    disks: tuple[str, ...]
    interfaces: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """Whether its devices can be queried."""
        return self.state in ('active', 'paused')

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What its meters have in common, under the names that listeners give them too."""
        found = {
            'display_name': self.display_name,
            'flavor_id': self.flavor.id,
            'flavor_name': self.flavor.name,
            'image_ref': self.image_ref,
            'state': self.state,
        }
        return {name: value for name, value in found.items() if value is not None}


class Hypervisor:
    """A connection to libvirt, made when it is needed and again when it is lost. Thread-safe.

    :param uri: see https://libvirt.org/uri.html.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: Any = None

    def check(self) -> None:
        """Connect.

        :raises SourceUnreachable: libvirt is not installed, or does not answer.
        """
        with _translating():
            self._connect()

    def domains(self) -> list[Domain]:
        """Return the machines of Nova's on this node, the ones that are off included.

        :raises SourceUnreachable: libvirt does not answer.
        """
        with _translating():
            found = [_domain(handle) for handle in self._connect().listAllDomains()]
        return [domain for domain in found if domain is not None]

    def _connect(self) -> Any:
        libvirt = _library()
        with self._lock:
            if self._connection is None or not self._connection.isAlive():
                # Rights to read are enough.
                self._connection = libvirt.openReadOnly(self._uri)
            return self._connection


def is_gone(exc: Exception) -> bool:
    """Return whether an error of libvirt says that the machine was removed or stopped meanwhile."""
    code = getattr(exc, 'get_error_code', None)
    if code is None:
        return False
    libvirt = _library()
    return code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except (errors.ServiceError, MemoryError):
        raise
    # libvirt's errors derive from Exception, and the library may be missing.
    except Exception as exc:
        raise errors.SourceUnreachable(collector=NAME, reason=' '.join(str(exc).split())) from exc


def _library() -> Any:
    try:
        import libvirt
    except ImportError as exc:
        raise errors.SourceUnreachable(
            collector=NAME,
            reason='the Python module libvirt is missing: install the package python3-libvirt',
        ) from exc
    # It prints each error on stderr otherwise.
    libvirt.registerErrorHandler(_ignore, None)
    return libvirt


def _ignore(context: object, error: object) -> None:
    pass


def _domain(handle: Any) -> Domain | None:
    """Return what is known of a machine; None: it is not Nova's, or was removed meanwhile."""
    try:
        tree, state = ET.fromstring(handle.XMLDesc()), handle.state()[0]
    except Exception as exc:
        if is_gone(exc):
            return None
        raise
    instance = next((one for one in tree.iterfind('metadata/*') if _is(one, 'instance')), None)
    if instance is None:
        return None
    project = _find(instance, 'owner', 'project')
    flavor = _find(instance, 'flavor')
    if project is None or flavor is None or not project.get('uuid'):
        return None
    user, root = _find(instance, 'owner', 'user'), _find(instance, 'root')
    return Domain(
        handle=handle,
        id=handle.UUIDString(),
        name=handle.name(),
        display_name=_text(instance, 'name'),
        project_id=str(project.get('uuid')),
        user_id=None if user is None else user.get('uuid'),
        flavor=Flavor(
            flavor.get('id'),
            flavor.get('name') or '',
            *(_number(flavor, name) for name in ('vcpus', 'memory', 'disk', 'ephemeral')),
        ),
        image_ref=root.get('uuid') if root is not None and root.get('type') == 'image' else None,
        created_at=_time(_text(instance, 'creationTime')),
        state=_STATES[state] if state < len(_STATES) else 'active',
        disks=_targets(tree, 'disk'),
        interfaces=_targets(tree, 'interface'),
    )


def _is(element: ET.Element, name: str) -> bool:
    return element.tag.startswith(_NOVA) and element.tag.endswith(f'}}{name}')


def _find(element: ET.Element, *path: str) -> ET.Element | None:
    for name in path:
        found = next((one for one in element if _is(one, name)), None)
        if found is None:
            return None
        element = found
    return element


def _text(element: ET.Element, name: str) -> str:
    found = _find(element, name)
    return (found.text or '').strip() if found is not None else ''


def _number(element: ET.Element, name: str) -> int:
    text = _text(element, name)
    return int(text) if text.isdecimal() else 0


def _time(text: str) -> int | None:
    try:
        return facts.to_us(datetime.strptime(text, '%Y-%m-%d %H:%M:%S').replace(tzinfo=UTC))
    except ValueError:
        return None


def _targets(tree: ET.Element, kind: str) -> tuple[str, ...]:
    """Return the names of the devices of a kind, without media that can be taken out."""
    return tuple(
        str(target.get('dev'))
        for device in tree.iterfind(f'devices/{kind}')
        if device.get('device') not in ('cdrom', 'floppy')
        for target in device.iterfind('target')
        if target.get('dev')
    )
