"""Read a YAML file into a model; every mistake in it becomes one line with file, line and key.

Any kind of file can be read this way: :func:`load_yaml` takes the model of a sweep, a study or a twin.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from solvers.errors import InputError
from sweeps.inputs.yaml_errors import KeyPath, dotted, one_line

ModelT = TypeVar("ModelT", bound=BaseModel)
MAX_DEPTH = 32
#: Aliases can make a small file unfold into billions of entries.
MAX_ENTRIES = 1_000_000


@dataclass
class Source:
    """A file's content as plain data, and where each key was written.

    Attributes:
        label: the file, as the user named it.
        lines: key path -> line, from 1.
        overrides: key path -> the ``--set`` key that gave it.
        base: folder that relative paths in the file start from.
    """

    label: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overrides: dict[KeyPath, str] = field(default_factory=dict)
    base: Path | None = None

    def where(self, key: KeyPath) -> tuple[str, int]:
        """Place of a key, or of the nearest block around it, and a rank to sort by (overrides first)."""
        for depth in range(len(key), -1, -1):
            if key[:depth] in self.overrides:
                return f"--set {self.overrides[key[:depth]]}", 0
            if key[:depth] in self.lines:
                return f"{self.label}:{self.lines[key[:depth]]}", self.lines[key[:depth]]
        return self.label, 1


def load_yaml(path: str | Path, model: type[ModelT], overrides: Sequence[str] = ()) -> ModelT:
    """Read and check a YAML file.

    Args:
        path: the file.
        model: what it must hold.
        overrides: ``key.path=value`` each, the value written in YAML; list entries by index.

    Raises:
        InputError: one line, ``FILE:LINE: key.path: found X, allowed Y``; ``--set KEY`` for an override.
    """
    return check(read_source(path, overrides), model)


def check(source: Source, model: type[ModelT]) -> ModelT:
    """Build the model from data that was read; raises InputError with the first mistake, in one line."""
    if not isinstance(source.data, Mapping):
        raise InputError(f"{source.label}:1: found {_kind(source.data)}, allowed a mapping of keys to values")
    try:
        return model.model_validate(source.data, context={"base": source.base})
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise InputError(one_line(source, details))


@contextmanager
def located(path: str | Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Give file and line to an InputError that names only a key: ``engine.kind: ...`` -> ``FILE:LINE: ...``.

    For checks after the file was read, such as whether a model exists.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
    else:
        return
    key = re.match(r"([a-z_]+(?:\.[A-Za-z0-9_]+)*): ", message)
    if key is None:
        raise InputError(message)
    source = read_source(path, overrides)
    parts = tuple(int(part) if part.isdecimal() else part for part in key[1].split("."))
    known = isinstance(source.data, Mapping) and parts[0] in source.data
    place = source.where(parts)[0] if known else str(path)
    # An override says the key already.
    raise InputError(message.replace(key[1], place, 1) if place == f"--set {key[1]}" else f"{place}: {message}")


def from_mapping(data: Mapping[str, Any], model: type[ModelT], label: str, base: Path | None = None) -> ModelT:
    """Build a model from data made in Python; errors read as for a file of that label."""
    return check(Source(label=label, data=data, base=base), model)


def read_source(path: str | Path, overrides: Sequence[str] = ()) -> Source:
    """Read a file, with overrides as of :func:`load_yaml`, without looking at what its keys mean.

    Raises:
        InputError: for a missing or unreadable file, or text that is not one YAML document.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: found a byte that is not UTF-8, allowed UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}, expected a YAML file") from None
    tree = _parse(text, str(path))
    source = Source(label=str(path), data=None, base=path.parent)
    source.lines[()] = 1
    source.data = _plain(tree, (), source, [0])
    for override in overrides:
        apply_override(source, override)
    return source


