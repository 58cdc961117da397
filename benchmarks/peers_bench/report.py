"""CSV, table and plot of a run."""

from __future__ import annotations

import csv
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from common.runs import markdown_table

from peers_bench.contender import Contender
from peers_bench.curves import first_reaching, front, interpolated_cost
from peers_bench.measure import Mode, Point
from peers_bench.problem import FIRST, PROBLEMS

Clock = Literal["wall", "cpu"]

TARGETS = (1e-2, 1e-3)
ASKED = (1e-2, 1e-3, 1e-4)
RIVAL = "exponax"  # the fastest of the peers, which solves all problems
MODES: tuple[Mode, ...] = ("alone", "batch")
_MODE_TITLES = {"alone": "one trajectory at a time", "batch": "batch of 64"}
_STATISTICS = {
    "median": "the median trajectory",
    "rms": "the root mean square over trajectories, which the few that are hard to follow decide",
}


@dataclass(frozen=True)
class Run:
    """All points of a run and what is needed to read them."""

    points: Sequence[Point]
    contenders: Sequence[Contender]
    clock: Clock
    versions: dict[str, str]

    def select(self, name: str, mode: Mode, problem: str = FIRST.name) -> list[Point]:
        """The timed points of a contender in a mode on a problem."""
        return [p for p in self.points if (p.contender, p.mode, p.problem) == (name, mode, problem) and p.wall]

    def costs(self, points: Sequence[Point], round_index: int | None = None) -> list[float]:
        """Milliseconds per trajectory: of one round, or the median over rounds."""
        series = [point.wall if self.clock == "wall" else point.cpu for point in points]
        picked = [statistics.median(row) if round_index is None else row[round_index] for row in series]
        return [1e3 * seconds for seconds in picked]

    @property
    def rounds(self) -> int:
        """Number of timing rounds."""
        return max((len(point.wall) for point in self.points), default=0)


def _reaching_per_round(run: Run, points: Sequence[Point], statistic: str, target: float) -> list[float | None]:
    errors = [point.error[statistic] for point in points]
    found: list[float | None] = []
    for index in range(run.rounds):
        costs = run.costs(points, index)
        best = first_reaching(errors, costs, target)
        found.append(None if best is None else costs[best])
    return found


def _row(run: Run, name: str, ours: str, mode: Mode, statistic: str, target: float) -> tuple[float, tuple[str, ...]]:
    """Milliseconds that ``name`` needs, and its cells: medians over rounds, ratios to ours within each round."""
    points = run.select(name, mode)
    errors = [point.error[statistic] for point in points]
    costs = run.costs(points)
    best = first_reaching(errors, costs, target)
    if best is None:
        return float("inf"), (name, f"not reached (best {min(errors):.1e})", "-", "-", "")
    theirs = _reaching_per_round(run, points, statistic, target)
    reference = _reaching_per_round(run, run.select(ours, mode), statistic, target)
    ratios = [a / b for a, b in zip(theirs, reference, strict=True) if a is not None and b is not None]
    ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
    interpolated = interpolated_cost(errors, costs, target)
    setting = points[best].setting + (f" chunk={points[best].chunk}" if mode == "batch" else "")
    shown = "-" if interpolated is None else f"{interpolated:.3g}"
    return costs[best], (name, f"{costs[best]:.3g}", ratio, shown, setting)


def write_csv(run: Run, path: Path) -> None:
    """Every point, timed or only scanned, one row each; times in milliseconds per trajectory."""
    header = [
        "contender",
        "problem",
        "setting",
        "mode",
        "chunk",
        "trajectories",
        "error_median",
        "error_rms",
        "error_worst",
    ]
    header += ["ms_scan", "ms_wall_median", "ms_wall_min", "ms_cpu_median"]
    header += [f"ms_wall_round_{index + 1}" for index in range(run.rounds)]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for point in run.points:
            mode = point.mode if point.wall else "scan"
            row: list[object] = [point.contender, point.problem, point.setting, mode, point.chunk, len(point.errors)]
            row += [f"{value:.4g}" for value in point.error.values()]
            times = [point.scanned]
            if point.wall:
                times += [statistics.median(point.wall), min(point.wall), statistics.median(point.cpu), *point.wall]
            writer.writerow(row + [f"{1e3 * seconds:.4g}" for seconds in times])


