"""Rows of a validation table, each with whether its bound held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.runs import markdown_table


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
        table = markdown_table([*self.columns, "held"], self.rows)
        return "\n".join([f"## {self.title}", "", self.text, "", *table]) + "\n"
