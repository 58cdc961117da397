"""Forecasts of third-party clips: ``python benchmarks/third_party_clips.py CLIP.npy --process PROCESS``.

CLIP.npy is (time, y, x), values in [0, 1], one frame per unit time, for instance from the public sample data of
MicroEvoEval. The twin sees the first ten frames, estimates everything, and forecasts the rest. Prints a table and, with
``--out FOLDER``, writes a page with pictures.
"""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from common.runs import markdown_table, parser

from solvers.grids.grid import Boundary
from studies import Twin
from studies.twin.config import TwinConfig
from studies.twin.diagnostics.model_check import ModelCheck
from studies.twin.observations.frames import make_frames
from studies.twin.observations.segmentation import segment
from studies.twin.twin import Forecast
from surrogate.evaluation.image_metrics import ssim
from sweeps.report.style import new_figure, png

SHARED_PRIORS: dict[str, object] = {
    "mobility": {"prior": "lognormal", "median": 5.0, "sigma": 1.0},
    "kappa": {"prior": "lognormal", "median": 0.4, "sigma": 0.5},
}
PRIORS: dict[str, dict[str, object]] = {
    "cahn_hilliard": SHARED_PRIORS,
    "grain_growth": {**SHARED_PRIORS, "gamma": {"prior": "lognormal", "median": 1.5, "sigma": 0.15}},
}


def boundary_of(frames: np.ndarray) -> Boundary:
    """The likelier boundary condition of frames (time, y, x).

    In a periodic box cells across the seam are neighbours, and correlated like any two neighbours; with no flux they
    are independent. Both are Gaussian models of pairs, and the log-likelihood ratio decides.
    """
    total = 0.0
    for axis in (1, 2):
        lines = np.moveaxis(frames, axis, 1)
        lines = (lines - lines.mean()) / lines.std()
        near = float((lines[:, 1:] * lines[:, :-1]).mean())
        a, b = lines[:, 0], lines[:, -1]
        joint = -0.5 * np.log(1.0 - near**2) - (near**2 * (a * a + b * b) - 2.0 * near * a * b) / (2.0 - 2.0 * near**2)
        total += float(joint.sum())
    return "periodic" if total > 0 else "no_flux"


def configuration(
    clip: Path, process: str, until: float, members: int, boundary: str, iterations: int = 40
) -> TwinConfig:
    """The twin's file, as it would be written in YAML."""
    return TwinConfig.model_validate(
        {
            "schema_version": 1,
            "name": f"third-party-{process}",
            "process": process,
            "observations": {"path": str(clip), "interval": 1.0},
            "grid": {"boundary": boundary},
            "parameters": PRIORS[process],
            "assimilation": {"members": members, "iterations": iterations},
            "forecast": {"until": until, "every": 1.0},
            "engine": {"kind": "solver", "tolerance": 0.02, "dtype": "float32"},
        }
    )