def table(run: Run, ours: str, mode: Mode, statistic: str, target: float) -> str:
    """One Markdown table, cheapest contender first."""
    timed = [contender.name for contender in run.contenders if run.select(contender.name, mode)]
    rows = sorted((_row(run, name, ours, mode, statistic, target) for name in timed), key=lambda row: row[0])
    columns = ("", "ms", "times ours", "interpolated ms", "setting")
    return "\n".join(markdown_table(columns, [cells for _, cells in rows]))


def _asked_row(run: Run, ours: str, problem: str, tolerance: float, dtype: str) -> tuple[str, ...] | None:
    """What ``simulate`` did when asked for a tolerance, and how its time compares with the rival's in each round."""
    setting = f"tolerance={tolerance:g} dtype={dtype}"
    found = {mode: [p for p in run.select(ours, mode, problem) if p.setting == setting] for mode in MODES}
    if not all(found.values()):
        return None
    cells = []
    for mode in MODES:
        points = found[mode]
        rival = _reaching_per_round(run, run.select(RIVAL, mode, problem), "median", tolerance)
        rounds = [run.costs(points, index)[0] for index in range(run.rounds)]
        ratios = [a / b for a, b in zip(rounds, rival, strict=True) if b is not None]
        cells.append(f"{run.costs(points)[0]:.3g}" + (f" ({statistics.median(ratios):.2f})" if ratios else ""))
    error = found["alone"][0].error
    return (f"{tolerance:g}", f"simulate, {dtype}", f"{error['median']:.1e}", f"{error['worst']:.1e}", *cells, "")


def _rival_row(run: Run, problem: str, tolerance: float) -> tuple[str, ...]:
    """The rival's cheapest settings whose median error is at most the tolerance."""
    best = {}
    for mode in MODES:
        points = run.select(RIVAL, mode, problem)
        index = first_reaching([point.error["median"] for point in points], run.costs(points), tolerance)
        best[mode] = None if index is None else points[index]
    alone, batch = best["alone"], best["batch"]
    if alone is None or batch is None:
        return (f"{tolerance:g}", RIVAL, "not reached", "", "", "", "")
    times = [f"{run.costs([point])[0]:.3g}" for point in (alone, batch)]
    setting = alone.setting
    setting += f"; chunk={batch.chunk}" + (f" {batch.setting}" if batch.setting != alone.setting else "")
    errors = (f"{alone.error['median']:.1e}", f"{alone.error['worst']:.1e}")
    return (f"{tolerance:g}", f"{RIVAL}, hand-tuned", *errors, *times, setting)


def asked_table(run: Run, ours: str, problem: str) -> list[str]:
    """Rows by the tolerance asked."""
    columns = ("asked", "", "median error", "largest", "ms alone", "ms in a batch of 64", "setting")
    rows = []
    for tolerance in ASKED:
        for dtype in ("float32", "float64"):
            row = _asked_row(run, ours, problem, tolerance, dtype)
            rows += [] if row is None else [row]
        if run.select(RIVAL, "alone", problem):
            rows.append(_rival_row(run, problem, tolerance))
    return markdown_table(columns, rows)


def _by_tolerance(run: Run, ours: str) -> list[str]:
    """The section by the tolerance asked, of all problems that were timed."""
    timed = {point.problem for point in run.points if point.wall and point.contender == ours}
    lines = [
        "## By the tolerance asked",
        "",
        "`simulate` is asked for a tolerance and chooses everything itself. exponax's row is the cheapest of the",
        "settings tried, with the answer known, whose median error is at most that. In brackets: time over exponax's,",
        "median over rounds.",
        "",
    ]
    for name in PROBLEMS:
        if name in timed:
            lines += [f"{PROBLEMS[name].title}:", "", *asked_table(run, ours, name), ""]
    return lines


