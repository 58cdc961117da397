"""Example files of every kind, which come with the program, and copies of them to begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from solvers.errors import InputError, suggestion
from solvers.registries import resolve
from sweeps.inputs.kinds import Kind, kind_of, kinds
from sweeps.inputs.strict_model import NAME
from sweeps.inputs.yaml_source import read_source


@dataclass(frozen=True)
class Example:
    """An example file: its name, its kind, where it is, and the first line of its comment."""

    name: str
    kind: Kind
    path: Path

    @property
    def about(self) -> str:
        return self.path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def examples() -> dict[str, Example]:
    """All examples by name, those of sweeps first."""
    folders = dict.fromkeys(kind.examples for kind in kinds() if kind.examples)
    paths = [path for folder in folders for path in sorted((Path(str(files(folder))) / "examples").glob("*.yaml"))]
    return {path.stem: Example(path.stem, kind_of(read_source(path).data), path) for path in paths}


def new_file(name: str, target: Path | None = None) -> list[Path]:
    """Copy an example, and the files that it needs, without overwriting anything.

    A copy under another name gets that name inside too, so that its output is not the example's. Files that it needs
    are put beside it; those that are there already are used as they are.

    Args:
        name: of the example.
        target: the new file; None is NAME.yaml in the current folder.

    Returns:
        The files written, the new one first.

    Raises:
        InputError: if there is no such example, or something is at the target already.
    """
    known = examples()
    if name not in known:
        raise InputError(f"new: found {name!r}, allowed {', '.join(known)}{suggestion(name, known)}")
    example, target = known[name], target or Path(f"{name}.yaml")
    text, needed = _with_inputs_beside(example.path)
    if target.stem != name and re.fullmatch(NAME, target.stem):
        text = re.sub(rf"^(name: |output: {{path: runs/){re.escape(name)}\b", rf"\g<1>{target.stem}", text, flags=re.M)
    _write(target, text.encode())
    written = [target]
    for source in needed:
        beside = target.parent / source.name
        if not beside.exists():
            _write(beside, source.read_bytes())
            written.append(beside)
    if example.kind.inputs:
        written += resolve(example.kind.inputs)(target)
    return written


def _with_inputs_beside(path: Path) -> tuple[str, list[Path]]:
    """The text of an example with its input files named as if they were beside it, and those files."""
    text, needed = path.read_text(encoding="utf-8"), []
    for value in _texts(read_source(path).data):
        source = path.parent / value
        if source.is_file():
            text = text.replace(value, source.name)
            needed.append(source)
    return text, needed


def _texts(data: object) -> Iterator[str]:
    """Every text in a file's content."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, Sequence):
        for value in data:
            yield from _texts(value)


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise InputError(f"{path}: found something there, allowed the path of a new file") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: found no folder {path.parent}, allowed a file in an existing one") from None
