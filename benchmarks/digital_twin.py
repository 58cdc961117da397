"""What the twin recovers, covers, costs and flags: ``python benchmarks/digital_twin.py [--quick] [--lines FILE]``.

Synthetic truths by the solver, parameters hidden, noise 0.05 and 0.2 of the grey range, ten frames. Prints Markdown
tables: recovery and coverage, cost of an update, the wrong process, and a direct least-squares fit of the solver.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common.runs import JsonLines, markdown_table, parser, say
from scipy.optimize import least_squares

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.initial import noise, voronoi
from studies import Twin
from studies.twin.config import TwinConfig
from studies.twin.inference.estimate import first_start
from studies.twin.inference.variational import AssimilationProblem, VariationalProblem
from studies.twin.observations.frames import ObservedFrames, make_frames
from studies.twin.quantiles import quantiles

FRAMES, LATER, MEMBERS = 10, 10, 32
#: Time between frames and age of the first one.
INTERVAL = {"cahn_hilliard": 12.0, "grain_growth": 2.5}
FIRST = {"cahn_hilliard": 60.0, "grain_growth": 6.0}

PARAMETERS = ("mobility", "kappa")
COLUMNS = (
    *("process", "noise", "mobility", "kappa", "parameters in 90 %", "forecast QoIs in 90 %"),
    *("flagged", "CPU s", "runs", "wider"),
)


class Settings(NamedTuple):
    """Key of a line of results, with its seed."""

    process: str
    noise: float
    cells: int
    members: int


@dataclass(frozen=True)
class Truth:
    """A hidden specimen: clean grey frames (time, y, x) on [0, 1], later ones too, and what made them."""

    process: str
    times: np.ndarray
    clean: np.ndarray
    values: dict[str, float]

    def frames(self, sigma: float, seed: int) -> ObservedFrames:
        """The first frames as a camera sees them."""
        grey = self.clean[:FRAMES] + sigma * np.random.default_rng([seed, 9]).standard_normal(self.clean[:FRAMES].shape)
        return make_frames(self.times[:FRAMES], grey, "benchmark")


def make_truth(process: str, seed: int, cells: int) -> Truth:
    """One specimen with parameters drawn from the twin's own priors."""
    rng = np.random.default_rng([seed, 17])
    values = {"mobility": float(np.exp(0.4 * rng.standard_normal())), "kappa": float(rng.uniform(0.6, 1.9))}
    grid = Grid((cells, cells), 1.0, "no_flux")
    times = FIRST[process] + INTERVAL[process] * np.arange(FRAMES + LATER)
    if process == "cahn_hilliard":
        start = noise(grid, float(rng.uniform(-0.2, 0.2)), 0.05, [seed])
        field = simulate(
            CahnHilliard(grid, values["mobility"], values["kappa"]), start, times.tolist(), tolerance=1e-3
        )[0]
        clean = 0.5 * (field.numpy() + 1.0)
    else:
        labels = voronoi(grid, round(60 * (cells / 64) ** 2), [seed])
        clean = (
            simulate_grains(
                GrainGrowth(grid, values["mobility"], values["kappa"]), labels, times.tolist(), tolerance=2e-3
            )
            .field[0]
            .numpy()
        )
    return Truth(process, times - times[0], clean, values)


def twin_for(process: str, folder: Path, members: int, until: float = 1e6) -> Twin:
    """A twin with nothing but its priors."""
    return Twin(
        TwinConfig.model_validate(
            {
                "schema_version": 1,
                "name": "benchmark",
                "process": process,
                "observations": {"path": str(folder)},
                "grid": {"boundary": "no_flux"},
                "parameters": {
                    "mobility": {"prior": "lognormal", "median": 1.0, "sigma": 0.5},
                    "kappa": {"prior": "uniform", "low": 0.5, "high": 2.0},
                },
                "assimilation": {"members": members},
                "forecast": {"until": until, "every": 1.0},
                "engine": {"kind": "solver", "tolerance": 0.02, "dtype": "float32"},
            }
        )
    )