def bounded(minutes: float) -> None:
    """End with one line once this process has had so many processor minutes."""

    def spent(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(f"{minutes:g} processor minutes are spent: allow --minutes more, or fewer --iterations")

    signal.signal(signal.SIGXCPU, spent)
    resource.setrlimit(resource.RLIMIT_CPU, (max(1, round(60 * minutes)), resource.RLIM_INFINITY))


def rows(clip: np.ndarray, seen: int, forecast: Forecast, boundary: Boundary, floor: float) -> dict[str, str]:
    """Figures of the forecast's mean and of persistence."""
    truth = torch.from_numpy(clip[seen:])
    mean = torch.from_numpy(forecast.grey.mean(0)).double().clamp(0.0, 1.0)
    still = torch.from_numpy(clip[seen - 1 : seen]).expand_as(truth)
    found = {}
    for name, image in (("forecast", mean), ("persistence", still)):
        error = (image - truth).square().mean((1, 2)).sqrt()
        like = ssim(image, truth, boundary)
        found[f"{name}: RMSE, mean and worst"] = f"{error.mean():.3f}, {error.max():.3f}"
        found[f"{name}: SSIM, mean and worst"] = f"{like.mean():.3f}, {like.min():.3f}"
    spread = np.hypot(forecast.grey.std(0, ddof=1), floor)
    inside = np.abs(forecast.grey.mean(0) - clip[seen:]) < 1.645 * spread
    found["pixels inside the 90 % band"] = f"{inside.mean():.0%}"
    return found


def grain_rows(twin: Twin, clip: np.ndarray, seen: int, forecast: Forecast) -> dict[str, str]:
    """Grains at the end, counted alike in the clip and in the forecast."""
    _, problem, _ = twin.current()
    grid = problem.camera.grid
    counted = [
        int(segment(problem.from_grey(image), grid).max()) + 1 for image in (clip[-1], forecast.grey.mean(0)[-1])
    ]
    members = forecast.qois["grain_count"][:, -1]
    return {
        "grains in the last frame: clip, forecast": f"{counted[0]}, {counted[1]}",
        "grains of the members, 90 %": f"{np.quantile(members, 0.05):.0f} to {np.quantile(members, 0.95):.0f}",
        "first frame seen": str(seen),
    }


def picture(clip: np.ndarray, seen: int, forecast: Forecast) -> bytes:
    """Clip above, forecast below."""
    chosen = np.linspace(0, len(forecast.times) - 1, 5).round().astype(int)
    figure = new_figure(4.2, tight=True)
    axes = figure.subplots(2, len(chosen))
    for column, index in enumerate(chosen):
        axes[0, column].imshow(clip[seen + index], cmap="gray", vmin=0, vmax=1)
        axes[1, column].imshow(forecast.grey.mean(0)[index], cmap="gray", vmin=0, vmax=1)
        axes[0, column].set_title(f"frame {seen + index}")
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("clip")
    axes[1, 0].set_ylabel("forecast")
    return png(figure)


def page(process: str, command: str, table: dict[str, str], check: ModelCheck) -> str:
    """One section in Markdown."""
    flag = "flagged: " + "; ".join(check.reasons) if check.flagged else "not flagged"
    rows = [*table.items(), ("model check", flag)]
    lines = [f"## {process}", "", f"`{command}`", "", *markdown_table(("", ""), rows)]
    return "\n".join([*lines, "", f"![Clip and forecast](third-party-{process}.png)", ""])


def main() -> None:
    """Run the clip."""
    options = parser(__doc__)
    options.add_argument("clip", type=Path)
    options.add_argument("--process", choices=sorted(PRIORS), required=True)
    options.add_argument("--seen", type=int, default=10)
    options.add_argument("--members", type=int, default=16)
    options.add_argument("--iterations", type=int, default=40, help="of the search")
    options.add_argument("--minutes", type=float, default=30.0, help="processor minutes allowed")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    bounded(given.minutes)
    torch.set_num_threads(1)
    clip = np.load(given.clip, allow_pickle=False).astype(np.float64)
    boundary = boundary_of(clip[: given.seen])
    twin = Twin(
        configuration(given.clip, given.process, float(len(clip) - 1), given.members, boundary, given.iterations)
    )
    twin.assimilate(make_frames(np.arange(float(given.seen)), clip[: given.seen], str(given.clip)))
    forecast = twin.forecast()
    _, _, found = twin.current()
    values = {row.name: f"{row.value:.4g} ({row.low:.4g} to {row.high:.4g})" for row in twin.identifiability()}
    floor = found.residuals.rms.mean()
    table = values | rows(clip, given.seen, forecast, boundary, float(floor))
    table["boundary, from the frames seen"] = boundary
    table["residual of the fit, share of the grey range"] = f"{floor:.4f}"
    table["runs of the window, and seconds"] = f"{found.calls}, {twin.history[-1].wall_s:.0f}"
    if given.process == "grain_growth":
        table |= grain_rows(twin, clip, given.seen, forecast)
    command = f"python benchmarks/third_party_clips.py CLIP.npy --process {given.process} --members {given.members}"
    text = page(given.process, command, table, twin.check())
    print(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"third-party-{given.process}.md").write_text(text, encoding="utf-8")
        (given.out / f"third-party-{given.process}.png").write_bytes(picture(clip, given.seen, forecast))


if __name__ == "__main__":
    main()
