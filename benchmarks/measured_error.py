"""Does a tolerance hold, and does the solver know? Errors and estimates of sixty cases at three tolerances.

python benchmarks/measured_error.py --seeds calibrate    cases that settings are chosen on; prints tables
python benchmarks/measured_error.py --seeds report       other cases; writes docs/benchmarks/measured_error.{md,png}
python benchmarks/measured_error.py --cases 0:10 --tolerances 1e-2    a part of them
python benchmarks/measured_error.py --quick              a smoke run of three small cases

Converged solutions and results are kept in benchmarks/.cache/measured_error, so a run that was stopped goes on. Results
are measured again when a source file of the solvers has changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import PAGES, cache_folder
from common.runs import JsonLines, parser, say
from error_bench import report
from error_bench.cases import SETS, Case, cases_of
from error_bench.measure import Outcome, code_digest, measured, warm_up
from error_bench.truths import CHECKED, own_error

from sweeps.files import write_text

TOLERANCES = (1e-2, 1e-3, 1e-4)
QUICK = (9, 13, 43)


def _arguments() -> argparse.Namespace:
    given = parser(__doc__)
    given.add_argument("--seeds", choices=tuple(SETS), default="calibrate", help="which set of cases")
    given.add_argument("--cases", default=":", metavar="FIRST:END", help="a slice of them (default all)")
    given.add_argument("--tolerances", type=float, nargs="+", default=TOLERANCES, metavar="TOLERANCE")
    given.add_argument("--quick", action="store_true", help="three small cases")
    given.add_argument("--truths", action="store_true", help="only compute converged solutions, and check some")
    given.add_argument("--cache", type=Path, help="folder of converged solutions and results")
    return given.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[Case]:
    cases = cases_of(arguments.seeds)
    if arguments.quick:
        return [cases[number] for number in QUICK]
    first, _, end = arguments.cases.partition(":")
    return cases[int(first) if first else None : int(end) if end else None]


def _outcomes(cases: list[Case], tolerances: list[float], folder: Path) -> list[Outcome]:
    """Measured or remembered, each written as soon as it is known."""
    kept = JsonLines(folder / "results.jsonl", ("case", "tolerance", "code"))
    code = code_digest()
    known = kept.rows()
    outcomes = []
    for case in cases:
        for tolerance in tolerances:
            row = known.get((case.name, tolerance, code))
            if row is None:
                warm_up(case, tolerance)
                row = measured(case, tolerance, folder, code).row()
                kept.add(row)
            outcome = Outcome.of(row)
            outcomes.append(outcome)
            say(
                f"{case.name} {case.start} {tolerance:g}: error {outcome.error:.3g}, estimate {outcome.estimate:.3g}, "
                f"{outcome.seconds:.3g} s, {outcome.evaluations}"
            )
    return outcomes


def main() -> int:
    """Measure, print, and write the page when all of the report's cases are there."""
    arguments = _arguments()
    torch.set_num_threads(1)
    folder = arguments.cache or cache_folder() / "measured_error"
    folder.mkdir(parents=True, exist_ok=True)
    cases = _chosen(arguments)
    if arguments.truths:
        checks = {case.name: own_error(case, folder) for case in cases if case.name in CHECKED}
        say("\n".join(f"{name}: changes by {value:.1e}" for name, value in checks.items()))
        return 0
    outcomes = _outcomes(cases, list(arguments.tolerances), folder)
    print("\n".join([*report.summary(outcomes, cases), "", report.by_time(outcomes)]))
    whole = cases == cases_of("report") and set(arguments.tolerances) == set(TOLERANCES)
    pages = PAGES if whole else folder
    checked = [case for name in SETS for case in cases_of(name) if case.name in CHECKED]
    checks = {case.name: own_error(case, folder) for case in checked} if whole else {}
    report.picture(outcomes, pages / "measured_error.png")
    command = f"python benchmarks/measured_error.py --seeds {arguments.seeds}"
    write_text(pages / "measured_error.md", report.page(outcomes, cases, checks, "measured_error.png", command))
    print(pages / "measured_error.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