def recovery(process: str, sigma: float, seed: int, cells: int, members: int, folder: Path) -> dict[str, Any]:
    """One truth: errors, whether bands of parameters and of forecast quantities hold it, the flag, the cost."""
    truth = make_truth(process, seed, cells)
    before = time.process_time()
    twin = twin_for(process, folder, members)
    found = twin.assimilate(truth.frames(sigma, seed))
    row: dict[str, Any] = {
        "processor_s": time.process_time() - before,
        "calls": found.calls,
        "flagged": twin.check().flagged,
        "inflation": found.residuals.inflation,
    }
    for name in PARAMETERS:
        values, true = twin.history[-1].values[name], truth.values[name]
        low, high = quantiles(values, (0.05, 0.95))
        row[name] = float(np.median(values)) / true - 1.0
        row[f"{name}_inside"] = bool(low <= true <= high)
        row[f"{name}_z"] = float(np.log(np.median(values) / true) / np.log(values).std(ddof=1))
    row["qois_inside"] = _covered(twin, truth)
    return row


def recovered(path: Path, settings: Settings, truths: range, folder: Path) -> list[dict[str, Any]]:
    """All truths of these settings; those in the file are not computed again, each new one is written at once."""
    lines = JsonLines(path, (*settings._fields, "seed"))
    for seed in truths:
        if (*settings, seed) not in lines.rows():
            say(f"{settings}, seed {seed}")
            row = recovery(settings.process, settings.noise, seed, settings.cells, settings.members, folder)
            lines.add({**settings._asdict(), "seed": seed, **row})
    done = lines.rows()
    return [done[(*settings, seed)] for seed in truths]


def summary(settings: Settings, rows: list[dict[str, Any]]) -> list[str]:
    """One row of the table."""
    medians = [f"{np.median(np.abs([r[name] for r in rows])):.1%}" for name in PARAMETERS]
    inside = [r[f"{name}_inside"] for r in rows for name in PARAMETERS]
    qois = np.concatenate([r["qois_inside"] for r in rows])
    flagged = f"{sum(bool(r['flagged']) for r in rows)} of {len(rows)}"
    cost = [f"{np.mean([r[name] for r in rows]):.0f}" for name in ("processor_s", "calls")]
    numbers = [f"{np.mean(inside):.0%}", f"{np.mean(qois):.0%}", flagged, *cost, f"{wider(rows):.2f}"]
    return [settings.process, f"{settings.noise:g}", *medians, *numbers]


def wider(rows: list[dict[str, Any]]) -> float:
    """By how much parameter bands would have to be wider for 90 %: the conformal quantile of |z| over a normal one's.

    The value on some truths, times that in ``widening`` of ``studies.twin.processes``, calibrates the bands of others.
    """
    z = np.sort([abs(r[f"{name}_z"]) for r in rows for name in PARAMETERS if f"{name}_z" in r])
    if not len(z):
        return float("nan")
    return float(z[min(len(z), int(np.ceil(0.9 * (len(z) + 1)))) - 1] / 1.645)


def _covered(twin: Twin, truth: Truth) -> list[bool]:
    """Whether forecast bands of statistics hold the truth's, at twice the observed time."""
    from solvers.frames import Frames
    from solvers.qois import evaluate_qois

    when = truth.times[-1:]
    forecast = twin.forecast(when)
    clean = torch.from_numpy(truth.clean[-1])[None, None]
    grid = Grid(truth.clean.shape[1:], 1.0, "no_flux")
    energy = torch.full((1, 1), torch.nan, dtype=torch.float64)
    if truth.process == "cahn_hilliard":
        names: tuple[str, ...] = ("domain_size", "interface_density")
        true = evaluate_qois(CahnHilliard(grid, kappa=truth.values["kappa"]), Frames(2 * clean - 1, energy))
    else:
        names = ("mean",)
        true = evaluate_qois(GrainGrowth(grid, kappa=truth.values["kappa"]), Frames(clean, energy))
    found = []
    for name in names:
        low, high = quantiles(forecast.qois[name][:, 0], (0.05, 0.95))
        found.append(bool(low <= float(true[name][0, 0]) <= high))
    return found


def wrong_process(count: int, cells: int, members: int, folder: Path) -> str:
    """How often grain-growth frames given to a Cahn-Hilliard twin are flagged."""
    flagged = 0
    for seed in range(count):
        twin = twin_for("cahn_hilliard", folder, members)
        twin.assimilate(make_truth("grain_growth", seed, cells).frames(0.05, seed))
        flagged += twin.check().flagged
    return f"Grain-growth frames in a Cahn-Hilliard twin: flagged in {flagged} of {count}."


