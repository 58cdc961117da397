"""Where a store is: a folder, a bucket of an S3-compatible service, or whatever else fsspec knows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as Objects
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from solvers.errors import InputError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Bucket
    from obstore.store import RetryConfig

S3_KINDS = ("s3", "s3a")
#: A request that fails is tried again for so long; then the run ends with one line, and goes on when it is run again.
RETRY_SECONDS = 60


def local_path(url: str) -> Path | None:
    """The path of a store on a local file system, None for any other URL."""
    parts = urlsplit(str(url))
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(url).expanduser() if "://" not in str(url) else None


def absolute(url: str) -> str:
    """A URL that means the same in another process: local paths made absolute."""
    path = local_path(url)
    return str(path.absolute()) if path is not None else str(url)


def is_s3(url: str) -> bool:
    """Whether a URL names a bucket of an S3-compatible service."""
    return urlsplit(str(url)).scheme in S3_KINDS


def location(url: str) -> str | Path | Objects:
    """What Zarr and xarray open: a path, a Zarr store, or the URL itself; raises InputError as :func:`bucket`."""
    return S3Store(bucket(url)) if is_s3(url) else local_path(url) or url


def object_store(url: str) -> Objects:
    """The objects below a URL."""
    path = local_path(url)
    if path is not None:
        return LocalStore(path)
    return S3Store(bucket(url)) if is_s3(url) else FsspecStore.from_url(url)


@lru_cache(maxsize=32)
def bucket(url: str) -> Bucket:
    """The objects below an ``s3://bucket/prefix``, through obstore.

    Address, region and credentials come from the usual environment variables (``AWS_ENDPOINT_URL``,
    ``AWS_ACCESS_KEY_ID``, ...), never from a file of ours; ``AWS_ALLOW_HTTP=true`` allows one without encryption.

    Raises:
        InputError: if obstore is missing, or the settings are wrong.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise InputError(f"{url}: needs obstore, which is not installed; pip install 'phasetwin[s3]'") from None
    plain = "s3://" + str(url).partition("://")[2].rstrip("/")
    retry: RetryConfig = {"max_retries": 8, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    try:
        return from_url(plain, retry_config=retry)
    except (BaseError, ValueError) as error:
        raise InputError(f"{url}: cannot be opened: {_one_line(error)}") from None


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Failures of a service as what a file system raises, so that callers need to know one kind."""
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError(_one_line(error)) from None
    except BaseError as error:
        raise OSError(_one_line(error)) from None


def _one_line(error: BaseException) -> str:
    """The first sentences of an error; obstore adds its own source positions."""
    return " ".join(str(error).split("Debug source:")[0].split())[:300]


class S3Store(ObjectStore):  # type: ignore[type-arg]
    """Zarr's store over obstore, whose failures are OSError."""

    def __str__(self) -> str:
        return f"s3://{self.store.config['bucket']}/{self.store.prefix or ''}"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with as_os_errors():
            try:
                return await super().get(key, prototype, byte_range)
            except FileNotFoundError:
                return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        try:
            with as_os_errors():
                return await super().exists(key)
        except FileNotFoundError:
            return False

    async def set(self, key: str, value: Buffer) -> None:
        with as_os_errors():
            await super().set(key, value)

    async def delete(self, key: str) -> None:
        try:
            with as_os_errors():
                await super().delete(key)
        except FileNotFoundError:
            return

    async def getsize(self, key: str) -> int:
        with as_os_errors():
            return await super().getsize(key)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:  # type: ignore[override]
        with as_os_errors():
            async for name in super().list_dir(prefix):
                yield name


def read_object(objects: Objects, path: str) -> bytes | None:
    """An object as it is stored, None where there is none."""
    buffer = sync(objects.get(path, default_buffer_prototype()))
    return None if buffer is None else buffer.to_bytes()


def write_object(objects: Objects, path: str, content: bytes) -> None:
    sync(objects.set(path, default_buffer_prototype().buffer.from_bytes(content)))


def remove_object(objects: Objects, path: str) -> None:
    sync(objects.delete(path))


def cannot_write(url: str, error: OSError) -> InputError:
    """The line for a full disk, a read-only folder and the like."""
    place = url.removeprefix("file://")
    return InputError(f"{place}: cannot be written: {error.strerror or error}")


def anything_at(url: str) -> bool:
    """Whether there are objects below an S3 URL."""
    import obstore

    with as_os_errors():
        return any(len(part) for part in obstore.list(bucket(url), chunk_size=1))