def _machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, one thread used"


def _noise(run: Run) -> float:
    """Median over points of (largest - smallest) / median of the rounds."""
    timed = [point.wall for point in run.points if len(point.wall) > 1]
    return statistics.median([(max(row) - min(row)) / statistics.median(row) for row in timed]) if timed else 0.0


def write_markdown(run: Run, ours: str, path: Path, image: str) -> None:
    """The report page."""
    lines = [
        "# Against public solvers: error and cost",
        "",
        "Cahn-Hilliard, c_t = M lap(c^3 - c - kappa lap c), in periodic boxes, given and returned on the points of a",
        "grid of spacing 1. The error is everything, of space and of time: relative L2 distance at the end to the",
        "converged PDE (ETDRK4 in float64 on 1.5 to 2 times as many points with several thousand steps). Each peer is",
        "tried at many grids and steps. Times are milliseconds per trajectory, warm and compiled, from a numpy array",
        "to a numpy array, one thread, all contenders in turn on the same core in",
        f"{run.rounds} interleaved rounds: medians, ratios taken within each round.",
        "",
        f"Machine: {_machine()}; spread between rounds {100 * _noise(run):.0f} % (median over settings, largest less",
        f"smallest). Clock: {'wall' if run.clock == 'wall' else 'processor time of the one thread'}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items()) + ".",
        "Reproduce: `python benchmarks/peers.py --make-env`, then `python benchmarks/peers.py`.",
        "All settings and rounds: `peers.csv`.",
        "",
        *_by_tolerance(run, ours),
        "## All peers on the first problem",
        "",
        f"{FIRST.title}.",
        "The cheapest setting that reaches an error counts. The interpolated column is read off the front of measured",
        "points; across a stability limit it flatters.",
        "",
        f"![error against cost]({image})",
        "",
    ]
    for statistic, title in _STATISTICS.items():
        lines += [f"### Error of {title}", ""]
        for target in TARGETS:
            for mode in MODES:
                lines += [f"Error {target:g}, {_MODE_TITLES[mode]}:", "", table(run, ours, mode, statistic, target), ""]
    lines += ["## What each one is", ""]
    lines += [
        f"- {contender.name}: {contender.note}. Error over {contender.trajectories} trajectories."
        for contender in run.contenders
    ]
    path.write_text("\n".join(lines) + "\n")


def plot(run: Run, ours: Sequence[str], path: Path) -> None:
    """Error against milliseconds, one panel per mode; lines are the fronts."""
    figure, axes = plt.subplots(1, len(MODES), figsize=(12, 5.2), sharey=True, layout="constrained")
    colours = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    for axis, mode in zip(axes, MODES, strict=True):
        for number, contender in enumerate(run.contenders):
            points = run.select(contender.name, mode)
            if not points:
                continue
            errors, costs = [p.error["median"] for p in points], run.costs(points)
            kept = front(errors, costs)
            style = (
                {"linewidth": 2.6, "markersize": 7} if contender.name in ours else {"linewidth": 1.3, "markersize": 4}
            )
            colour = colours[number % len(colours)]
            axis.plot(
                [errors[i] for i in kept], [costs[i] for i in kept], "o-", color=colour, label=contender.name, **style
            )
            axis.plot(errors, costs, ".", color=colour, alpha=0.3, markersize=4)
        axis.set(xscale="log", yscale="log", title=_MODE_TITLES[mode])
        axis.set_xlabel("relative L2 error at t = 100, median trajectory")
        for target in TARGETS:
            axis.axvline(target, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        axis.grid(visible=True, which="major", color="0.9", zorder=0)
        axis.invert_xaxis()
    axes[0].set_ylabel("ms per trajectory, one thread")
    axes[0].legend(fontsize=8, loc="upper left")
    figure.suptitle("Cahn-Hilliard 64 x 64 to t = 100: lower is better, more accurate to the right", fontsize=11)
    figure.savefig(path, dpi=150)
    plt.close(figure)
