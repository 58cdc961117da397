"""Paths in a YAML file: relative to it, and addresses of known kinds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from solvers.errors import InputError
from sweeps.inputs.addresses import check_address
from sweeps.inputs.strict_model import problem


def _known_address(path: str) -> str:
    try:
        check_address(path)
    except InputError as error:
        found, _, allowed = str(error).partition(": found ")[2].partition(", allowed ")
        raise problem(found, allowed) from None
    return path


def _beside_the_file(path: str, info: ValidationInfo) -> str:
    """A path written in a YAML file is relative to that file; without a file, to the current directory."""
    if not path:
        raise problem("an empty path", "the path of a file")
    _known_address(path)
    if "://" in path:
        return path
    base = (info.context or {}).get("base")
    resolved = (Path(base) if base else Path()) / Path(path).expanduser()
    if not resolved.exists():
        raise problem(f"{path!r}, which is not there ({resolved})", "an existing file, relative to the YAML file")
    return str(resolved.absolute())


def _store_path(path: str, info: ValidationInfo) -> str:
    """A store to reuse: beside the YAML file or, like ``output.path``, under the current directory."""
    base = (info.context or {}).get("base")
    if base and "://" not in path and not (Path(base) / path).exists() and Path(path).exists():
        return str(Path(path).absolute())
    return _beside_the_file(path, info)


InputFile = Annotated[str, AfterValidator(_beside_the_file)]
InputStore = Annotated[str, AfterValidator(_store_path)]
OutputPath = Annotated[str, AfterValidator(_known_address)]


def content_hash(path: str) -> str:
    """Hash of a file's bytes, or of all files in a folder (a Zarr store); of the address for a remote one."""
    digest = hashlib.blake2b(digest_size=16)
    root = Path(path)
    if not root.exists():
        return hashlib.blake2b(path.encode(), digest_size=16).hexdigest()
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
