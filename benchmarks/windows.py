"""What a twin makes of windows of larger specimens: ``python benchmarks/windows.py [--seeds choose|report] [...]``.

Windows of 48 to 96 cells are cut from periodic boxes of 128 and 192 cells that the solver ran at a tolerance of 1e-3.
A twin gets the first ten frames with noise (standard deviations in the field's units) and no word on noise, levels or
what lies outside, and forecasts the central half over the next five frames. Prints Markdown tables: recovery and
coverage of mobility and kappa; errors of the forecast over those of the last frame kept (persistence), and how much of
the truth lies in its bands of 90 %; and how far from the edge a forecast is determined. ``--boundary no_flux`` and
``periodic`` assume what is wrong: the flag must say so. Constants were chosen on the seeds ``choose``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import PAGES
from common.runs import JsonLines, markdown_table, parser, say

from solvers import CahnHilliard, GrainGrowth, Grid, simulate, simulate_grains
from solvers.initial import noise as noisy_start
from solvers.initial import voronoi
from studies import Twin
from studies.twin.config import TwinConfig
from studies.twin.diagnostics.determined_part import DETERMINED, undetermined_depth, variance_share
from studies.twin.observations.frames import make_frames
from studies.twin.quantiles import quantiles
from sweeps.files import write_text

FRAMES, LATER, MEMBERS = 10, 5, 32
FIRST_SEED = {"choose": 3000, "report": 4000}
NOISES = {"cahn_hilliard": (0.1, 0.4), "grain_growth": (0.03, 0.1)}
PARAMETERS = ("mobility", "kappa")


class Settings(NamedTuple):
    """Key of a line of results, with its seed."""

    process: str
    noise: float
    boundary: str
    members: int


@dataclass(frozen=True)
class Window:
    """The field (time, y, x) in a window without noise, later frames too, and what made it."""

    field: np.ndarray
    times: np.ndarray
    values: dict[str, float]


def window(process: str, seed: int) -> Window:
    """A window of a specimen drawn from the seed."""
    rng = np.random.default_rng(seed)
    box, cells = int(rng.choice([128, 192])), int(rng.choice([48, 64, 96]))
    values = {"mobility": float(rng.uniform(0.5, 1.5)), "kappa": float(rng.uniform(0.5, 2.0))}
    grid, share = Grid((box, box)), np.linspace(0.0, 1.0, FRAMES)
    share = np.append(share, share[-1] + share[1] * np.arange(1, LATER + 1))
    if process == "cahn_hilliard":
        start = noisy_start(grid, composition=float(rng.uniform(-0.3, 0.3)), amplitude=0.05, seeds=[seed])
        times = rng.uniform(20.0, 60.0) + rng.uniform(60.0, 150.0) * share
        field = simulate(CahnHilliard(grid, values["mobility"], values["kappa"]), start, times.tolist(), 1e-3)[0]
    else:
        labels = voronoi(grid, round(box * box / rng.uniform(60.0, 160.0)), [seed])
        times = rng.uniform(10.0, 30.0) + rng.uniform(30.0, 90.0) * share
        problem = GrainGrowth(grid, values["mobility"], values["kappa"])
        field = simulate_grains(problem, labels, times.tolist(), tolerance=2e-3).field[0]
    y, x = rng.integers(0, box - cells + 1, 2)
    return Window(field.double().numpy()[:, y : y + cells, x : x + cells], times, values)


def twin_for(settings: Settings, until: float) -> Twin:
    """A twin with wide priors."""
    return Twin(
        TwinConfig.model_validate(
            {
                "schema_version": 1,
                "name": "window",
                "process": settings.process,
                "observations": {"path": "."},
                "grid": {"boundary": settings.boundary},
                "assimilation": {"members": settings.members},
                "forecast": {"until": until, "every": 1.0},
                "engine": {"kind": "solver", "tolerance": 0.02, "dtype": "float32"},
            }
        )
    )


def followed(settings: Settings, seed: int) -> dict[str, Any]:
    """One window: its line of results."""
    truth = window(settings.process, seed)
    noisy = truth.field[:FRAMES] + settings.noise * np.random.default_rng([seed, 9]).standard_normal(
        truth.field[:FRAMES].shape
    )
    begun = time.perf_counter()
    twin = twin_for(settings, float(truth.times[-1]) + 1.0)
    twin.assimilate(make_frames(truth.times[:FRAMES], noisy, "benchmark"))
    check = twin.check()
    row: dict[str, Any] = {
        "cells": truth.field.shape[1],
        "seconds": time.perf_counter() - begun,
        "flagged": check.flagged,
        "reasons": list(check.reasons),
    }
    for name in PARAMETERS:
        found, true = twin.history[-1].values[name], truth.values[name]
        low, high = quantiles(found, (0.05, 0.95))
        row[name] = float(np.median(found)) / true - 1.0
        row[f"{name}_inside"] = bool(low <= true <= high)
        row[f"{name}_z"] = float(np.log(np.median(found) / true) / np.log(found).std(ddof=1))
    return row | _forecast(twin, truth)


def _forecast(twin: Twin, truth: Window) -> dict[str, Any]:
    """Errors and coverage of the central half, and depths from the edge (share of half the window) of what is known."""
    _, problem, estimate = twin.current()
    values = problem.values(torch.from_numpy(estimate.fit.z)[None])
    low, high = float(values["level_low"][0]), float(values["level_high"][0])
    forecast = twin.forecast(truth.times[FRAMES:])
    grey = forecast.grey.astype(np.float64)
    # In field units by the twin's own levels.
    found = problem.process.field_at((grey - low) / (high - low))
    true, last = truth.field[FRAMES:], truth.field[FRAMES - 1]
    size = true.shape[1]
    middle = (slice(None), slice(size // 4, size - size // 4), slice(size // 4, size - size // 4))
    off = found.mean(0) - true
    bands = quantiles(found, (0.05, 0.95))
    inside = (bands[0] <= true) & (true <= bands[1])
    part = forecast.determined
    # The error is one draw where the spread is a mean over members: both are averaged over the same neighbourhoods.
    square, variance = off**2, true.var((1, 2))
    off_share = variance_share(square, variance, (slice(None), slice(None)), twin.wavelength())
    missed = [undetermined_depth(one) for one in square / variance[:, None, None]]
    return {
        "forecast": float(np.sqrt(square[middle].mean())),
        "persistence": float(np.sqrt(np.square((last - true)[middle]).mean())),
        "pixels_inside": float(inside[middle].mean()),
        "depths": [[2.0 * depth / size for depth in both] for both in zip(missed, part.depth.tolist(), strict=True)],
        "determined": [(off_share < DETERMINED**2).mean((1, 2)).tolist(), part.share.tolist()],
    }


def summary(settings: Settings, rows: list[dict[str, Any]]) -> list[str]:
    """One row of the table."""
    medians = [f"{np.median(np.abs([r[name] for r in rows])):.1%}" for name in PARAMETERS]
    inside = np.mean([r[f"{name}_inside"] for r in rows for name in PARAMETERS])
    z = np.sort([abs(r[f"{name}_z"]) for r in rows for name in PARAMETERS])
    wider = z[min(len(z), int(np.ceil(0.9 * (len(z) + 1)))) - 1] / 1.645
    ratio = np.median([r["forecast"] / r["persistence"] for r in rows])
    pixels = np.mean([r["pixels_inside"] for r in rows])
    true, told = np.mean([r["depths"] for r in rows], axis=(0, 1))
    held, called = np.mean([r["determined"] for r in rows], axis=(0, 2))
    flagged = f"{sum(r['flagged'] for r in rows)} of {len(rows)}"
    seconds = f"{np.median([r['seconds'] for r in rows]):.0f}"
    numbers = [f"{inside:.0%}", f"{wider:.2f}", f"{ratio:.2f}", f"{pixels:.0%}", f"{true:.2f}, {told:.2f}"]
    numbers.append(f"{held:.0%}, {called:.0%}")
    return [settings.process, f"{settings.noise:g}", settings.boundary, *medians, *numbers, flagged, seconds]


COLUMNS = (
    *("process", "noise", "boundary", "mobility", "kappa", "parameters in 90 %", "wider", "forecast / persistence"),
    *("pixels in 90 %", "undetermined depth: true, told", "determined share: true, told", "flagged", "s"),
)


def main() -> None:
    """Print, and with ``--publish`` write, the tables."""
    options = parser(__doc__)
    options.add_argument("--seeds", choices=sorted(FIRST_SEED), default="report")
    options.add_argument("--windows", type=int, default=10, help="of each process and noise; 10 by default")
    options.add_argument("--process", choices=sorted(NOISES), action="append")
    options.add_argument("--noise", type=float, action="append")
    options.add_argument("--boundary", choices=("open", "no_flux", "periodic"), default="open")
    options.add_argument("--members", type=int, default=MEMBERS)
    options.add_argument("--lines", type=Path, default=Path("runs/windows.jsonl"), help="results, resumed if there")
    options.add_argument("--publish", action="store_true", help="write docs/benchmarks/windows.md")
    given = options.parse_args()
    torch.set_num_threads(1)
    given.lines.parent.mkdir(parents=True, exist_ok=True)
    lines, cells = JsonLines(given.lines, (*Settings._fields, "seed")), []
    for process in given.process or sorted(NOISES):
        for noise in given.noise or NOISES[process]:
            settings, rows = Settings(process, noise, given.boundary, given.members), []
            for seed in range(FIRST_SEED[given.seeds], FIRST_SEED[given.seeds] + given.windows):
                if (*settings, seed) not in lines.rows():
                    row = followed(settings, seed)
                    lines.add({**settings._asdict(), "seed": seed, **row})
                    say(f"{process}, noise {noise:g}, seed {seed}: {_line(row)}")
                rows.append(lines.rows()[*settings, seed])
            cells.append(summary(settings, rows))
    table = markdown_table(COLUMNS, cells)
    print("\n".join(table), flush=True)
    if given.publish:
        write_text(PAGES / "windows.md", "\n".join([PAGE.format(command=_command(given)), *table, ""]))


def _line(row: dict[str, Any]) -> str:
    found = ", ".join(f"{name} {row[name]:+.1%} (z {row[f'{name}_z']:+.1f})" for name in PARAMETERS)
    forecast = f"forecast {row['forecast']:.3f} of {row['persistence']:.3f}, {row['pixels_inside']:.0%} inside"
    return f"{row['cells']} cells, {found}; {forecast}; {row['seconds']:.0f} s; {'; '.join(row['reasons'])}"


def _command(given: argparse.Namespace) -> str:
    chosen = "".join(f" --process {name}" for name in given.process or ())
    return f"python benchmarks/windows.py --seeds {given.seeds} --windows {given.windows}{chosen} --publish"


PAGE = """# Twins on windows of larger specimens

Windows of 48 to 96 cells, cut from specimens of 128 and 192 cells; ten frames with noise in units of the field (wells
of phase separation at -1 and 1, phi of grains from 0 to 1); noise, levels and what lies outside are unknown to the
twin. Errors of parameters are medians of absolute relative ones. Parameters and pixels in 90 %: shares of truths inside
the bands; wider: by which factor bands of parameters would have to be wider for 90 %. Forecast over persistence: root
mean square errors in the central half over the next five frames. A forecast is determined where it is off by less than
a fifth of the field's standard deviation, in truth and by the spread of its members. Undetermined depth: how far from
the edge of the window it is not, as a share of half the window. Determined share: of the window's area, where errors
and spread are averaged over neighbourhoods of a domain.

Made by `{command}`.
"""


if __name__ == "__main__":
    main()
