"""Against a plain loop: ``study.optimize``, the solver called once a trial, the same starts, Optuna's TPE.

The plain loop ends when a trial is as good as the study's verified optimum. Measured in two ways: with the solver at
the sweep's tolerance, the best trial solved once more by the reference solver; and with the reference solver in the
loop, so that every trial is verified as the study's optimum is. In large boxes the second is estimated: the number of
trials of the first times the time of one call. One thread for the loop; the study counts the processor time of all its
processes.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.runs import Clock, Records, markdown_table, say

from inverse_bench.answers import finished_sweep, outcome, warm_study
from inverse_bench.examples import hidden_sets, hidden_study
from inverse_bench.plain import Plain, evaluator, loop, sizes
from studies import Study

if TYPE_CHECKING:
    from distributed import Client

NUMBER, MOST, LIMIT_S = 3, 256, 600.0


@dataclass(frozen=True)
class Case:
    """A problem.

    Attributes:
        example: whose variables and objectives.
        side: cells of the box.
        starts: realizations.
        whole: whether the loop with the reference solver is run.
    """

    example: str
    side: int
    starts: int
    whole: bool

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.example}, {self.side} x {self.side}, {self.starts} starts"


CASES = (
    Case("domain-size", 64, 4, whole=True),
    Case("pareto", 64, 4, whole=True),
    Case("domain-size", 64, 16, whole=False),
    Case("domain-size", 128, 4, whole=False),
    Case("pareto", 128, 4, whole=False),
    Case("domain-size", 256, 4, whole=False),
    Case("grain-size", 64, 3, whole=False),
)


def measure(client: Client, folder: Path, records: Records, quick: bool) -> None:
    """Every case that has no record yet; with ``quick`` the first alone."""
    for case in CASES[:1] if quick else CASES:
        place = folder / "speed" / case.name
        found = records.measured(f"speed/{case.name}", lambda: _one(case, client, place))  # noqa: B023
        say(f"{case.name}: {found}")


def _one(case: Case, client: Client, place: Path) -> dict[str, Any]:
    hidden = hidden_sets(case.example, NUMBER + 1)[NUMBER]
    changes = {"grid": {"shape": [case.side, case.side]}, "realizations": {"count": case.starts}}
    verify = {"top": 1, "random": 0, "equivalents": 0}
    cold = hidden_study(case.example, hidden, NUMBER, client, place, changes, verify)
    record: dict[str, Any] = {"cold": _study(cold, client)}
    clock = Clock()
    store = finished_sweep(cold, client, place / "grid.zarr")
    record["sweep"] = clock.lap()
    record["warm"] = _study(warm_study(cold, store, place / "warm"), client)
    record |= _plain(case, cold, record["warm"]["miss"])
    shutil.rmtree(place)
    return record


def _study(study: Study, client: Client) -> dict[str, Any]:
    clock = Clock()
    result = study.run(client, progress=False, report=False)
    return outcome(study, result) | clock.lap()


def _plain(case: Case, study: Study, wanted: float) -> dict[str, Any]:
    at_sweep = loop(study, wanted, MOST, LIMIT_S, reference=False)
    clock = Clock()
    solved = float((evaluator(study, reference=True)(at_sweep.best)[0] / sizes(study)).max())
    call = clock.lap()
    found = {"plain": _figures(at_sweep), "reference call": call, "plain solved again": solved}
    if case.whole:
        found["plain reference"] = _figures(loop(study, wanted, MOST, LIMIT_S, reference=True))
    else:
        reckoned = {k: v * at_sweep.trials for k, v in call.items()}
        found["plain reference"] = {**_figures(at_sweep), **reckoned, "reckoned": True}
    return found


def _figures(plain: Plain) -> dict[str, Any]:
    return {k: v for k, v in asdict(plain).items() if k != "best"}


def table(records: Records) -> list[str]:
    """Markdown lines."""
    found = [(case.name, records.get(f"speed/{case.name}")) for case in CASES]
    studies = ("cold study: miss, s", "the sweep: s", "study after it: miss, trajectories, s")
    loops = ("plain, solver at 1e-2: trials, s", "factor", "plain, reference solver: trials, s", "factor")
    return [
        "",
        "## Against a plain loop",
        "",
        f"Until the miss of the warm study is reached; a plain loop ends after {MOST} trials or {LIMIT_S:.0f} s, and "
        "the factor is then a lower bound. Seconds are processor seconds (wall seconds). Factors are ratios of "
        "processor time, of the study after a sweep; ~ is estimated. The sweep's own time is not the study's.",
        "",
        *markdown_table(("problem", *studies, *loops), [(name, *_cells(row)) for name, row in found if row]),
    ]


def _cells(found: dict[str, Any]) -> list[str]:
    cold, warm = found["cold"], found["warm"]
    cells = [
        f"{100 * cold['miss']:.2f} %, {_seconds(cold)}",
        _seconds(found["sweep"]),
        f"{100 * warm['miss']:.2f} %, {warm['rollouts']}, {_seconds(warm)}",
    ]
    call = found["reference call"]
    for plain, further in ((found["plain"], call["cpu_s"]), (found["plain reference"], 0.0)):
        mark = ("~ " if plain.get("reckoned") else "") + ("" if plain["done"] else "> ")
        cells += [f"{plain['trials']}, {_seconds(plain)}", f"{mark}{(plain['cpu_s'] + further) / warm['cpu_s']:.0f}"]
    return cells


def _seconds(found: dict[str, Any]) -> str:
    return f"{found['cpu_s']:.1f} ({found['seconds']:.1f})"
