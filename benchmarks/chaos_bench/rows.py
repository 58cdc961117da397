"""The table: one row for each run, and the page made of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.runs import JsonLines, markdown_table


@dataclass(frozen=True)
class Row:
    """One run with faults.

    Attributes:
        fault: what was done; rows of the same fault and subject share a line of the page.
        subject: to what.
        times: how often.
        ends: what the programs ended with, exit status in words -> how often.
        equal: whether all outputs that were finished equal the undisturbed one.
        seconds: all restarts together.
        note: more about what happened.
        name: of the run, its place in the plan.
        source: hash of the program's source.
        early: how many of ``times`` came before the program had written results since it was (re)started.
    """

    fault: str
    subject: str
    times: int
    ends: dict[str, int]
    equal: bool
    seconds: float
    note: str = ""
    name: str = ""
    source: str = ""
    early: int = 0

    @property
    def hung(self) -> bool:
        """Whether a program did not end in time."""
        return "hung" in self.ends


def kept_rows(path: Path) -> JsonLines:
    """The file of rows, by name of the run."""
    return JsonLines(path, ("name",))


def read_rows(path: Path) -> list[Row]:
    """The rows kept so far."""
    return [Row(**row) for row in kept_rows(path).rows().values()]


def merged(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows that share a line of the page."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.fault, row.subject), []).append(row)
    return found


def _ends(rows: list[Row]) -> str:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.ends)
    return ", ".join(f"{count} x {word}" for word, count in sorted(total.items()))


def _states(rows: list[Row]) -> str:
    hashes = sorted({r.source for r in rows})
    return f"one state of the source ({hashes[0]})" if len(hashes) == 1 else f"{len(hashes)} states of the source"


def page(rows: list[Row], command: str) -> str:
    """The page."""
    killed = [r for r in rows if r.name.startswith("kill-")]
    lines = [
        "# Faults tried",
        "",
        f"Made by `{command}`; its docstring says how. Equal: to the output of the same command when nothing",
        "happens to it; stores byte for byte in every object of results and checks, studies and twins in every number.",
        "Seconds were taken on a busy machine and include all restarts. At start-up: before the program had written",
        "results since it was last started.",
        "",
        f"Random kills: {sum(r.times for r in killed)} over {len(killed)} runs, {sum(r.early for r in killed)} of them "
        f"at start-up; {sum(r.equal for r in killed)} runs equal at the end, {sum(r.hung for r in killed)} hung. "
        f"{len(rows)} rows of {_states(rows)}.",
        "",
    ]
    columns = ("fault", "to", "runs", "times", "at start-up", "exit statuses", "equal", "longest, s", "")
    cells = []
    for (fault, subject), some in merged(rows).items():
        notes = "; ".join(dict.fromkeys(r.note for r in some if r.note))
        early = sum(r.early for r in some) if fault.startswith("SIGKILL") else ""
        equal = f"{sum(r.equal for r in some)} of {len(some)}"
        longest = f"{max(r.seconds for r in some):.0f}"
        cells.append((fault, subject, len(some), sum(r.times for r in some), early, _ends(some), equal, longest, notes))
    return "\n".join([*lines, *markdown_table(columns, cells), ""])
