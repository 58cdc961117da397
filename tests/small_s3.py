"""The part of the S3 protocol that stores need, over HTTP on loopback, in memory.

Objects are read whole or in part, written (also on condition: ``If-None-Match: *``, ``If-Match``), deleted and listed.
Signatures are not looked at.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape, unescape

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets


class Bucket:
    """Objects by key; ``refuse`` is a status that every write gets, 0 for none."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refuse = 0
        self.address = ""


class _Handler(web.RequestHandler):
    def initialize(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def _key(self) -> str:
        return unquote(self.request.path).split("/", 2)[2] if self.request.path.count("/") > 1 else ""

    def _fail(self, status: int, code: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/xml")
        self.finish(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

    def _found(self, content: bytes) -> None:
        self.set_header("ETag", _etag(content))
        self.set_header("Last-Modified", datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.set_header("Accept-Ranges", "bytes")

    def get(self) -> None:
        if not self._key():
            self._list()
            return
        content = self.bucket.objects.get(self._key())
        if content is None:
            self._fail(404, "NoSuchKey")
            return
        self._found(content)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.request.headers.get("Range", ""))
        if wanted:
            first, last = wanted.groups()
            start = int(first) if first else max(0, len(content) - int(last))
            stop = min(len(content), int(last) + 1) if first and last else len(content)
            if start >= len(content):
                self._fail(416, "InvalidRange")
                return
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            content = content[start:stop]
        self.finish(content)

    def head(self) -> None:
        content = self.bucket.objects.get(self._key())
        if content is None:
            self.set_status(404)
            self.finish()
            return
        self._found(content)
        self.set_header("Content-Length", str(len(content)))
        self.finish()

    def put(self) -> None:
        there = self.bucket.objects.get(self._key())
        if self.bucket.refuse:
            self._fail(self.bucket.refuse, "AccessDenied")
            return
        wanted = self.request.headers.get("If-Match")
        taken = self.request.headers.get("If-None-Match") == "*" and there is not None
        if taken or (wanted is not None and (there is None or wanted != _etag(there))):
            self._fail(412, "PreconditionFailed")
            return
        self.bucket.objects[self._key()] = self.request.body
        self.set_header("ETag", _etag(self.request.body))
        self.finish()

    def delete(self) -> None:
        self.bucket.objects.pop(self._key(), None)
        self.set_status(204)
        self.finish()

    def post(self) -> None:
        """Several deletions at once (``?delete``)."""
        keys = [unescape(k) for k in re.findall(r"<Key>(.*?)</Key>", self.request.body.decode())]
        for key in keys:
            self.bucket.objects.pop(key, None)
        self.set_header("Content-Type", "application/xml")
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self.finish(f"<DeleteResult>{deleted}</DeleteResult>")

    def _list(self) -> None:
        prefix, separator = (self.get_argument(name, "") for name in ("prefix", "delimiter"))
        names, folders = [], set()
        for key in sorted(k for k in self.bucket.objects if k.startswith(prefix)):
            rest = key[len(prefix) :]
            if separator and separator in rest:
                folders.add(prefix + rest.split(separator)[0] + separator)
            else:
                names.append(key)
        parts = [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders)]
        parts += [self._entry(name) for name in names]
        self.set_header("Content-Type", "application/xml")
        self.finish(f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(parts)}</ListBucketResult>")

    def _entry(self, name: str) -> str:
        content = self.bucket.objects[name]
        about = f"<Key>{escape(name)}</Key><Size>{len(content)}</Size><ETag>{escape(_etag(content))}</ETag>"
        return f"<Contents>{about}<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


@contextmanager
def serve() -> Iterator[Bucket]:
    """A bucket (any name is this one) at ``bucket.address`` while the block runs."""
    bucket, ready, stopped = Bucket(), threading.Event(), []

    async def run() -> None:
        server = HTTPServer(web.Application([(r"/.*", _Handler, {"bucket": bucket})]), max_body_size=2**30)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        bucket.address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        stop = asyncio.Event()
        stopped.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield bucket
    finally:
        loop, stop = stopped[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
