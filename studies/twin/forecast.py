"""Forecasts: every member goes on from its last state, by the engine of the file, on Dask where there are workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from solvers import CahnHilliard, Frames, GrainGrowth, Grid, simulate_grains, solve
from solvers.errors import InputError
from solvers.grains.neighbours import nearest_cells
from solvers.grids.resampling import resample
from solvers.grids.spectral_basis import basis_for
from solvers.qois import evaluate_qois
from studies.twin.model.start import FirstGuess
from studies.twin.observations.segmentation import owners, split_fields
from sweeps.engines.registry import resolve_device
from sweeps.engines.solver import DTYPES

#: Members that one task takes.
TASK_MEMBERS = 8


@dataclass
class Members:
    """States to go on from.

    Attributes:
        process: of the twin.
        grid: the user's cells.
        shape: of the internal grid that the states live on.
        states: float32 (member, component, *shape): composition, or shared order parameters.
        values: parameter -> float64 (member,).
        start: the twin's start, which knows the grains.
        time: of the states.
    """

    process: str
    grid: Grid
    shape: tuple[int, ...]
    states: torch.Tensor
    values: dict[str, np.ndarray]
    start: FirstGuess
    time: float

    def part(self, rows: np.ndarray) -> Members:
        """Some of the members, by index."""
        states = self.states[torch.from_numpy(rows)]
        return replace(self, states=states, values={n: v[rows] for n, v in self.values.items()})


@dataclass
class MemberForecasts:
    """Members at the forecast times.

    Attributes:
        field: float32 (member, time, y, x), c or phi at the user's cells.
        qois: name -> float64 (member, time) or (member, time, extra).
        engine: what made each member's frames.
    """

    field: np.ndarray
    qois: dict[str, np.ndarray]
    engine: list[str]


def roll(members: Members, times: np.ndarray, engine: Any, client: Any = None) -> MemberForecasts:
    """Forecast every member.

    Args:
        times: absolute, none before that of the states.
        engine: the ``engine`` block.
        client: a Dask client, or None to stay in this process.

    Raises:
        InputError: for times before the states', or an engine that cannot run.
    """
    if len(times) and float(times.min()) < members.time:
        raise InputError(
            f"forecast: found the time {times.min():g}, allowed {members.time:g} (the last frame) and later"
        )
    count = len(members.states)
    parts = [members.part(np.arange(i, min(i + TASK_MEMBERS, count))) for i in range(0, count, TASK_MEMBERS)]
    if client is None:
        rolled = [roll_here(part, times, engine) for part in parts]
    else:
        futures = client.map(roll_here, parts, times=times, engine=engine, pure=False)
        rolled = client.gather(futures)
    return MemberForecasts(
        field=np.concatenate([r.field for r in rolled]),
        qois={name: np.concatenate([r.qois[name] for r in rolled]) for name in rolled[0].qois},
        engine=[name for r in rolled for name in r.engine],
    )


def check_engine(engine: Any, process: str) -> None:
    """Refuse a model that cannot be read or knows another process, before hours of estimation.

    Raises:
        InputError: one line.
    """
    if engine.kind != "surrogate":
        return
    from surrogate import load_surrogate

    model = load_surrogate(engine.model)
    if model.process != process:
        raise InputError(f"engine.model: found {engine.model}, a model of {model.process}, allowed one of {process}")


def roll_here(members: Members, times: np.ndarray, engine: Any) -> MemberForecasts:
    """Forecast some members in this process."""
    lead = np.asarray(times, dtype=np.float64) - members.time
    if engine.kind == "surrogate":
        return _by_model(members, lead, engine)
    return _by_solver(members, lead, engine, "solver")


def _problem(members: Members, grid: Grid) -> CahnHilliard | GrainGrowth:
    values = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in members.values.items()}
    if members.process == "cahn_hilliard":
        return CahnHilliard(grid, mobility=values["mobility"], kappa=values["kappa"])
    return GrainGrowth(grid, mobility=values["mobility"], kappa=values["kappa"], gamma=values["gamma"])


def _fine(members: Members) -> Grid:
    grid = members.grid
    return Grid(tuple(members.shape), grid.spacing * grid.shape[0] / members.shape[0], grid.boundary)


def _by_solver(members: Members, lead: np.ndarray, engine: Any, name: str) -> MemberForecasts:
    settings = {"tolerance": engine.tolerance, "dtype": DTYPES[engine.dtype], "device": resolve_device(engine.device)}
    if members.process == "cahn_hilliard":
        frames = _compositions(members, lead, settings)
    else:
        frames = _grains(members, lead, settings)
    return _rolled(members, frames, [name] * len(members.states))


def _rolled(members: Members, frames: Frames, engine: list[str]) -> MemberForecasts:
    qois = {n: q.cpu().numpy() for n, q in evaluate_qois(_problem(members, members.grid), frames).items()}
    return MemberForecasts(frames.field.float().cpu().numpy(), qois, engine)


def _compositions(members: Members, lead: np.ndarray, settings: dict[str, Any]) -> Frames:
    fine = _fine(members)
    solution = solve(_problem(members, fine), members.states[:, 0].double(), lead.tolist(), **settings)
    field = resample(solution.states, members.grid.shape, members.grid.boundary)
    return Frames(field, solution.free_energy)


def _grains(members: Members, lead: np.ndarray, settings: dict[str, Any]) -> Frames:
    grid, fine, start = members.grid, _fine(members), members.start
    assert start.labels is not None and start.field_of is not None  # noqa: PT018
    problem = _problem(members, fine)
    assert isinstance(problem, GrainGrowth)
    to_user = torch.from_numpy(nearest_cells(tuple(members.shape), grid.shape, grid.boundary))
    fields, energies, labels = [], [], []
    for i, state in enumerate(members.states):
        present, own = np.unique(owners(state, start.labels, start.field_of, grid), return_inverse=True)
        dense = split_fields(state, start.labels, start.field_of, grid)[torch.from_numpy(present)]
        maps = torch.from_numpy(own.reshape(tuple(members.shape)))[None]
        one = problem.take(torch.tensor([i]))
        found = simulate_grains(one, maps, lead.tolist(), start=dense[None], **settings)
        assert found.grain_id is not None
        fields.append(resample(found.field[0], grid.shape, grid.boundary))
        energies.append(found.free_energy[0])
        labels.append(found.grain_id[0].flatten(1)[:, to_user.flatten()].reshape(len(lead), *grid.shape))
    return Frames(torch.stack(fields), torch.stack(energies), torch.stack(labels))


def _by_model(members: Members, lead: np.ndarray, engine: Any) -> MemberForecasts:
    """The surrogate where it is trusted, the solver elsewhere."""
    from surrogate.models.files import load_rollout_surrogate

    model = load_rollout_surrogate(engine.model, resolve_device(engine.device))
    problem = _problem(members, members.grid)
    try:
        model.check(problem)
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None
    trusted = model.trust_in(problem, _seen(members))[0] > 0
    fallback = _fallback() if isinstance(engine.outside, str) else engine.outside
    parts: list[tuple[np.ndarray, MemberForecasts]] = []
    if trusted.any():
        rows = np.flatnonzero(trusted)
        parts.append((rows, _model_frames(model, members.part(rows), lead)))
    if not trusted.all():
        rows = np.flatnonzero(~trusted)
        name = "solver (outside the model's domain)"
        parts.append((rows, _by_solver(members.part(rows), lead, fallback, name)))
    back = np.argsort(np.concatenate([rows for rows, _ in parts]))
    names = [name for _, part in parts for name in part.engine]
    return MemberForecasts(
        field=np.concatenate([part.field for _, part in parts])[back],
        qois={n: np.concatenate([part.qois[n] for _, part in parts])[back] for n in parts[0][1].qois},
        engine=[names[i] for i in back],
    )


def _model_frames(model: Any, members: Members, lead: np.ndarray) -> MemberForecasts:
    problem = _problem(members, members.grid)
    since = np.array([max(members.time, 0.0)])
    field = model.forecast(problem, _seen(members)[:, None], since, since + lead)
    if isinstance(problem, CahnHilliard):
        energy = problem.free_energy(field.double())
    else:  # order parameters are not known to the model, nor is the energy
        energy = torch.full(field.shape[:2], torch.nan, dtype=torch.float64)
    return _rolled(members, Frames(field, energy), [f"surrogate {model.name}"] * len(members.states))


def _fallback() -> Any:
    from sweeps.engines.solver_kind import SolverBlock

    return SolverBlock(tolerance=1e-2, dtype="float32")


def _seen(members: Members) -> torch.Tensor:
    """The states at the user's cells (member, y, x): composition or phi."""
    if members.process == "cahn_hilliard":
        return resample(members.states[:, 0], members.grid.shape, members.grid.boundary)
    return resample(members.states.square().sum(1), members.grid.shape, members.grid.boundary)


def states_of(lasts: torch.Tensor, grid: Grid, shape: Sequence[int]) -> torch.Tensor:
    """Coefficients (member, component, F) on an internal grid as values (member, component, *shape)."""
    return basis_for(grid, lasts.dtype, "cpu", tuple(shape)).inverse(lasts)


def crossing_times(times: np.ndarray, values: np.ndarray, level: float, upward: bool) -> np.ndarray:
    """When each member's quantity passes a level: (member,) from values (member, time); NaN where it does not.

    Linear between times; the first time where it holds from the beginning.
    """
    sign = 1.0 if upward else -1.0
    past = sign * (values - level) > 0
    found = np.full(len(values), np.nan)
    for i, row in enumerate(past):
        hits = np.flatnonzero(row)
        if not len(hits):
            continue
        k = int(hits[0])
        if k == 0:
            found[i] = times[0]
            continue
        a, b = values[i, k - 1], values[i, k]
        found[i] = times[k - 1] + (level - a) / (b - a) * (times[k] - times[k - 1])
    return found
