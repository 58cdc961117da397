"""The twin's store: groups ``posterior``, ``forecast`` and ``scores`` for readers, and the state for restarts.

Everything is written under a temporary name and put in place by one rename: a reader, and a restart, find the last
complete state or the one before.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import xarray as xr

from solvers.errors import InputError
from solvers.qois.registry import qois_of
from studies.twin.diagnostics.determined_part import DETERMINED
from studies.twin.diagnostics.identifiability import Determined
from studies.twin.diagnostics.model_check import ModelCheck
from studies.twin.diagnostics.scores import ForecastScore
from studies.twin.inference.ensemble import Posterior
from studies.twin.inference.estimate import TwinEstimate
from studies.twin.inference.residuals import residuals_of
from studies.twin.inference.variational import VariationalFit
from studies.twin.model.process_model import FirstGuess
from studies.twin.observations.frames import make_frames
from studies.twin.quantiles import quantiles
from studies.twin.twin import Forecast, Snapshot, Twin
from sweeps.files import partial_pattern, replacing, write_text
from sweeps.inputs.addresses import occupied
from sweeps.store.provenance import git_commit, versions

#: (dimensions, values, attributes) of a variable.
Variable = tuple[str | tuple[str, ...], Any, dict[str, str]]

FORMAT = "phasetwin-twin"
STATE = "state.npz"
#: Estimated values that are not parameters: (units, long name).
OTHER_VALUES = {
    "composition": ("1", "mean composition"),
    "level_low": ("grey", "grey value of the dark phase"),
    "level_high": ("grey", "grey value of the bright phase"),
}
TIME = {"units": "time", "long_name": "time"}
#: Prefix in a state of the arrays that belong to the first guess of the start.
_START = "start_"


def folder_for(twin: Twin) -> Path:
    """The store's folder; InputError where something else is there already."""
    path = Path(twin.config.output.path)
    if not (path / STATE).exists() and occupied(path, partial_pattern(STATE)):
        raise InputError(f"output.path: found other things at {path}, allowed a new path or a twin's own store")
    return path


def save_state(twin: Twin, folder: Path) -> None:
    """Write what a restart needs, atomically."""
    frames, _, found = twin.current()
    fit, start = found.fit, found.start
    history = [asdict(s) | {"values": {n: v.tolist() for n, v in s.values.items()}} for s in twin.history]
    guess: dict[str, Any] = start.arrays if start.doubt is None else start.arrays | {"doubt": start.doubt}
    with replacing(folder / STATE) as file:
        np.savez(
            file,
            config=np.array(twin.config.model_dump_json()),
            times=frames.times,
            grey=frames.grey,
            z=fit.z,
            increments=fit.increments.numpy(),
            shape=np.array(fit.shape),
            kappa=np.array(fit.kappa),
            cost=np.array(fit.cost),
            predicted=fit.predicted,
            calls=np.array([fit.calls, found.calls]),
            member_z=found.posterior.z,
            member_starts=found.posterior.starts.numpy(),
            member_lasts=found.posterior.lasts.numpy(),
            member_predicted=found.posterior.predicted.numpy(),
            covariance=found.posterior.covariance,
            amplitude=np.array(start.amplitude),
            history=np.array(json.dumps(history)),
            scores=np.array(json.dumps([asdict(s) for s in twin.scores])),
            **{f"{_START}{name}": array for name, array in guess.items()},
        )


def load_state(twin: Twin, folder: Path) -> bool:
    """Restore the twin's last state from a store; False where there is none.

    Raises InputError for a state of another file's twin, or a damaged one.
    """
    path = folder / STATE
    if not path.exists():
        return False
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise InputError(f"{path}: found a damaged state ({error}), allowed one that this program wrote") from None
    if _decisive(str(arrays["config"])) != _decisive(twin.config.model_dump_json()):
        raise InputError(f"output.path: found the twin of another file at {folder}, allowed a new path")
    twin.frames = make_frames(arrays["times"], arrays["grey"], str(path))
    twin.problem = twin.problem_for(twin.frames)
    fit = VariationalFit(
        arrays["z"],
        torch.from_numpy(arrays["increments"]),
        tuple(int(n) for n in arrays["shape"]),
        float(arrays["kappa"]),
        float(arrays["cost"]),
        arrays["predicted"],
        int(arrays["calls"][0]),
    )
    starts, lasts, predicted = (torch.from_numpy(arrays[f"member_{n}"]) for n in ("starts", "lasts", "predicted"))
    posterior = Posterior(arrays["member_z"], starts, lasts, predicted, arrays["covariance"])
    residuals = residuals_of(twin.frames, fit.predicted, twin.problem.sigma, twin.problem.grey.span)
    guess = {name.removeprefix(_START): array for name, array in arrays.items() if name.startswith(_START)}
    doubt = guess.pop("doubt", None)
    start = FirstGuess(float(arrays["amplitude"]), len(fit.increments), guess, doubt)
    twin.estimate = TwinEstimate(fit, posterior, residuals, start, int(arrays["calls"][1]))
    twin.history = [
        Snapshot(**s | {"values": {n: np.array(v) for n, v in s["values"].items()}})
        for s in json.loads(str(arrays["history"]))
    ]
    # States of earlier versions have none.
    twin.scores = [ForecastScore(**s) for s in json.loads(str(arrays.get("scores", "[]")))]
    return True


