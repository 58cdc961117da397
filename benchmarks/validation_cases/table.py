"""What a validation case hands back: rows of a table, each with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """One section of ``docs/benchmarks/validation.md``.

    Attributes:
        title, text: heading, and what was done and against what, in a few sentences.
        columns: column names; a last column "held" is added.
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    failures: int = 0

    def add(self, *cells: object, held: bool | None) -> None:
        """Appends a row and prints it; ``held`` None states a figure without a bound."""
        shown = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
        self.failures += held is False
        self.rows.append([*shown, {True: "yes", False: "**no**", None: ""}[held]])
        print("  " + "  ".join(self.rows[-1]), flush=True)

    def markdown(self) -> str:
        """The section."""
        header = [*self.columns, "held"]
        lines = [f"## {self.title}", "", self.text, "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"
