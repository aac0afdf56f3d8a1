"""Report files in an object store: S3 and compatible services, Google Cloud Storage, Azure.

Needs the extra `object`. Names of files are keys below the prefix of [output]basepath, such as
s3://bucket/prefix; region, address and keys come from the environment (AWS_REGION, AWS_ENDPOINT,
AWS_ACCESS_KEY_ID, ...), so no secret is in the configuration.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, BinaryIO

from cloudkitty import backend, errors, plugins

MEMORY_MAX = 16 * 2**20
CHUNK = 1 << 20
# A store that does not answer must not keep a worker from rating: retries back off within this.
RETRIES, RETRY_S, TIMEOUT_S = 5, 60, 60


class ObjectBackend(backend.BaseBackend):
    """A bucket, which must exist. A file is one object, replaced as a whole.

    :raises ConfigurationError: obstore is not installed, or basepath is no address of a store.
    """

    def __init__(self, basepath: str) -> None:
        super().__init__(basepath)
        self._obstore = _obstore()
        try:
            self._store = self._obstore.store.from_url(
                basepath,
                retry_config={
                    'max_retries': RETRIES,
                    'retry_timeout': timedelta(seconds=RETRY_S),
                },
                client_options={'timeout': timedelta(seconds=TIMEOUT_S), 'allow_http': True},
            )
        except (self._obstore.exceptions.BaseError, ValueError, TypeError) as exc:
            raise errors.ConfigurationError(reason=f'[output]basepath: {exc}') from exc

    @contextlib.contextmanager
    def replace(self, name: str) -> Iterator[BinaryIO]:
        backend.check_name(name)
        with tempfile.SpooledTemporaryFile(MEMORY_MAX) as part:
            yield part  # type: ignore[misc]
            part.seek(0)
            written = hashlib.file_digest(part, 'sha256').hexdigest()
            if written == self.digest(name):
                return
            part.seek(0)
            with self._told():
                self._store.put(name, part)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        backend.check_name(name)
        with tempfile.SpooledTemporaryFile(MEMORY_MAX) as copy:
            for chunk in self._read(name):
                copy.write(chunk)
            copy.seek(0)
            yield copy  # type: ignore[misc]

    def size(self, name: str) -> int | None:
        with self._told():
            try:
                found: int = self._store.head(backend.check_name(name))['size']
            except FileNotFoundError:
                return None
            return found

    def remove(self, name: str) -> None:
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._store.delete(backend.check_name(name))

    def digest(self, name: str) -> str | None:
        whole = hashlib.sha256()
        try:
            for chunk in self._read(backend.check_name(name)):
                whole.update(chunk)
        except errors.NotFound:
            return None
        return whole.hexdigest()

    def _read(self, name: str) -> Iterator[Any]:
        """Yield the parts of an object.

        :raises NotFound: there is none.
        """
        with self._told():
            try:
                found = self._store.get(name)
            except FileNotFoundError as exc:
                raise errors.NotFound(reason=f'{self.basepath}: there is no {name}') from exc
            yield from found.stream(min_chunk_size=CHUNK)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Translate errors of the store to errors of the configuration."""
        try:
            yield
        # A bucket that is not there is a FileNotFoundError.
        except (self._obstore.exceptions.BaseError, OSError) as exc:
            raise errors.ConfigurationError(
                reason=f'[output]basepath: {self.basepath}: {str(exc).splitlines()[0][:300]}'
            ) from exc


def _obstore() -> Any:
    """Return obstore.

    :raises ConfigurationError: it is not installed.
    """
    return plugins.import_extra(
        'an object store needs obstore: install the extra "object" of CloudKitty',
        *('obstore', 'obstore.exceptions', 'obstore.store'),
    )
