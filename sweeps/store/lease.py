"""One driver to a store where there are no locks: a small object beside it says who holds it, with a heartbeat.

A lease outlives a holder that dies. It is taken over when its heartbeat is a minute old *and* it does not change for a
few beats, so that clocks that differ do no harm. Where writes can be conditional (S3) the service decides between two
drivers that start at once, and a holder that did not renew its lease for too long finds it taken and stops. Elsewhere
the last of two writers holds it and the other finds that on reading.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import fsspec

from solvers.errors import InputError
from sweeps.store.locations import as_os_errors, bucket, is_s3

HEARTBEAT_SECONDS = 10.0
ABANDONED_SECONDS = 60.0
#: A lease with an old heartbeat is looked at for so long before it is taken over: some beats of a living holder.
LOOK_SECONDS = 25.0
#: A holder that could not renew its lease for so long stops: another may take it from now on.
LOST_SECONDS = 45.0
FREE = "free"

Lease = dict[str, Any]
#: What a later write is conditional on.
Version = Any


class LeaseObject(Protocol):
    """The object beside a store that says who holds it."""

    def read(self) -> tuple[Lease | None, Version]:
        """The lease and its version; None where there is none or it cannot be understood."""

    def write(self, lease: Lease, version: Version) -> Version:
        """Replace the version last read (None: nothing was there); the new version, None if another was faster."""


class _S3Lease:
    """Written only if nothing has changed since it was read."""

    def __init__(self, url: str) -> None:
        folder, _, name = url.rstrip("/").rpartition("/")
        self._store, self._name = bucket(folder), f"{name}.lease"

    def read(self) -> tuple[Lease | None, Version]:
        import obstore

        try:
            with as_os_errors():
                found = obstore.get(self._store, self._name)
                text, about = bytes(found.bytes()), found.meta
        except FileNotFoundError:
            return None, None
        return _parsed(text), _version(about)

    def write(self, lease: Lease, version: Version) -> Version:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        content = json.dumps(lease).encode()
        with as_os_errors():
            try:
                done = obstore.put(self._store, self._name, content, mode="create" if version is None else version)
            except (AlreadyExistsError, PreconditionError):
                return None
        return _version(done)


def _version(about: Mapping[str, Any]) -> Version:
    return {name: about[name] for name in ("e_tag", "version") if about[name] is not None}


class _FsspecLease:
    """Written and read again: of two that write at once the last stands, and the other sees it here."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}.lease"

    def read(self) -> tuple[Lease | None, Version]:
        try:
            with fsspec.open(self._url, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return None, None
        return _parsed(text), text

    def write(self, lease: Lease, version: Version) -> Version:
        if version is not None and self.read()[1] != version:
            return None
        content = json.dumps(lease).encode()
        with fsspec.open(self._url, "wb") as file:
            file.write(content)
        return content if self.read()[1] == content else None


def lease_object(url: str) -> LeaseObject:
    return _S3Lease(url) if is_s3(url) else _FsspecLease(url)


def _parsed(text: bytes) -> Lease | None:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return None


def read_lease(url: str) -> Lease | None:
    """The lease under which a store is held; None if it is free or abandoned."""
    lease, _ = lease_object(url).read()
    return lease if lease and _is_fresh(lease) else None


def _is_fresh(lease: Lease) -> bool:
    return not lease.get(FREE) and abs(time.time() - float(lease.get("heartbeat", 0))) < ABANDONED_SECONDS


class LeaseHold:
    """A lease that is held and renewed."""

    def __init__(self, at: LeaseObject, mine: Lease, version: Version, before: Lease) -> None:
        self._object, self._mine, self._version = at, mine, version
        self._renewed, self._taken = time.monotonic(), False
        self._beating = threading.Lock()
        self.before = before

    def publish(self, facts: Lease) -> None:
        """Add facts to the lease, written when it is next renewed."""
        self._mine.update(facts)

    def record(self, facts: Lease) -> None:
        """Add facts to the lease, and write it."""
        self.publish(facts)
        self.beat()

    def check(self) -> None:
        """Raises InputError if another may be writing by now."""
        if self._taken or time.monotonic() - self._renewed > LOST_SECONDS:
            why = "another driver has taken the store over" if self._taken else "its lease could not be renewed"
            raise InputError(f"the store was lost: {why}; the same command goes on")

    def beat(self) -> None:
        # A missed beat is made up for by the next.
        with contextlib.suppress(OSError), self._beating:
            version = self._object.write({**self._mine, "heartbeat": time.time()}, self._version)
            if version is None:
                self._taken = not self._is_mine()
                return
            self._version, self._renewed = version, time.monotonic()

    def _is_mine(self) -> bool:
        """After an answer that was lost: was it our own write that came first?"""
        lease, version = self._object.read()
        if lease is None or lease.get("token") != self._mine["token"]:
            return False
        self._version = version
        return True

    def release(self) -> None:
        """Mark the store as free. The object stays: deleting it could delete the lease of the next holder."""
        with contextlib.suppress(OSError):
            self._object.write({**self._mine, FREE: True}, self._version)


def in_use(url: str, holder: Lease) -> InputError:
    """The line for a store that another driver holds."""
    return InputError(
        f"{url}: {holder.get('owner')} has been writing to it since {holder.get('since')}; "
        "wait for it to end, or choose another output.path"
    )


@contextlib.contextmanager
def leased(url: str, owner: Lease) -> Iterator[LeaseHold]:
    """Hold a store while the block runs; ``owner`` is what :func:`read_lease` returns elsewhere.

    Raises:
        InputError: if another driver holds it, or the lease cannot be written.
    """
    mine = {**owner, "token": uuid.uuid4().hex}
    try:
        hold = _take(lease_object(url), mine)
    except (OSError, ImportError, ValueError) as error:
        raise InputError(f"{url}: cannot be written: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(hold, LeaseHold):
        raise in_use(url, hold)
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            hold.beat()

    thread = threading.Thread(target=renew, daemon=True, name="store-lease")
    thread.start()
    try:
        yield hold
    finally:
        stop.set()
        thread.join()
        hold.release()


def _take(at: LeaseObject, mine: Lease) -> LeaseHold | Lease:
    """Write the lease; the lease of another driver where that holds the store."""
    held, version = at.read()
    if held and _is_fresh(held):
        return held
    if held and not held.get(FREE):
        until = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < until:
            time.sleep(min(1.0, LOOK_SECONDS / 5))
            again, seen = at.read()
            if seen != version:
                return again or held
    written = at.write({**mine, "heartbeat": time.time()}, version)
    if written is None:
        return at.read()[0] or {"owner": "another driver", "since": "this moment"}
    return LeaseHold(at, mine, written, held if held and not held.get(FREE) else {})
