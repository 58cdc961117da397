"""A report: one self-contained HTML page of sections, tables and figures, and the figures as files beside it.

Sweeps, studies and twins describe their pages with the classes here; all texts are plain, the template escapes them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from sweeps.report import style
from sweeps.store.provenance import git_commit, versions

PICTURE_WIDTH = 960


@dataclass(frozen=True)
class Fact:
    """An entry of the block under the heading."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A table cell; ``kind`` is its CSS class: n (number), wrap, pass or fail."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Head:
    """A column head."""

    text: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under heads."""

    head: Sequence[Head]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """A figure, which becomes a PNG, or the bytes of an animated GIF.

    Attributes:
        file: name without suffix.
        alt: what it shows, for those who cannot see it.
    """

    file: str
    content: Figure | bytes
    caption: str
    alt: str

    @property
    def suffix(self) -> str:
        return "png" if isinstance(self.content, Figure) else "gif"

    @property
    def width(self) -> int | None:
        """Width on the page, pixels; None for an animation's own."""
        if not isinstance(self.content, Figure):
            return None
        return round(PICTURE_WIDTH * min(1.0, self.content.get_figwidth() / style.WIDTH))

    def write(self, folder: Path) -> str:
        """Write the file; returns it as a ``data:`` URL."""
        image = style.png(self.content) if isinstance(self.content, Figure) else self.content
        (folder / f"{self.file}.{self.suffix}").write_bytes(image)
        return f"data:image/{self.suffix};base64,{base64.b64encode(image).decode('ascii')}"


@dataclass(frozen=True)
class Section:
    """A section: paragraphs, figures, a table, notes, and code, which may be folded under a title of its own."""

    anchor: str
    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    table: Table | None = None
    notes: Sequence[str] = ()
    code: str = ""
    folded: str = ""


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title, name, kind: of the window, the heading, and a few words above it.
        summary: the whole in one sentence.
        made_by: (command, what it was made from).
        facts: the block under the heading.
        good: what can be relied on, in one sentence; empty for nothing.
        warnings: what a reader must know before looking at any figure.
        provenance: lines at the end.
    """

    title: str
    name: str
    kind: str
    summary: str
    sections: Sequence[Section]
    made_by: tuple[str, str]
    facts: Sequence[Fact] = ()
    good: str = ""
    warnings: Sequence[str] = ()
    provenance: Sequence[str] = field(default_factory=lambda: made_with())

    def write(self, folder: Path) -> Path:
        """Write ``index.html`` and the figures, which are embedded too, into a folder; returns the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        sources = {p.file: p.write(folder) for section in self.sections for p in section.figures}
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        path = folder / "index.html"
        text = environment.get_template("template.html.j2").render(page=self, sources=sources)
        path.write_text(text, encoding="utf-8")
        return path


def made_with() -> list[str]:
    """Versions of packages and the commit of this program, as lines of text."""
    commit = git_commit()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return [f"Versions: {packages}", *([f"git commit {commit}"] if commit else [])]


def figure_section(anchor: str, title: str, *pictures: tuple[str, Figure | None, str, str]) -> Section | None:
    """A section of pictures, given as (file, figure, caption, alt); None where there is none to show."""
    shown = [Picture(file, figure, caption, alt) for file, figure, caption, alt in pictures if figure is not None]
    return Section(anchor, title, figures=shown) if shown else None


def configuration(config: Mapping[str, object], kind: str) -> Section:
    """A resolved file as YAML, folded away."""
    buffer = io.StringIO()
    writer = YAML(typ="safe")
    writer.default_flow_style = None
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(dict(config), buffer)
    title = f"The resolved {kind} file, defaults filled in"
    return Section("configuration", "Configuration", code=buffer.getvalue().rstrip(), folded=title)
