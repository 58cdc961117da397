"""Tables, page and picture of a set of outcomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from common.runs import markdown_table

from error_bench.cases import Case
from error_bench.measure import Outcome

WANTED = (0.2, 1.0)  # of error over tolerance
FACTOR = 3.0  # that an estimate may be off by


def _share(count: int, of: int) -> str:
    return f"{count} of {of}"


def summary_row(outcomes: Sequence[Outcome]) -> list[str]:
    """Error over tolerance: quantiles and counts; estimate over error: counts."""
    errors = np.array([o.error for o in outcomes])
    ratios = np.array([o.ratio for o in outcomes])
    quantiles = [f"{value:.2g}" for value in np.quantile(errors, (0.05, 0.25, 0.5, 0.75, 0.95, 1.0), method="nearest")]
    within = sum(WANTED[0] <= error <= WANTED[1] for error in errors)
    above = [o for o in outcomes if o.error > WANTED[1]]
    near = sum(1.0 / FACTOR <= ratio <= FACTOR for ratio in ratios)
    silent = sum(not o.flagged and not o.ratio >= 1.0 / FACTOR for o in outcomes)
    n = len(outcomes)
    counts = [_share(within, n), str(len(above)), str(sum(o.flagged for o in above))]
    return [*quantiles, *counts, str(sum(o.flagged for o in outcomes)), _share(near, n), str(silent)]


_HEAD = ["5 %", "25 %", "median", "75 %", "95 %", "largest", "in 0.2 to 1", "above 1", "of these flagged"]
_HEAD += ["flagged in all", "estimate within 3", "below a third, no flag"]


def summary(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> list[str]:
    """The table of all outcomes, by process and tolerance."""
    process = {case.name: case.process for case in cases}
    rows = []
    for tolerance in sorted({o.tolerance for o in outcomes}, reverse=True):
        chosen = [o for o in outcomes if o.tolerance == tolerance]
        rows.append(["all", f"{tolerance:g}", *summary_row(chosen)])
        for name in ("cahn_hilliard", "grain_growth"):
            part = [o for o in chosen if process[o.case] == name]
            if part and len(part) < len(chosen):
                rows.append([name.replace("_", " "), f"{tolerance:g}", *summary_row(part)])
    return markdown_table(["cases", "tolerance", *_HEAD], rows)


def by_time(outcomes: Sequence[Outcome]) -> str:
    """A sentence on single output times rather than trajectories."""
    pairs = [(e, s, o.tolerance) for o in outcomes for e, s in zip(o.errors, o.estimates, strict=True)]
    near = sum(e > 0 and 1.0 / FACTOR <= s / e <= FACTOR for e, s, _ in pairs)
    above = sum(e > tolerance for e, _, tolerance in pairs)
    return (
        f"Of {len(pairs)} single output times {near} have an estimate within a factor of {FACTOR:g} of the error, and "
        f"{above} an error above the tolerance."
    )


def per_case(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> list[str]:
    """One row a case: error over tolerance, estimate over error, seconds and evaluations at each tolerance."""
    tolerances = sorted({o.tolerance for o in outcomes}, reverse=True)
    found = {(o.case, o.tolerance): o for o in outcomes}
    rows = []
    for case in cases:
        cells = [_about(case)] + [_outcome(found.get((case.name, tolerance))) for tolerance in tolerances]
        rows.append([case.name.split("-")[1], *cells])
    return markdown_table(["case", "problem", *(f"{tolerance:g}" for tolerance in tolerances)], rows)


def _about(case: Case) -> str:
    start = {
        "noise": f"noise, c {case.composition:g}",
        "smooth": f"smooth, c {case.composition:g}",
        "circle": f"circle, radius {case.length:g}",
        "voronoi": f"{case.length:g} grains",
    }[case.start]
    extra = (f", a {case.contrast:g}" if case.contrast else "") + (", walls" if case.boundary == "no_flux" else "")
    return f"{case.cells}², κ {case.kappa:g}, M {case.mobility:g}, {start}{extra}, t {case.times[-1]:g}"


def _outcome(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    flag = " flagged" if outcome.flagged else ""
    ratio = "-" if math.isnan(outcome.ratio) else f"{outcome.ratio:.2g}"
    return f"{outcome.error:.2g} ({ratio}{flag}), {outcome.seconds:.2g} s, {outcome.evaluations}"


def page(
    outcomes: Sequence[Outcome], cases: Sequence[Case], checks: dict[str, float], picture: str, command: str
) -> str:
    """The page of a whole set."""
    own = ", ".join(f"{name} {value:.0e}" for name, value in sorted(checks.items()))
    lines = [
        "# The error that was asked for, the error that was made, and the error that was reported",
        "",
        f"{len(cases)} cases from one seeded function (`benchmarks/error_bench/cases.py`), other seeds than those that "
        "settings were chosen on: Cahn-Hilliard with constant mobility and with a contrast, from white noise and from "
        "smooth fields, periodic and in walls; grain growth from shrinking circles and from Voronoi grains. Each is "
        "solved in float64 at each tolerance, and compared at six to ten output times with a converged solution. A "
        "case's error is the largest relative L2 error over its times (grain growth: of phi), and so is its estimate. "
        "Flagged: the reported estimate is above the tolerance.",
        "",
        f"Made by `{command}`.",
        "",
        "## Error over tolerance, and estimate over error",
        "",
        *summary(outcomes, cases),
        "",
        by_time(outcomes),
        "",
        f"![error and estimate]({picture})",
        "",
        "## The converged solutions",
        "",
        "By the solver of commit e38dfe2, which had no error control, at tolerances of 2e-6 (Cahn-Hilliard), 3e-7 "
        "(circles), 5e-7 (Voronoi grains) and 4e-6 (Voronoi grains in walls); circles and grains in walls with one "
        "order parameter a grain, without the tracker. With a tolerance 2.5 to 10 times smaller they change by, at "
        f"most: {own or 'not measured'}. Eight of another problem differ by 1.4e-6 to 2e-6 from ETDRK4 solutions that "
        "share no code with the solvers (`noise-64` of `benchmarks/peers.py`).",
        "",
        "## Case by case",
        "",
        "Error over tolerance (estimate over error), seconds on one core, evaluations of the right-hand side.",
        "",
        *per_case(outcomes, cases),
        "",
    ]
    return "\n".join(lines)


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Left: how errors over the tolerance are distributed; right: estimates against errors."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for number, tolerance in enumerate(sorted({o.tolerance for o in outcomes}, reverse=True)):
        chosen = [o for o in outcomes if o.tolerance == tolerance and math.isfinite(o.error)]
        errors = np.sort([o.error for o in chosen])
        colour = f"C{number}"
        left.step(
            errors, (np.arange(len(errors)) + 1) / len(errors), where="post", color=colour, label=f"{tolerance:g}"
        )
        right.loglog(
            [o.error for o in chosen], [o.estimate for o in chosen], "o", markersize=4, alpha=0.7, color=colour
        )
    left.set(xscale="log", xlabel="error / tolerance", ylabel="share of cases", ylim=(0, 1))
    left.axvspan(*WANTED, color="0.93", zorder=0)
    left.legend(title="tolerance", frameon=False)
    span = np.array(right.get_xlim())
    right.fill_between(span, span / FACTOR, span * FACTOR, color="0.93", zorder=0)
    right.plot(span, span, color="0.6", linewidth=0.8)
    right.set(xlabel="error / tolerance", ylabel="estimate / tolerance", xlim=span)
    figure.savefig(path, dpi=150)
    plt.close(figure)
