"""One driver to a store.

On a local file system an advisory lock (``flock``) on a file beside the store: the kernel drops it when its
holder dies, however it dies. Anywhere else a lease (:mod:`sweeps.store.lease`).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from solvers.errors import InputError
from sweeps.store.lease import Hold, holder_of, leased
from sweeps.store.locations import local_path
from sweeps.store.store import cannot_write

try:
    import fcntl
except ImportError:  # Windows has no flock: the lease serves there
    fcntl = None  # type: ignore[assignment]

# Whoever only looks (`lock_holder`) holds the lock for an instant.
TRIES, TRY_SECONDS = 3, 0.05


class Holding(Protocol):
    """A store that is held."""

    def __call__(self, facts: dict[str, Any]) -> None:
        """Add facts to what :func:`lock_holder` tells others."""
        ...

    def check(self) -> None:
        """Raises InputError if the store is no longer held."""
        ...


@contextlib.contextmanager
def store_lock(url: str) -> Iterator[Holding]:
    """Hold the store while the block runs.

    Yields:
        A function that adds facts to what :func:`lock_holder` tells others, and can tell whether it still holds.

    Raises:
        InputError: if another driver holds it, naming who and since when; nothing is touched then.
    """
    path = local_path(url)
    with _file_lock(path, url) if path is not None and fcntl is not None else _lease(url) as tell:
        yield tell


def lock_holder(url: str) -> dict[str, Any] | None:
    """Who drives a store now: ``{"owner", "since"}``, or None. Takes nothing and changes nothing."""
    path = local_path(url)
    if path is None or fcntl is None:
        return holder_of(url)
    try:
        with _lock_file(path).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _told(file)
    except OSError:
        return None
    return None


def _lock_file(path: Path) -> Path:
    return path.parent / f"{path.name}.lock"


def _owner() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"owner": f"{user}@{socket.gethostname()} process {os.getpid()}", "since": since}


def _told(file: IO[str]) -> dict[str, Any]:
    for _ in range(TRIES):
        file.seek(0)
        # Its holder may be writing: then it is empty for an instant.
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.loads(file.read()))
        time.sleep(TRY_SECONDS)
    return {"owner": "another process", "since": "an unknown time"}


def _busy(url: str, holder: dict[str, Any]) -> InputError:
    return InputError(
        f"{url}: {holder.get('owner')} has been writing to it since {holder.get('since')}; "
        "wait for it to end, or choose another output.path"
    )


@contextlib.contextmanager
def _lease(url: str) -> Iterator[Hold]:
    with leased(url, _owner()) as hold:
        if not isinstance(hold, Hold):
            raise _busy(url, hold)
        yield hold


class _FileHold:
    """The kernel keeps it until this process ends."""

    def __init__(self, file: IO[str], about: dict[str, Any], url: str) -> None:
        self._file, self._about, self._url = file, about, url

    def __call__(self, facts: dict[str, Any]) -> None:
        _tell(self._file, {**self._about, **facts}, self._url)

    def check(self) -> None:
        """Nothing to check."""


@contextlib.contextmanager
def _file_lock(path: Path, url: str) -> Iterator[Holding]:
    lock = _lock_file(path)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(lock, url)
    except OSError as error:
        raise cannot_write(url, error) from None
    try:
        about = _owner()
        _tell(file, about, url)
        yield _FileHold(file, about, url)
    finally:
        # Removed while held: whoever opened it meanwhile sees another file at the path and tries again.
        # Left behind where the folder has become read-only: it holds nothing without its holder.
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
        file.close()


def _tell(file: IO[str], facts: dict[str, Any], url: str) -> None:
    try:
        file.seek(0)
        file.truncate()
        file.write(json.dumps(facts))
        file.flush()
    except OSError as error:
        raise cannot_write(url, error) from None


def _locked(lock: Path, url: str) -> IO[str]:
    tries = 0
    while True:
        file = lock.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder, tries = _told(file), tries + 1
            file.close()
            if tries == TRIES:
                raise _busy(url, holder) from None
            time.sleep(TRY_SECONDS)
            continue
        if lock.exists() and os.fstat(file.fileno()).st_ino == lock.stat().st_ino:
            return file
        file.close()