def cost(process: str, cells: int, members: tuple[int, ...], frames: tuple[int, ...], folder: Path) -> list[str]:
    """Processor time and runs of one more frame, against members and frames; a line on how they grow."""
    truth = make_truth(process, 0, cells)
    seen = truth.frames(0.05, 0)
    settings = [(n, FRAMES) for n in members] + [(members[0], n) for n in frames if n != FRAMES]
    spent, rows = {}, []
    for count, last in settings:
        twin = twin_for(process, folder, count)
        twin.assimilate(ObservedFrames(seen.times[: last - 1], seen.grey[: last - 1]))
        before = time.process_time()
        twin.update(seen.grey[last - 1], float(seen.times[last - 1]))
        spent[count, last] = time.process_time() - before
        rows.append((count, last, f"{spent[count, last]:.2f}", twin.history[-1].calls))
    per_member = np.polyfit(members, [spent[m, FRAMES] for m in members], 1)
    lengths = sorted(f for m, f in spent if m == members[0])
    power = np.polyfit(np.log(lengths), np.log([spent[members[0], f] for f in lengths]), 1)[0]
    growth = f"{per_member[1]:.2f} s and {1000 * per_member[0]:.1f} ms a member; time grows as frames^{power:.2f}."
    return [*markdown_table(("members", "frames", "processor s of the last", "runs"), rows), "", growth]


class Found(NamedTuple):
    """Mobility and kappa of a fit, and the trajectories that it took."""

    values: tuple[float, float]
    calls: int


def direct_fits(sigma: float, seeds: range, cells: int, members: int, folder: Path) -> list[list[str]]:
    """Fits without an ensemble beside the twin, on the same frames: rows of a table.

    ``first frame``: least squares of the solver from the first frame. ``start free``: the same unknowns as the twin's,
    with as many of the start's modes as matter, derivatives by differences, as the solver has no adjoint.
    """
    found: dict[str, list[tuple[Found, Truth]]] = {}
    for seed in seeds:
        truth = make_truth("cahn_hilliard", seed, cells)
        frames = truth.frames(sigma, seed)
        twin = twin_for("cahn_hilliard", folder, members)
        problem = twin.problem_for(frames)
        estimate = twin.assimilate(frames)
        medians = [float(np.median(twin.history[-1].values[name])) for name in PARAMETERS]
        rows = {
            f"twin, {members} members": Found((medians[0], medians[1]), estimate.calls),
            "direct fit, first frame": _fit(problem, frames),
            f"direct fit, start free ({MODES} modes)": _fit_with_start(problem, frames),
        }
        for name, row in rows.items():
            found.setdefault(name, []).append((row, truth))
    return [_direct_row(name, sigma, rows) for name, rows in found.items()]


def _direct_row(name: str, sigma: float, rows: list[tuple[Found, Truth]]) -> list[str]:
    errors = np.abs([[v / t.values[n] - 1.0 for v, n in zip(f.values, PARAMETERS, strict=True)] for f, t in rows])
    medians = [f"{e:.1%}" for e in np.median(errors, 0)]
    return [name, f"{sigma:g}", str(len(rows)), *medians, f"{np.mean([f.calls for f, _ in rows]):.0f}"]


#: Modes of the start that the direct fit varies: those that the prior lets move most.
MODES = 200


