"""The first frames, by the solver, until a state is old enough for a model to take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from solvers import CahnHilliard, GrainGrowth, simulate_grains, solve
from surrogate.rollout.dimensionless import age_rate, kappa_in_cells
from surrogate.training.data import SEPARATED

#: Of the solver's part: its error must not show in what follows.
TOLERANCE = 1e-2
#: A Cahn-Hilliard trajectory is handed over at the first of these scaled ages at which it has separated.
COMPOSITION_AGES = (20.0, 26.0, 34.0, 44.0, 57.0, 75.0, 97.0, 126.0, 164.0, 214.0, 278.0, 361.0, 470.0, 610.0, 800.0)
#: The solver goes on from one of these to the next while some sample has not separated.
_STAGES = (57.0, 126.0, 278.0, 800.0)


#: M W t at which boundaries have formed: from there on phi is lacking less and less to 1, and tells the energy.
FORMED = 2.0


@dataclass(frozen=True)
class GrainHandOver:
    """When a model of grains takes over from the solver; models that were trained on younger frames do so earlier.

    Attributes:
        age: scaled age; later where boundaries have not formed by then, see :data:`FORMED`.
        tolerance: of the solver up to there. At 0.03 frames are 0.3 % off, far below what a model adds.
    """

    age: float = 12.5
    tolerance: float = 0.03

    @classmethod
    def from_dict(cls, data: dict[str, Any] | None) -> GrainHandOver:
        """From a model file, which need not have any."""
        return cls(**(data or {}))


@dataclass
class Start:
    """Where a model takes over.

    Attributes:
        fields: (batch, y, x) scaled composition or phi at the hand-over.
        ages: (batch,) its scaled age; infinite for samples that end before.
        early: (batch, time, y, x) frames at the requested times up to it, NaN after it.
        early_energy: (batch, time).
        labels: (batch, time, y, x) int32 of these frames, -1 after them; None for Cahn-Hilliard.
    """

    fields: torch.Tensor
    ages: np.ndarray
    early: torch.Tensor
    early_energy: torch.Tensor
    labels: torch.Tensor | None = None


def grain_start(
    problem: GrainGrowth, labels: torch.Tensor, times: torch.Tensor, handover: GrainHandOver | None = None
) -> Start:
    """Labels (batch, y, x) to phi at the hand-over, and every requested frame before it.

    Args:
        times: (batch, time).
        handover: when, and how exactly.
    """
    batch, count = times.shape
    handover = handover or GrainHandOver()
    age = np.maximum(handover.age, FORMED * kappa_in_cells(problem, batch))
    moment = torch.from_numpy(age / age_rate(problem, batch))[:, None]
    after = times.double() > moment
    # Only what is asked for up to there: a frame costs as much as a step.
    columns = torch.from_numpy(np.flatnonzero((~after).any(0).numpy()))
    rows = torch.cat([torch.minimum(times.double()[:, columns], moment), moment], dim=1)
    frames = simulate_grains(problem, labels, rows, handover.tolerance, dtype=torch.float32)
    assert frames.grain_id is not None
    early = torch.full((batch, count, *labels.shape[1:]), torch.nan, dtype=frames.field.dtype)
    energy = torch.full((batch, count), torch.nan, dtype=torch.float64)
    known = torch.full((batch, count, *labels.shape[1:]), -1, dtype=frames.grain_id.dtype)
    gone = after[:, columns]
    early[:, columns] = frames.field[:, :-1].masked_fill(gone[:, :, None, None], torch.nan)
    energy[:, columns] = frames.free_energy[:, :-1].double().masked_fill(gone, torch.nan)
    known[:, columns] = frames.grain_id[:, :-1].masked_fill(gone[:, :, None, None], -1)
    return Start(
        fields=frames.field[:, -1],
        ages=np.where(after.any(1).numpy(), age, np.inf),
        early=early,
        early_energy=energy,
        labels=known,
    )


def composition_start(problem: CahnHilliard, initial: torch.Tensor, times: torch.Tensor) -> Start:
    """Compositions (batch, y, x) to the first separated state, and every requested frame before it."""
    batch, count = times.shape
    rate = age_rate(problem, batch)
    wanted = times.double().numpy() * rate[:, None]
    start = Start(
        fields=torch.zeros(initial.shape),
        ages=np.full(batch, np.inf),
        early=torch.full((batch, count, *initial.shape[1:]), torch.nan),
        early_energy=torch.full((batch, count), torch.nan, dtype=torch.float64),
    )
    waiting, state, age = np.arange(batch), initial.float(), 0.0
    stages = [*_STAGES, np.inf]
    for stage in stages:
        candidates = np.array([a for a in COMPOSITION_AGES if age < a <= stage])
        waiting, state = _stage(problem, start, waiting, state, age, min(stage, 1e300), candidates, wanted, rate)
        if not len(waiting):
            break
        age = stage
    return start


def _stage(
    problem: CahnHilliard,
    start: Start,
    waiting: np.ndarray,
    state: torch.Tensor,
    age: float,
    end: float,
    candidates: np.ndarray,
    wanted: np.ndarray,
    rate: np.ndarray,
) -> tuple[np.ndarray, torch.Tensor]:
    """One stretch of the solver for the samples that wait; returns who still waits, and their states at its end."""
    ask = wanted[waiting]
    last = ask[:, -1]
    # Nobody needs more than its own last time; a sample that never separates is the solver's to the end.
    stop = np.minimum(end, last)
    # Only what is asked for in this stretch: a frame costs as much as a step.
    columns = np.flatnonzero(((ask <= stop[:, None]) & ((ask > age) | (age == 0.0))).any(0))
    ask = ask[:, columns]
    marks = np.concatenate([np.tile(candidates, (len(waiting), 1)), stop[:, None]], axis=1)
    ages = np.concatenate([np.clip(ask, age, stop[:, None]), np.minimum(marks, stop[:, None])], axis=1)
    order = np.argsort(ages, axis=1, kind="stable")
    sorted_ages = np.take_along_axis(ages, order, axis=1)
    index = torch.from_numpy(waiting)
    rows = torch.from_numpy((sorted_ages - age) / rate[waiting][:, None])
    solution = solve(problem.take(index), state, rows, TOLERANCE, dtype=torch.float32)
    back = torch.from_numpy(np.argsort(order, axis=1))
    states = solution.states[torch.arange(len(waiting))[:, None], back]
    energies = solution.free_energy.double().gather(1, back)
    count = ask.shape[1]
    well = problem.well
    scaled = well.to_scaled(states)
    pure = (1.0 - scaled[:, 0].mean((1, 2)) ** 2).clamp_min(0.0).sqrt()
    marked = scaled[:, count:-1].flatten(2)
    spread = (marked - marked.mean(-1, keepdim=True)).square().mean(-1).sqrt()
    ripe = spread >= SEPARATED * pure[:, None]
    ripe &= torch.from_numpy(candidates)[None] < torch.from_numpy(last)[:, None]
    going = []
    for row, sample in enumerate(waiting):
        hits = np.flatnonzero(ripe[row].numpy())
        limit = stop[row]
        if len(hits):
            position = count + int(hits[0])
            limit = float(candidates[hits[0]])
            start.fields[sample], start.ages[sample] = scaled[row, position], limit
        elif stop[row] < last[row]:
            going.append(row)
        early = np.flatnonzero((ask[row] <= limit) & ((ask[row] > age) | (age == 0.0)))
        start.early[sample, columns[early]] = states[row, early].float()
        start.early_energy[sample, columns[early]] = energies[row, early]
    return waiting[going], states[going, -1]
