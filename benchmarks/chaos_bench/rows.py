"""The table: a row for each run, kept as JSON as soon as it ends, and the page made of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


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


def read_rows(path: Path) -> list[Row]:
    """The rows kept so far, none where there is no file."""
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text().splitlines() if line]


def keep(path: Path, row: Row) -> None:
    """Add a row, in the place of one of the same name."""
    rows = [r for r in read_rows(path) if r.name != row.name] + [row]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(asdict(r)) + "\n" for r in rows))
    partial.replace(path)


def merged(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows that share a line of the page."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.fault, row.subject), []).append(row)
    return found


def _ends(rows: list[Row]) -> str:
    total: dict[str, int] = {}
    for row in rows:
        for word, count in row.ends.items():
            total[word] = total.get(word, 0) + count
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
        "| fault | to | runs | times | at start-up | exit statuses | equal | longest, s | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (fault, subject), some in merged(rows).items():
        notes = "; ".join(dict.fromkeys(r.note for r in some if r.note))
        early = sum(r.early for r in some) if fault.startswith("SIGKILL") else ""
        equal = f"{sum(r.equal for r in some)} of {len(some)}"
        cells = (len(some), sum(r.times for r in some), early, _ends(some), equal)
        told = " | ".join(map(str, cells))
        lines.append(f"| {fault} | {subject} | {told} | {max(r.seconds for r in some):.0f} | {notes} |")
    return "\n".join([*lines, ""])