def _fit_with_start(problem: AssimilationProblem, frames: ObservedFrames) -> Found:
    """Levenberg and Marquardt's (trust-region form) over material, grey levels and modes of the start."""
    start = first_start(problem, frames)
    names = len(problem.names)
    rough = VariationalProblem(problem, frames, start, 1.0, 1.0, coarse=True)
    best = rough.scan(1)[0]
    values = problem.values(torch.from_numpy(best)[None])
    variational = VariationalProblem(problem, frames, start, float(values["mobility"][0]), float(values["kappa"][0]))
    modes = torch.argsort(variational.spread.flatten(), descending=True, stable=True)[:MODES]
    weight = variational.weight.sqrt()

    def misses(points: np.ndarray) -> np.ndarray:
        """Residuals and priors (point, number) of points (point, unknown)."""
        rows = []
        with torch.no_grad():
            for part in np.array_split(points, max(1, len(points) // 32)):
                w = torch.zeros(len(part), variational.base.numel())
                w[:, modes] = torch.from_numpy(part[:, names:]).float()
                begin = variational.begin(w.reshape(len(part), *variational.base.shape))
                seen, _ = variational.predict(torch.from_numpy(part[:, :names].copy()), begin)
                rows.append(np.hstack([(weight * (seen - variational.data)).flatten(1).double().numpy(), part]))
        return np.vstack(rows)

    def jacobian(x: np.ndarray) -> np.ndarray:
        step = 0.03
        rows = misses(np.vstack([x, x + step * np.eye(len(x))]))
        return np.asarray(((rows[1:] - rows[0]) / step).T)

    begin = np.concatenate([best, np.zeros(MODES)])
    # Most of the last digits come in the first steps.
    x = least_squares(lambda p: misses(p[None])[0], begin, jac=jacobian, max_nfev=8, ftol=1e-4).x
    values = problem.values(torch.from_numpy(x[:names])[None])
    return Found((float(values["mobility"][0]), float(values["kappa"][0])), rough.calls + variational.calls)


def _fit(problem: AssimilationProblem, frames: ObservedFrames) -> Found:
    grid, calls = problem.camera.grid, 0

    def residual(p: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        low, high = p[2], p[3]
        start = torch.from_numpy(2.0 * (frames.grey[:1] - low) / (high - low) - 1.0)
        material = CahnHilliard(grid, mobility=float(np.exp(p[0])), kappa=float(np.exp(p[1])))
        field = simulate(material, start, (frames.times[1:] - frames.times[0]).tolist(), tolerance=3e-3)[0].numpy()
        return np.asarray((low + (high - low) * 0.5 * (field + 1.0) - frames.grey[1:]).ravel())

    corners = [(m, k) for m in np.log([0.4, 0.7, 1.2, 2.0]) for k in np.log([0.6, 1.0, 1.7])]
    levels = (problem.grey.low, problem.grey.high)
    best = min(corners, key=lambda c: float(np.square(residual(np.array([*c, *levels]))).sum()))
    solution = least_squares(residual, np.array([*best, *levels]), diff_step=1e-2, max_nfev=15)
    return Found((float(np.exp(solution.x[0])), float(np.exp(solution.x[1]))), calls)


def recovery_part(given: argparse.Namespace, folder: Path) -> None:
    """Recovery and coverage."""
    lines, together, cells = given.lines or folder / "lines.jsonl", [], []
    seeds = range(given.first_seed, given.first_seed + given.truths)
    for process in given.process or ("cahn_hilliard", "grain_growth"):
        rows = []
        for sigma in given.noise:
            settings = Settings(process, sigma, given.cells, MEMBERS)
            found = recovered(lines, settings, seeds, folder)
            cells.append(summary(settings, found))
            rows += found
        together.append(f"Wider, all noises together: {process} {wider(rows):.2f}")
    print("\n".join([*markdown_table(COLUMNS, cells), "", *together]), flush=True)


def cost_part(given: argparse.Namespace, folder: Path) -> None:
    """Cost of one more frame."""
    members, lengths = ((16, 64), (5, 10)) if given.quick else ((8, 16, 32, 64), (5, 7, 10))
    for process in given.process or ("cahn_hilliard",):
        print("\n".join(["", *cost(process, given.cells, members, lengths, folder)]), flush=True)


def wrong_part(given: argparse.Namespace, folder: Path) -> None:
    """Flags of the wrong process."""
    print("\n" + wrong_process(3 if given.quick else 10, given.cells, MEMBERS, folder), flush=True)


def direct_part(given: argparse.Namespace, folder: Path) -> None:
    """Fits without an ensemble."""
    seeds = range(given.first_seed, given.first_seed + given.truths)
    rows = [row for sigma in given.noise for row in direct_fits(sigma, seeds, given.cells, MEMBERS, folder)]
    print("\n".join(["", *markdown_table(("", "noise", "truths", "mobility", "kappa", "runs"), rows)]), flush=True)


PARTS = {"recovery": recovery_part, "cost": cost_part, "wrong": wrong_part, "direct": direct_part}


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--quick", action="store_true", help="few truths, small boxes")
    options.add_argument("--part", choices=PARTS, action="append")
    options.add_argument("--truths", type=int, help="of each process and noise; 20 by default")
    options.add_argument("--first-seed", type=int, default=0, help="of the truths; 0 by default")
    options.add_argument("--cells", type=int, default=32, help="a side; 32 by default")
    options.add_argument("--process", choices=sorted(INTERVAL), action="append", help="of the recovery and the cost")
    options.add_argument("--noise", type=float, action="append", help="of recovery and direct; 0.05 and 0.2 by default")
    options.add_argument("--lines", type=Path, help="file of results, a line of JSON for each truth; resumed if there")
    given = options.parse_args()
    torch.set_num_threads(1)
    given.truths = given.truths or (3 if given.quick else 20)
    given.noise = given.noise or [0.05, 0.2]
    cells = given.cells
    print(f"{given.truths} truths, {cells} x {cells} cells, {FRAMES} frames, {MEMBERS} members.\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in given.part or PARTS:
            PARTS[part](given, Path(folder))


if __name__ == "__main__":
    main()