def _parse(text: str, label: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = (error.problem or error.context or "not YAML").strip().splitlines()[0]
        raise InputError(f"{label}:{line}: found {reason}, allowed valid YAML") from None
    except RecursionError:
        raise InputError(f"{label}:1: found nesting too deep to read, allowed valid YAML") from None
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{label}:1: found {reason}, allowed valid YAML") from None


def _plain(node: Any, key: KeyPath, source: Source, entries: list[int]) -> Any:
    """Plain Python data from ruamel's tree; notes the line of each key."""
    entries[0] += 1
    place = source.where(key)[0]
    if len(key) > MAX_DEPTH or entries[0] > MAX_ENTRIES:
        raise InputError(f"{place}: found too many nested entries, allowed {MAX_DEPTH} levels of nesting")
    if isinstance(node, CommentedMap):
        mapping = {}
        for name, value in node.items():
            child = _noted(node, name, key, source)
            if not isinstance(name, str):
                raise InputError(f"{source.where(child)[0]}: found the key {name!r}, allowed keys of text")
            mapping[str(name)] = _plain(value, child, source, entries)
        return mapping
    if isinstance(node, CommentedSeq):
        return [_plain(value, _noted(node, i, key, source), source, entries) for i, value in enumerate(node)]
    if isinstance(node, TaggedScalar) or not isinstance(node, bool | int | float | str | None):
        # A date, a set or a tagged value has no use in any file here.
        found = _kind(node)
        raise InputError(f"{place}: {dotted(key)}: found {found}, allowed numbers, text, lists and mappings")
    return _scalar(node)


def _scalar(node: Any) -> Any:
    """ruamel keeps how a scalar was written in subclasses; strip them."""
    if isinstance(node, bool | ScalarBoolean):
        return bool(node)
    for cls in (int, float, str):
        if isinstance(node, cls):
            return cls(node)
    return node


def _noted(node: CommentedMap | CommentedSeq, name: Any, key: KeyPath, source: Source) -> KeyPath:
    child = (*key, name if isinstance(node, CommentedSeq) else str(name))
    position = (node.lc.data or {}).get(name)
    # Entries that came through an alias (`<<: *base`) have no line of their own.
    if position is not None:
        source.lines[child] = position[0] + 1
    return child


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {CommentedSeq: "a list", list: "a list", str: "text", TaggedScalar: "a tagged value"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


def apply_override(source: Source, override: str) -> None:
    """Apply one ``key.path=value`` to what was read.

    Raises:
        InputError: ``--set KEY: ...`` for a missing ``=``, a value that is not YAML, or a list index out of range.
    """
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals or not name:
        raise InputError(f"--set {override}: found no `key.path=value`, allowed e.g. engine.tolerance=1e-3")
    value_source = Source(label=f"--set {name}", data=None)
    value = _plain(_override_value(text, name), (), value_source, [0])
    key = _place(source, name, value)
    for known in (source.lines, source.overrides):
        for below in [k for k in known if k[: len(key)] == key]:
            del known[below]  # type: ignore[attr-defined]
    source.overrides[key] = name


def _override_value(text: str, name: str) -> Any:
    try:
        return _parse(text, f"--set {name}")
    except InputError as error:
        # A value has no line worth naming.
        raise InputError(str(error).replace(f"--set {name}:1:", f"--set {name}:", 1)) from None


def _place(source: Source, name: str, value: Any) -> KeyPath:
    """Put the value where the name points, making the blocks on the way; returns the key path."""
    key: KeyPath = ()
    if not isinstance(source.data, dict):
        source.data = {}
    node: Any = source.data
    *parents, last = name.split(".")
    for part in parents:
        index = _index(node, part, name)
        key = (*key, index)
        child = node[index] if isinstance(node, list) else node.get(index)
        if not isinstance(child, dict | list):
            # A scalar gives way: `--set design.sampler=sobol` where the file says `design: grid`.
            child = {}
            source.overrides[key] = name
            node[index] = child
        node = child
    index = _index(node, last, name)
    node[index] = value
    return (*key, index)


def _index(node: Any, part: str, name: str) -> Any:
    if not isinstance(node, list):
        return part
    if not part.isdecimal() or int(part) >= len(node):
        raise InputError(f"--set {name}: found index {part!r}, allowed 0 to {len(node) - 1}")
    return int(part)
