"""Turn pydantic's errors into one line: ``FILE:LINE: key.path: found X, allowed Y``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pydantic_core import ErrorDetails

from solvers.errors import suggestion
from sweeps.inputs.strict_model import PROBLEM

KeyPath = tuple[str | int, ...]

TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "finite_number": "a finite number",
    "none_required": "null",
}
BOUNDS = {
    "greater_than": ("gt", "a number > {}"),
    "greater_than_equal": ("ge", "a number >= {}"),
    "less_than": ("lt", "a number < {}"),
    "less_than_equal": ("le", "a number <= {}"),
    "too_short": ("min_length", "at least {} entries"),
    "too_long": ("max_length", "at most {} entries"),
    "string_too_short": ("min_length", "text of at least {} characters"),
    "string_too_long": ("max_length", "text of at most {} characters"),
    "string_pattern_mismatch": ("pattern", "text that matches {}"),
}
LONGEST = 80


class Located(Protocol):
    """Data that knows where each of its keys was written."""

    @property
    def data(self) -> Any:
        """Mappings, lists and scalars as read."""

    def where(self, key: KeyPath) -> tuple[str, int]:
        """Place of a key for a message, and its rank in the file."""


def one_line(source: Located, errors: Iterable[ErrorDetails]) -> str:
    """The first error in the file, as one line, and how many more there are."""
    # A union reports every form that did not fit, all at the same key: they are one mistake.
    mistakes: dict[KeyPath, list[tuple[str, str, str]]] = {}
    for error in errors:
        key, mistake = _translate(source.data, error)
        mistakes.setdefault(key, []).append(mistake)
    key = min(mistakes, key=lambda k: source.where(k)[1])
    place = source.where(key)[0]
    found, _, hint = mistakes[key][0]
    allowed = " or ".join(dict.fromkeys(allowed for _, allowed, _ in mistakes[key]))
    # An override says the key already.
    name = "" if place == f"--set {dotted(key)}" else f"{dotted(key)}: "
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return " ".join(f"{place}: {name}found {found}, allowed {allowed}{hint}{more}".split())


def dotted(key: KeyPath) -> str:
    """``("times", 2)`` as ``times.2``, the way ``--set`` writes it."""
    return ".".join(str(part) for part in key) or "file"


def show(value: Any) -> str:
    """A value as the user may recognise it, short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ("a mapping with " + ", ".join(map(str, value)))[:LONGEST] if value else "an empty mapping"
    if isinstance(value, list | tuple) and len(str(value)) > LONGEST:
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _translate(data: Any, error: ErrorDetails) -> tuple[KeyPath, tuple[str, str, str]]:
    """Key of an error, what was found, what is allowed, and a did-you-mean."""
    context = error.get("ctx", {})
    loc = (*error["loc"], *context.get("at", ())) if error["type"] == PROBLEM else error["loc"]
    too_short = error["type"] == "missing" and isinstance(loc[-1], int)
    key = _in_data(data, loc, keep_last=error["type"] in ("missing", PROBLEM) and not too_short)
    found, allowed, options = _describe(error, context)
    return key, (found, allowed, _hint(error, context, options))


def _in_data(data: Any, loc: Iterable[str | int], keep_last: bool) -> KeyPath:
    """The part of a pydantic location that was written in the file: union tags are not."""
    key: list[str | int] = []
    parts = list(loc)
    for i, part in enumerate(parts):
        inside = _holds(data, part)
        if inside and part in parts[i + 1 : i + 2] and not _holds(data[part], part):
            continue  # the tag of `{file: ...}` or `{linspace: ...}`, named as the key that follows
        if inside:
            data = data[part]
            key.append(part)
        elif keep_last and i == len(parts) - 1:
            key.append(part)
    return tuple(key)


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(data)


def _describe(error: ErrorDetails, context: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """What was found, what is allowed, and words a misspelling can be compared with."""
    kind, value = error["type"], error["input"]
    if kind == PROBLEM:
        return context["found"], context["allowed"], context["options"]
    if kind == "missing" and isinstance(error["loc"][-1], int):
        return f"{len(value)} entries", f"at least {error['loc'][-1] + 1}", []
    if kind == "missing":
        return "nothing", "a value: this key is required", []
    if kind == "literal_error":
        return show(value), str(context["expected"]), re.findall(r"'([^']*)'", str(context["expected"]))
    if kind == "union_tag_invalid":
        expected = str(context["expected_tags"])
        return repr(context["tag"]), expected, re.findall(r"'([^']*)'", expected)
    if kind == "union_tag_not_found":
        found = f"{show(value)} without `kind`" if isinstance(value, Mapping) else show(value)
        return found, "a mapping with `kind`", []
    if kind in TYPES:
        return show(value), TYPES[kind], []
    if kind in BOUNDS:
        name, template = BOUNDS[kind]
        return show(value), template.format(context[name]), []
    return show(value), error["msg"].removeprefix("Value error, "), []


def _hint(error: ErrorDetails, context: Mapping[str, Any], options: list[str]) -> str:
    """A did-you-mean for misspelt keys and words."""
    kind, value = error["type"], error["input"]
    if kind == PROBLEM and context["at"]:
        word = context["at"][-1] if context["found"].startswith("unknown key") else context["found"]
        return suggestion(str(word).strip("'"), options)
    word = context.get("tag", "") if kind == "union_tag_invalid" else value
    return suggestion(word, options) if isinstance(word, str) else ""
