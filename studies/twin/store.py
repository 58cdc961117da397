"""The twin's store: groups ``posterior`` and ``forecast`` for readers, and what it takes to go on after a kill.

Everything is written beside the store first and moved into its place in one rename: a reader, and a restart, find the
last whole state or the one before.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from solvers.errors import InputError
from solvers.qois import qois_of
from studies.twin.diagnostics.identifiability import Determined
from studies.twin.diagnostics.model_check import ModelCheck
from studies.twin.inference.ensemble import Posterior
from studies.twin.inference.estimate import TwinEstimate
from studies.twin.inference.residuals import look_at
from studies.twin.inference.variational import VariationalFit
from studies.twin.model.start import FirstGuess
from studies.twin.observations.frames import make_frames
from studies.twin.quantiles import quantiles
from studies.twin.twin import Forecast, Snapshot, Twin
from sweeps.inputs.paths import occupied
from sweeps.store.provenance import git_commit, versions

FORMAT = "phasetwin-twin"
STATE = "state.npz"
STATE_PARTIAL = f"{STATE}.partial"
UNITS = {
    "mobility": "length^5/(energy time)",
    "kappa": "energy/length",
    "gamma": "1",
    "composition": "1",
    "level_low": "grey",
    "level_high": "grey",
}
NAMES = {
    "mobility": "mobility M",
    "kappa": "gradient energy coefficient",
    "gamma": "coupling of order parameters",
    "composition": "mean composition",
    "level_low": "grey value of the dark phase",
    "level_high": "grey value of the bright phase",
}


def folder_for(twin: Twin) -> Path:
    """The store's folder.

    Raises:
        InputError: where something else is there already.
    """
    path = Path(twin.config.output.path)
    if not (path / STATE).exists() and occupied(path, re.escape(STATE_PARTIAL)):
        raise InputError(f"output.path: found other things at {path}, allowed a new path or a twin's own store")
    return path


def save_state(twin: Twin, folder: Path) -> None:
    """Write what a restart needs, atomically."""
    frames, _, found = twin.current()
    fit, start = found.fit, found.start
    arrays: dict[str, Any] = {
        "config": np.array(twin.config.model_dump_json()),
        "times": frames.times,
        "grey": frames.grey,
        "z": fit.z,
        "increments": fit.increments.numpy(),
        "shape": np.array(fit.shape),
        "kappa": np.array(fit.kappa),
        "cost": np.array(fit.cost),
        "predicted": fit.predicted,
        "calls": np.array([fit.calls, found.calls]),
        "member_z": found.posterior.z,
        "member_starts": found.posterior.starts.numpy(),
        "member_lasts": found.posterior.lasts.numpy(),
        "member_predicted": found.posterior.predicted.numpy(),
        "covariance": found.posterior.covariance,
        "amplitude": np.array(start.amplitude),
        "history": np.array(json.dumps([_plain(s) for s in twin.history])),
    }
    for name in ("composition", "labels", "field_of", "doubt"):
        if getattr(start, name) is not None:
            arrays[f"start_{name}"] = getattr(start, name)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / STATE_PARTIAL
    with partial.open("wb") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / STATE)


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    values = {n: v.tolist() for n, v in snapshot.values.items()}
    return {
        "time": snapshot.time,
        "frames": snapshot.frames,
        "values": values,
        "wall_s": snapshot.wall_s,
        "calls": snapshot.calls,
    }


def load_state(twin: Twin, folder: Path) -> bool:
    """Bring a twin to where a store left it; False where there is nothing.

    Raises:
        InputError: for a state of another file's twin, or a damaged one.
    """
    path = folder / STATE
    if not path.exists():
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: found a damaged state ({error}), allowed one that this program wrote") from None
    if _essence(str(arrays["config"])) != _essence(twin.config.model_dump_json()):
        raise InputError(f"output.path: found the twin of another file at {folder}, allowed a new path")
    frames = make_frames(arrays["times"], arrays["grey"], str(path))
    problem = twin.problem_for(frames)
    start = FirstGuess(
        twin.config.process,
        float(arrays["amplitude"]),
        *(arrays.get(f"start_{name}") for name in ("composition", "labels", "field_of", "doubt")),
    )
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
    residuals = look_at(frames, fit.predicted, problem.sigma, problem.grey.span)
    twin.frames, twin.problem = frames, problem
    twin.estimate = TwinEstimate(fit, posterior, residuals, start, int(arrays["calls"][1]))
    twin.history = [
        Snapshot(s["time"], s["frames"], {n: np.array(v) for n, v in s["values"].items()}, s["wall_s"], s["calls"])
        for s in json.loads(str(arrays["history"]))
    ]
    return True


def _essence(config: str) -> dict[str, Any]:
    """What of a file decides a posterior: a longer forecast or more workers do not."""
    return {k: v for k, v in json.loads(config).items() if k not in ("forecast", "cluster", "output", "engine", "name")}


def write_store(
    twin: Twin, folder: Path, check: ModelCheck, known: list[Determined], forecast: Forecast | None
) -> None:
    """Write the groups ``posterior`` and ``forecast``; each replaces the old one in one rename."""
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "zarr.json"
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
    partial = folder / "zarr.json.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(root)
    _replace_group(posterior_dataset(twin, check, known), folder, "posterior")
    if forecast is not None:
        _replace_group(forecast_dataset(twin, forecast), folder, "forecast")


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
    """Members of parameters and states, residuals, the history of parameters, and verdicts."""
    frames, problem, found = twin.current()
    data: dict[str, Any] = {}
    for name, values in twin.history[-1].values.items():
        data[name] = ("member", values, {"units": UNITS[name], "long_name": NAMES[name]})
        if all(name in s.values for s in twin.history):
            stacked = np.stack([s.values[name] for s in twin.history])
            about = {"units": UNITS[name], "long_name": f"{NAMES[name]} after each update"}
            data[f"{name}_history"] = (("update", "member"), stacked, about)
    grey = {"units": "grey"}
    data["observed"] = (("time", "y", "x"), frames.grey.astype(np.float32), grey | {"long_name": "observed frames"})
    predicted = found.posterior.predicted.numpy()
    data["analysis"] = (("time", "y", "x"), predicted.mean(0), grey | {"long_name": "posterior mean of the frames"})
    spread = predicted.std(0, ddof=1)
    data["analysis_spread"] = (("time", "y", "x"), spread, grey | {"long_name": "posterior spread of the frames"})
    names = [k.name for k in known]
    for key, unit, text in (("ratio", "1", "posterior over prior spread of the logarithm"), ("value", "1", "median")):
        data[f"quantity_{key}"] = ("quantity", [getattr(k, key) for k in known], {"units": unit, "long_name": text})
    verdicts = {"units": "1", "long_name": "determined, partly, not determined or given"}
    data["quantity_verdict"] = ("quantity", np.array([k.verdict for k in known]).astype(object), verdicts)
    if problem.names:
        correlation = np.atleast_2d(np.corrcoef(found.posterior.z.T))
        about = {"units": "1", "long_name": "posterior correlation of the standardised parameters"}
        data["correlation"] = (("parameter", "parameter_"), correlation, about)
    coordinates = {
        "member": np.arange(len(found.posterior.z)),
        "time": ("time", frames.times, {"units": "time", "long_name": "time"}),
        "update_time": (
            "update",
            [s.time for s in twin.history],
            {"units": "time", "long_name": "time of the last frame"},
        ),
        "quantity": np.array(names).astype(object),
        "parameter": np.array(problem.names).astype(object),
        "parameter_": np.array(problem.names).astype(object),
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
    return xr.Dataset(data, coordinates, attributes)


def forecast_dataset(twin: Twin, forecast: Forecast) -> xr.Dataset:
    """Fields of all members, their mean and spread, quantities with bands, crossing times."""
    grid = twin.current()[1].camera.grid
    meaning = "composition" if twin.config.process == "cahn_hilliard" else "phi = sum of squared order parameters"
    one = {"units": "1"}
    data: dict[str, Any] = {
        "field": (("member", "time", "y", "x"), forecast.field, one | {"long_name": meaning}),
        "field_mean": (("time", "y", "x"), forecast.field.mean(0), one | {"long_name": f"mean of {meaning}"}),
        "field_spread": (
            ("time", "y", "x"),
            forecast.field.std(0, ddof=1),
            one | {"long_name": f"spread of {meaning}"},
        ),
        "engine": ("member", np.array(forecast.engine).astype(object), one | {"long_name": "what made the frames"}),
    }
    for name, info in qois_of(twin.config.process).items():
        values = forecast.qois[name]
        dims: tuple[str, ...] = ("member", "time") if info.extra_dim is None else ("member", "time", info.extra_dim)
        about = {"units": info.units, "long_name": info.long_name}
        data[name] = (dims, values, about)
        for end, level in (("low", 0.05), ("high", 0.95)):
            band = about | {"long_name": f"{info.long_name}, {100 * level:g} % of the members"}
            data[f"{name}_{end}"] = (dims[1:], quantiles(values, [level])[0], band)
    if forecast.crossings:
        texts = np.array([text for text, _ in forecast.crossings]).astype(object)
        times = np.stack([times for _, times in forecast.crossings])
        data["crossing_time"] = (("threshold", "member"), times, {"units": "time", "long_name": "time of passing"})
        data["threshold"] = ("threshold", texts, one | {"long_name": "what is passed"})
    coordinates = {
        "time": ("time", forecast.times, {"units": "time", "long_name": "time"}),
        "y": (
            "y",
            (np.arange(grid.shape[0]) + 0.5) * grid.spacing,
            {"units": "length", "long_name": "cell centre along y"},
        ),
        "x": (
            "x",
            (np.arange(grid.shape[1]) + 0.5) * grid.spacing,
            {"units": "length", "long_name": "cell centre along x"},
        ),
    }
    return xr.Dataset(data, coordinates)
