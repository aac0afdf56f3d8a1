"""Backends store report files. Contract of the driver family; [output]backend names a class."""

import abc
import contextlib
import importlib
from typing import BinaryIO

from cloudkitty import errors


class BaseBackend(abc.ABC):
    """A storage of report files, below [output]basepath.

    Names are relative, with slashes between folders; no part of one begins with a dot.

    :param basepath: where they are.
    """

    def __init__(self, basepath: str) -> None:
        self.basepath = basepath

    @abc.abstractmethod
    def replace(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Yield a file to write; it gets its *name* once it is complete.

        A reader sees the former content or the new one; an error leaves the former. The same
        content again leaves the file untouched.
        """

    @abc.abstractmethod
    def open(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Yield a file to read.

        :raises NotFound: there is none.
        """

    @abc.abstractmethod
    def size(self, name: str) -> int | None:
        """Return the size of a file, bytes; None: there is none."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; it is no error if there is none."""

    @abc.abstractmethod
    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a file, hexadecimal; None: there is none."""


def check_name(name: str) -> str:
    """Return the name of a file that cannot leave basepath.

    :raises InvalidInput: it could.
    """
    if not name or any(not part or part.startswith('.') for part in name.split('/')):
        raise errors.InvalidInput(reason=f'{name!r} is no name of a file')
    return name


def get_backend(path: str, basepath: str) -> BaseBackend:
    """Return the backend that a class path names, such as cloudkitty.backend.file.FileBackend.

    :raises DriverLoadError: it cannot be imported.
    """
    module, _, name = path.rpartition('.')
    try:
        made: BaseBackend = getattr(importlib.import_module(module), name)(basepath)
    except (ImportError, AttributeError, ValueError) as exc:
        raise errors.DriverLoadError(
            group='output', option='backend', name=path, reason=exc
        ) from exc
    return made
