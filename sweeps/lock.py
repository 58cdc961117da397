"""One driver to a store.

On a local file system an advisory lock (``flock``) on a file beside the store: the kernel drops it when its
holder dies, however it dies. Anywhere else a lease: a small object with the holder's name and a heartbeat,
which counts as abandoned when the heartbeat is a minute old.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import fsspec

from solvers.errors import InputError
from sweeps.store import cannot_write, local_path

try:
    import fcntl
except ImportError:  # Windows has no flock: the lease serves there
    fcntl = None  # type: ignore[assignment]

HEARTBEAT_SECONDS = 10.0
ABANDONED_SECONDS = 60.0
# Whoever only looks (`lock_holder`) holds the lock for an instant.
TRIES, TRY_SECONDS = 3, 0.05


Tell = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def store_lock(url: str) -> Iterator[Tell]:
    """Hold the store while the block runs.

    Yields:
        A function that adds facts to what :func:`lock_holder` tells others.

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
        lease = _read_lease(url)
        return lease if lease and _is_fresh(lease) else None
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
def _file_lock(path: Path, url: str) -> Iterator[Tell]:
    lock = _lock_file(path)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(lock, url)
    except OSError as error:
        raise cannot_write(url, error) from None
    try:
        about = _owner()
        _tell(file, about, url)
        yield lambda facts: _tell(file, {**about, **facts}, url)
    finally:
        # Removed while held: whoever opened it meanwhile sees another file at the path and tries again.
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


def _lease_url(url: str) -> str:
    return f"{str(url).rstrip('/')}.lease"


def _read_lease(url: str) -> dict[str, Any] | None:
    try:
        with fsspec.open(_lease_url(url), "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return dict(json.loads(text))
    except ValueError:
        return None


def _write_lease(url: str, lease: dict[str, Any]) -> None:
    with fsspec.open(_lease_url(url), "wb") as file:
        file.write(json.dumps({**lease, "heartbeat": time.time()}).encode())


def _is_fresh(lease: dict[str, Any]) -> bool:
    return time.time() - float(lease.get("heartbeat", 0)) < ABANDONED_SECONDS


@contextlib.contextmanager
def _lease(url: str) -> Iterator[Tell]:
    mine = {**_owner(), "token": uuid.uuid4().hex}
    holder = _take_lease(url, mine)
    if holder:
        raise _busy(url, holder)
    stop = threading.Event()
    beat = threading.Thread(target=_keep, args=(url, mine, stop), daemon=True, name="store-lease")
    beat.start()
    try:
        # Told with the next beat.
        yield mine.update
    finally:
        stop.set()
        beat.join()
        filesystem, path = fsspec.core.url_to_fs(_lease_url(url))
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(path)


def _take_lease(url: str, mine: dict[str, Any]) -> dict[str, Any] | None:
    """Write the lease; returns whose it is if it is another's."""
    try:
        held = _read_lease(url)
        if held and _is_fresh(held):
            return held
        _write_lease(url, mine)
        # Two that wrote at once: the last one stands, the other sees it here.
        held = _read_lease(url)
    except (OSError, ImportError, ValueError) as error:
        raise InputError(f"{url}: cannot be written: {error}") from None
    return held if held and held.get("token") != mine["token"] else None


def _keep(url: str, lease: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        # A missed beat is made up for by the next; six in a row would have to fail.
        with contextlib.suppress(OSError):
            _write_lease(url, lease)
