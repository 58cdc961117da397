"""One driver to a store.

On a local file system a lock of the operating system on a file beside the store, which ends with its holder, however
that ends. Anywhere else a lease (:mod:`sweeps.store.lease`).
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
from typing import Protocol

from filelock import FileLock, Timeout, lock_descriptor

from sweeps.store.lease import Lease, in_use, leased, read_lease
from sweeps.store.locations import cannot_write, local_path

#: Longer than another process holds the lock to find out whether it is held (:func:`lock_holder`).
TIMEOUT_SECONDS = 0.1
# The holder's facts are read so often: while it writes them the file is empty for an instant.
TRIES, TRY_SECONDS = 3, 0.05


class Hold(Protocol):
    """A store that is held.

    Attributes:
        before: facts of the last holder, if it ended without giving the store back; else empty.
    """

    before: Lease

    def publish(self, facts: Lease) -> None:
        """Add facts to what :func:`lock_holder` returns elsewhere."""

    def record(self, facts: Lease) -> None:
        """Add facts, to be there also if this process ends the next moment."""

    def check(self) -> None:
        """Raises InputError if the store is no longer held."""


@contextlib.contextmanager
def store_lock(url: str) -> Iterator[Hold]:
    """Hold the store while the block runs.

    Raises:
        InputError: if another driver holds it, naming who and since when; nothing is touched then.
    """
    path = local_path(url)
    with _file_lock(_lock_file(path), url) if path is not None else leased(url, _owner()) as hold:
        yield hold


def lock_holder(url: str) -> Lease | None:
    """Who writes to a store now: ``{"owner", "since"}``, or None."""
    path = local_path(url)
    if path is None:
        return read_lease(url)
    lock = _lock_file(path)
    try:
        # Network file systems lock only what was opened to be written.
        with lock.open("r+" if os.access(lock, os.W_OK) else "r") as file:
            return None if lock_descriptor(file.fileno(), blocking=False) else _holder(lock)
    except OSError:
        return None


def _lock_file(path: Path) -> Path:
    return path.parent / f"{path.name}.lock"


def _owner() -> Lease:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"owner": f"{user}@{socket.gethostname()} process {os.getpid()}", "since": since}


def _facts(lock: Path) -> Lease:
    """What is in a lock's file; empty where there is none, or while its holder writes it."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads(lock.read_text()))
    return {}


def _holder(lock: Path) -> Lease:
    for _ in range(TRIES):
        if found := _facts(lock):
            return found
        time.sleep(TRY_SECONDS)
    return {"owner": "another process", "since": "an unknown time"}


class _FileHold:
    """The lock is kept by the operating system until this process ends."""

    def __init__(self, lock: Path, url: str, before: Lease) -> None:
        self._lock, self._url, self._facts, self.before = lock, url, _owner(), before

    def publish(self, facts: Lease) -> None:
        self._facts.update(facts)
        try:
            self._lock.write_text(json.dumps(self._facts))
        except OSError as error:
            raise cannot_write(self._url, error) from None

    record = publish

    def check(self) -> None:
        """Nothing to check."""


@contextlib.contextmanager
def _file_lock(path: Path, url: str) -> Iterator[Hold]:
    lock = FileLock(path, timeout=TIMEOUT_SECONDS, poll_interval=TRY_SECONDS, fallback_to_soft=False)
    before = _facts(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise in_use(url, _holder(path)) from None
    except OSError as error:
        raise cannot_write(url, error) from None
    try:
        hold = _FileHold(path, url, before)
        hold.publish({})
        yield hold
    finally:
        # Removed while held: a process that opened it meanwhile sees that it is gone and tries again. It stays where
        # the folder has become read-only, and holds nothing.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()
