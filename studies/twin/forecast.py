"""Forecasts: every member goes on from its last state, by the engine of the file, on Dask where there are workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import InputError
from solvers.frames import Frames
from solvers.processes.base import Problem
from solvers.qois.analysis import evaluate_qois
from studies.twin.model.process_model import Members, SolverSettings
from surrogate.engine_kinds import SurrogateBlock
from surrogate.models.files import load_rollout_surrogate
from surrogate.models.protocol import RolloutSurrogate
from sweeps.engines.registry import resolve_device
from sweeps.engines.solver import DTYPES
from sweeps.engines.solver_kind import SolverBlock
from sweeps.store.layout import OVER_TOLERANCE

if TYPE_CHECKING:
    from distributed import Client

#: Members that one task takes.
TASK_MEMBERS = 8


@dataclass
class MemberForecasts:
    """Members at the forecast times."""

    field: np.ndarray  #: float32 (member, time, y, x), the process's field at the user's cells
    qois: dict[str, np.ndarray]  #: name -> float64 (member, time) or (member, time, extra)
    engine: list[str]  #: what made each member's frames

    @classmethod
    def joined(cls, parts: Sequence[MemberForecasts]) -> MemberForecasts:
        return cls(
            field=np.concatenate([p.field for p in parts]),
            qois={name: np.concatenate([p.qois[name] for p in parts]) for name in parts[0].qois},
            engine=[name for p in parts for name in p.engine],
        )


def forecast_members(
    members: Members, times: np.ndarray, engine: SolverBlock | SurrogateBlock, client: Client | None = None
) -> MemberForecasts:
    """Forecast every member, on Dask if there is a client.

    Raises:
        InputError: for times (absolute) before the states', or an engine that cannot run.
    """
    if len(times) and float(times.min()) < members.time:
        raise InputError(
            f"forecast: found the time {times.min():g}, allowed {members.time:g} (the last frame) and later"
        )
    count = len(members.states)
    parts = [members.part(np.arange(i, min(i + TASK_MEMBERS, count))) for i in range(0, count, TASK_MEMBERS)]
    if client is None:
        return MemberForecasts.joined([_forecast_part(part, times, engine) for part in parts])
    futures = client.map(_forecast_part, parts, times=times, engine=engine, pure=False)
    return MemberForecasts.joined(client.gather(futures))


def check_engine(engine: SolverBlock | SurrogateBlock, process: str) -> None:
    """Refuse a model that cannot be read or knows another process, before hours of estimation, by an InputError."""
    if not isinstance(engine, SurrogateBlock):
        return
    model = load_rollout_surrogate(engine.model)
    if model.process != process:
        raise InputError(f"engine.model: found {engine.model}, a model of {model.process}, allowed one of {process}")


def _forecast_part(members: Members, times: np.ndarray, engine: SolverBlock | SurrogateBlock) -> MemberForecasts:
    lead = np.asarray(times, dtype=np.float64) - members.time
    if isinstance(engine, SurrogateBlock):
        return _by_surrogate(members, lead, engine)
    return _by_solver(members, lead, engine, "solver")


def _by_solver(members: Members, lead: np.ndarray, engine: SolverBlock, name: str) -> MemberForecasts:
    settings: SolverSettings = {
        "tolerance": engine.tolerance,
        "dtype": DTYPES[engine.dtype],
        "device": resolve_device(engine.device),
    }
    frames = members.process.model.solve(members, lead.tolist(), settings)
    found = _with_qois(members.problem(members.grid), frames, name)
    if frames.error_estimate is not None:
        worst = frames.error_estimate.nan_to_num(0.0).amax(1).tolist()
        found.engine = [f"{name}, {OVER_TOLERANCE} {e:.2g}" if e > engine.tolerance else name for e in worst]
    return found


def _with_qois(problem: Problem, frames: Frames, engine: str) -> MemberForecasts:
    qois = {n: q.cpu().numpy() for n, q in evaluate_qois(problem, frames).items()}
    return MemberForecasts(frames.field.float().cpu().numpy(), qois, [engine] * len(frames.field))


def _by_surrogate(members: Members, lead: np.ndarray, engine: SurrogateBlock) -> MemberForecasts:
    """The surrogate where it is trusted, the solver elsewhere."""
    model = load_rollout_surrogate(engine.model, resolve_device(engine.device))
    problem, seen = members.problem(members.grid), members.process.model.shown(members.states, members.grid)
    try:
        model.check(problem)
    except InputError as error:
        raise InputError(f"engine.model: {error}") from None
    trusted = model.trust_in(problem, seen)[0] > 0
    inside, outside = np.flatnonzero(trusted), np.flatnonzero(~trusted)
    parts = []
    if len(inside):
        parts.append(_by_model(members.part(inside), lead, model))
    if len(outside):
        solver = engine.outside if isinstance(engine.outside, SolverBlock) else SolverBlock(tolerance=1e-2)
        parts.append(_by_solver(members.part(outside), lead, solver, "solver (outside the model's domain)"))
    found = MemberForecasts.joined(parts)
    back = np.argsort(np.concatenate([inside, outside]))
    return MemberForecasts(
        found.field[back], {n: q[back] for n, q in found.qois.items()}, [found.engine[i] for i in back]
    )


def _by_model(members: Members, lead: np.ndarray, model: RolloutSurrogate) -> MemberForecasts:
    problem, seen = members.problem(members.grid), members.process.model.shown(members.states, members.grid)
    since = np.array([max(members.time, 0.0)])
    field = model.forecast(problem, seen[:, None], since, since + lead)
    energy = members.process.model.free_energy(problem, field)
    return _with_qois(problem, Frames(field, energy), f"surrogate {model.name}")


def crossing_times(times: np.ndarray, values: np.ndarray, level: float, upward: bool) -> np.ndarray:
    """When each member's quantity passes a level: (member,) from values (member, time); NaN where it does not.

    Linear between times; the first time where the level is passed from the beginning.
    """
    past = values > level if upward else values < level
    first = past.argmax(1)
    rows, before = np.arange(len(values)), np.maximum(first - 1, 0)
    a, b = values[rows, before], values[rows, first]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = times[before] + (level - a) / (b - a) * (times[first] - times[before])
    return np.where(past.any(1), np.where(first == 0, times[0], between), np.nan)
