"""Addresses of kinds that cannot run anything, and places that are free. Nothing here loads pydantic."""

from __future__ import annotations

import re
from pathlib import Path

from solvers.errors import InputError, suggestion

#: What an address may begin with. fsspec knows more, some of which do things when opened: ``reference`` renders
#: templates found in a file, ``dask`` and ``jupyter`` talk to servers that run code; a chain (``a::b``) hides another.
REMOTE = ("file", "memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "sftp", "ssh", "hdfs")


def check_address(url: str) -> None:
    """Raises InputError for an address of another kind than those in :data:`REMOTE`."""
    found, separator, _ = str(url).partition("://")
    if "::" in str(url):
        raise InputError(f"{url}: found a chain of addresses, allowed a single one")
    if separator and found not in REMOTE:
        hint = suggestion(found, REMOTE)
        raise InputError(f"{url}: found an address of kind {found!r}, allowed {', '.join(REMOTE)}{hint}")


def occupied(path: Path, begun: str) -> bool:
    """Whether something is at a place where a folder is to be made.

    The first file of such a folder, which a killed writer left under its temporary name (the regular expression
    ``begun``), is nothing: what was begun there may begin again.
    """
    if not path.exists():
        return False
    return not path.is_dir() or not all(re.fullmatch(begun, entry.name) for entry in path.iterdir())
