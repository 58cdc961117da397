"""Checks of the solvers against independent solutions: ``python benchmarks/validation.py [SELECTION ...]``.

Prints each table and writes ``docs/benchmarks/validation.md``. Without a selection all of it runs, which takes about
an hour on one core the first time: the converged references, kept in ``benchmarks/.cache``, are most of that.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import PAGES, ROOT, cache_folder
from common.runs import Table, parser
from validation_cases import growth, pfhub, tolerance

CASES: dict[str, Callable[[], list[Table]]] = {
    "tolerance": tolerance.error_over_tolerance,
    "equations": tolerance.other_equations,
    "pfhub-1a": pfhub.benchmark_1a,
    "pfhub-7a": pfhub.benchmark_7a,
    "growth": growth.growth_law,
}
PAGE = PAGES / "validation.md"


def run(name: str) -> int:
    """Runs one selection, keeps its section for the page, and returns how many bounds failed."""
    print(f"{name}:", flush=True)
    began = time.perf_counter()
    tables = CASES[name]()
    seconds = time.perf_counter() - began
    text = "\n".join(table.markdown() for table in tables)
    command = f"`python benchmarks/validation.py {name}`, {seconds:.0f} s on one thread"
    _section(name).write_text(f"{text}\n{command}.\n", encoding="utf-8")
    return sum(table.failures for table in tables)


def _section(name: str) -> Path:
    folder = cache_folder() / "validation"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.md"


def write_page() -> None:
    """Puts the sections of this and earlier runs together."""
    head = "# Validation\n\nWhat the solvers answer, against solutions that share no code with them.\n"
    body = [part.read_text(encoding="utf-8") for part in map(_section, CASES) if part.exists()]
    PAGE.write_text("\n".join([head, *body]), encoding="utf-8")


def main() -> int:
    """Runs the selected cases; 1 if any bound failed."""
    given = parser(__doc__)
    given.add_argument("selection", nargs="*", metavar="SELECTION", help=f"any of {', '.join(CASES)}; default all")
    chosen = given.parse_args().selection or list(CASES)
    if unknown := set(chosen) - set(CASES):
        given.error(f"SELECTION: any of {', '.join(CASES)}, but got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    failures = sum(run(name) for name in chosen)
    write_page()
    print(f"{failures} bounds missed; {PAGE.relative_to(ROOT)} written")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