def _decisive(config: str) -> dict[str, object]:
    """The keys of a file on which a posterior depends; a longer forecast or more workers do not change it."""
    return {k: v for k, v in json.loads(config).items() if k not in ("forecast", "cluster", "output", "engine", "name")}


def write_store(twin: Twin, folder: Path, check: ModelCheck, known: list[Determined], forecast: Forecast) -> None:
    """Write the groups ``posterior``, ``forecast`` and ``scores``; each replaces the old one in one rename."""
    folder.mkdir(parents=True, exist_ok=True)
    attributes = {
        "format": FORMAT,
        "title": twin.config.name,
        "Conventions": "CF-1.11",
        "configuration": twin.config.model_dump_json(),
        "versions": json.dumps(versions()),
        "git_commit": git_commit(),
        "flagged": int(check.flagged),
        "flag_reasons": "; ".join(check.reasons),
    }
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
    write_text(folder / "zarr.json", text)
    _replace_group(posterior_dataset(twin, check, known), folder, "posterior")
    _replace_group(forecast_dataset(twin, forecast), folder, "forecast")
    if twin.scores:
        _replace_group(scores_dataset(twin.scores), folder, "scores")


def _replace_group(dataset: xr.Dataset, folder: Path, name: str) -> None:
    fresh, old = folder / f".{name}.new", folder / f".{name}.old"
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    dataset.to_zarr(fresh, mode="w", zarr_format=3, consolidated=False)
    if (folder / name).exists():
        (folder / name).rename(old)
    fresh.rename(folder / name)
    shutil.rmtree(old, ignore_errors=True)


def posterior_dataset(twin: Twin, check: ModelCheck, known: list[Determined]) -> xr.Dataset:
    """Parameters and their history, observed and predicted frames, identifiability, and the model check."""
    frames, problem, found = twin.current()
    variables = _parameters(twin) | _frames(twin)
    texts = {"ratio": "posterior over prior spread of the logarithm", "value": "median"}
    for key, text in texts.items():
        variables[f"quantity_{key}"] = ("quantity", [getattr(k, key) for k in known], _about("1", text))
    verdicts = np.array([k.verdict for k in known]).astype(object)
    variables["quantity_verdict"] = ("quantity", verdicts, _about("1", "determined, partly, not determined or given"))
    if problem.names:
        correlation = np.atleast_2d(np.corrcoef(found.posterior.z.T))
        about = _about("1", "posterior correlation of the standardised parameters")
        variables["correlation"] = (("parameter", "parameter_"), correlation, about)
    names = np.array(problem.names).astype(object)
    coordinates = {
        "member": np.arange(len(found.posterior.z)),
        "time": ("time", frames.times, TIME),
        "update_time": ("update", [s.time for s in twin.history], _about("time", "time of the last frame")),
        "quantity": np.array([k.name for k in known]).astype(object),
        "parameter": names,
        "parameter_": names,
    }
    attributes = {
        "noise": problem.grey.noise,
        "residual_rms": [float(r) for r in found.residuals.rms],
        "structured_residual": found.residuals.structured,
        "noise_inflation": found.residuals.inflation,
        "solver_calls": int(sum(s.calls for s in twin.history)),
        "flagged": int(check.flagged),
        "flag_reasons": "; ".join(check.reasons),
    }
    return xr.Dataset(variables, coordinates, attributes)


def _about(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}


def _parameters(twin: Twin) -> dict[str, Variable]:
    """Estimated values of the members, last and after each update."""
    described = {p.name: (p.units, p.long_name) for p in twin.process.parameters} | OTHER_VALUES
    variables: dict[str, Variable] = {}
    for name, values in twin.history[-1].values.items():
        units, long_name = described[name]
        variables[name] = ("member", values, _about(units, long_name))
        if all(name in s.values for s in twin.history):
            stacked = np.stack([s.values[name] for s in twin.history])
            about = _about(units, f"{long_name} after each update")
            variables[f"{name}_history"] = (("update", "member"), stacked, about)
    return variables


def _frames(twin: Twin) -> dict[str, Variable]:
    """Observed frames, and the members' mean and spread of them."""
    frames, _, found = twin.current()
    predicted, dims = found.posterior.predicted.numpy(), ("time", "y", "x")
    return {
        "observed": (dims, frames.grey.astype(np.float32), _about("grey", "observed frames")),
        "analysis": (dims, predicted.mean(0), _about("grey", "posterior mean of the frames")),
        "analysis_spread": (dims, predicted.std(0, ddof=1), _about("grey", "posterior spread of the frames")),
    }


def forecast_dataset(twin: Twin, forecast: Forecast) -> xr.Dataset:
    """Fields of all members, their mean and spread, quantities with bands, crossing times."""
    grid, meaning, dims = twin.current()[1].camera.grid, twin.process.field_meaning, ("time", "y", "x")
    engines = np.array(forecast.engine).astype(object)
    variables: dict[str, Variable] = {
        "field": (("member", *dims), forecast.field, _about("1", meaning)),
        "field_mean": (dims, forecast.field.mean(0), _about("1", f"mean of {meaning}")),
        "field_spread": (dims, forecast.field.std(0, ddof=1), _about("1", f"spread of {meaning}")),
        "engine": ("member", engines, _about("1", "what made the frames")),
        **_determined(twin, forecast),
    }
    for name, info in qois_of(twin.config.process).items():
        values = forecast.qois[name]
        axes = ("member", "time", *([info.extra_dim] if info.extra_dim else []))
        variables[name] = (axes, values, _about(info.units, info.long_name))
        for end, level in (("low", 0.05), ("high", 0.95)):
            about = _about(info.units, f"{info.long_name}, {100 * level:g} % of the members")
            variables[f"{name}_{end}"] = (axes[1:], quantiles(values, [level])[0], about)
    if forecast.crossings:
        texts = np.array([text for text, _ in forecast.crossings]).astype(object)
        times = np.stack([times for _, times in forecast.crossings])
        variables["crossing_time"] = (("threshold", "member"), times, _about("time", "time of passing"))
        variables["threshold"] = ("threshold", texts, _about("1", "what is passed"))
    coordinates: dict[str, Variable] = {"time": ("time", forecast.times, TIME)}
    for axis, cells in zip(("y", "x"), grid.shape, strict=True):
        centres = (np.arange(cells) + 0.5) * grid.spacing
        coordinates[axis] = (axis, centres, _about("length", f"cell centre along {axis}"))
    return xr.Dataset(variables, coordinates)


def _determined(twin: Twin, forecast: Forecast) -> dict[str, Variable]:
    """Which part of the window the members determine."""
    camera, part = twin.current()[1].camera, forecast.determined
    shown = np.zeros(camera.grid.shape, dtype=np.int8)
    shown[part.window] = 1
    about = _about("1", "variance of the members, mean over a neighbourhood of a domain, over that of the field")
    variables: dict[str, Variable] = {
        "variance_share": (("time", "y", "x"), part.variance_share, about | {"determined_below": f"{DETERMINED**2:g}"}),
        "window": (("y", "x"), shown, _about("1", "1 at cells that frames show, 0 around them")),
        "determined_share": ("time", part.share, _about("1", "share of the window that is determined")),
        "centre_variance_share": ("time", part.centre, _about("1", "variance share of the central half of the window")),
    }
    if camera.open:
        about = _about("length", "distance from the edge of the window up to which it is not determined")
        variables["undetermined_depth"] = ("time", camera.grid.spacing * part.depth, about)
    return variables


def scores_dataset(scores: list[ForecastScore]) -> xr.Dataset:
    """How each frame compared with what was forecast of it before it was seen."""
    described = {
        "forecast_from": ("since", "time", "time of the last frame that the forecast knew"),
        "frames": ("frames", "1", "number of frames that the forecast knew"),
        "noise": ("noise", "grey", "standard deviation of the frame's noise"),
        "rmse": ("rmse", "grey", "root mean square error of the mean of the members"),
        "persistence_rmse": ("persistence", "grey", "root mean square error of the twin's picture of the last frame"),
        "inside_share": ("inside", "1", "share of the pixels inside the bands of 90 %, noise included"),
        "determined_share": ("determined", "1", "share of the window that the forecast called determined"),
    }
    variables: dict[str, Variable] = {
        name: ("time", [getattr(s, key) for s in scores], _about(units, text))
        for name, (key, units, text) in described.items()
    }
    return xr.Dataset(variables, {"time": ("time", [s.time for s in scores], TIME)})
