"""Does the model explain the frames? A posterior-predictive test of statistics, and the structure of the residuals.

Gelman, Meng and Stern (1996), Statistica Sinica 6:733. Statistics of the observed frames are compared with those of
frames predicted by the members, with the same noise and mask. Small errors of a right model (numerics, an imperfect
camera) are allowed, so that a flag means another process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from solvers.frames import Frames
from solvers.processes.registry import process_named
from solvers.qois.analysis import evaluate_qois
from studies.twin.inference.estimate import TwinEstimate, interior_of
from studies.twin.inference.variational import AssimilationProblem
from studies.twin.observations.frames import ObservedFrames, camera_for

#: Structured residuals above this share of the grey range are not explained by numerics.
STRUCTURED_LIMIT = 0.05
#: A statistic this many standard deviations off.
DEVIATION_LIMIT = 5.0
#: An interior estimate with a larger relative standard error says nothing; and by how much a right fit may differ from
#: it (logarithm), whatever the errors.
INTERIOR_UNSURE, INTERIOR_ALLOWANCE = 0.3, 0.25
#: Members that are compared.
REPLICATES = 24


@dataclass(frozen=True)
class ModelCheck:
    """Result of the check."""

    reasons: list[str]  #: why the process looks wrong, one line each; empty if it does not
    deviations: dict[str, float]  #: statistic -> largest deviation over the frames, standard deviations

    @property
    def flagged(self) -> bool:
        """Whether the process looks wrong."""
        return bool(self.reasons)


def check_model(problem: AssimilationProblem, frames: ObservedFrames, estimate: TwinEstimate, seed: int) -> ModelCheck:
    """Compare observed frames with the posterior's; ``seed`` is that of the replicates' noise."""
    rng = np.random.default_rng([seed, len(frames.times), 3])
    deviations = _deviations(problem, frames, estimate, rng) if len(frames.times) > 1 else {}
    structured = estimate.residuals.structured
    reasons = []
    if structured > STRUCTURED_LIMIT:
        reasons.append(
            f"neighbouring pixels share residuals of {structured:.1%} of the grey range, allowed {STRUCTURED_LIMIT:.0%}"
        )
    reasons += _against_interior(problem, frames, estimate)
    for name, value in deviations.items():
        if value > DEVIATION_LIMIT:
            reasons.append(f"{name} of the frames is {value:.1f} standard deviations off, allowed {DEVIATION_LIMIT:g}")
    return ModelCheck(reasons, deviations)


def _against_interior(problem: AssimilationProblem, frames: ObservedFrames, estimate: TwinEstimate) -> list[str]:
    """Where the fit and the interior of the frames alone, which knows of no boundary and no start, do not agree."""
    inside = interior_of(problem, frames)
    if inside is None:
        return []
    values = problem.values(torch.from_numpy(estimate.posterior.z))
    reasons = []
    for name, expected, error in (
        ("mobility", inside.mobility, inside.mobility_error),
        ("kappa", inside.kappa, inside.kappa_error),
    ):
        found, middle = np.log(values[name].numpy() / expected), float(np.median(values[name]))
        allowed = math.hypot(DEVIATION_LIMIT * math.hypot(float(found.std()), error), INTERIOR_ALLOWANCE)
        if error < INTERIOR_UNSURE and abs(math.log(middle / expected)) > allowed:
            reasons.append(
                f"{name} is {middle:.3g}, but {expected:.3g} by the interior of the frames alone (+- {error:.0%})"
                ": what is assumed of the boundary, the times or the start is wrong"
            )
    return reasons


def _deviations(
    problem: AssimilationProblem, frames: ObservedFrames, estimate: TwinEstimate, rng: np.random.Generator
) -> dict[str, float]:
    predicted = estimate.posterior.predicted[:REPLICATES].double().numpy()
    replicates = predicted + _roughness(problem, estimate) * rng.standard_normal(predicted.shape)
    # Unseen pixels are the same in all sets.
    hidden = ~frames.seen
    fill = estimate.fit.predicted[hidden]
    replicates[:, hidden] = fill
    observed = frames.grey.copy()
    observed[hidden] = fill
    all_frames = np.concatenate([observed[None], replicates])
    found = statistics(problem, estimate, all_frames)
    deviations = {}
    for statistic in problem.process.statistics:
        values = found[statistic.name]
        centre, spread = values[1:].mean(0), values[1:].std(0, ddof=1)
        allowed = np.hypot(spread, statistic.allowance * np.abs(centre))
        # Not the first frame: its state is estimated freely and has not relaxed yet.
        deviations[statistic.name] = float(np.abs((values[0] - centre) / np.maximum(allowed, 1e-12))[1:].max())
    return deviations


def _roughness(problem: AssimilationProblem, estimate: TwinEstimate) -> float:
    """Standard deviation of independent errors of single pixels, grey values: the noise, or the unstructured part of
    the residuals where that is larger; both change statistics of slopes alike.
    """
    residuals = estimate.residuals
    own = float(np.nanmean(residuals.rms**2)) - residuals.structured**2
    return max(problem.grey.noise, problem.grey.span * max(own, 0.0) ** 0.5)


def statistics(problem: AssimilationProblem, estimate: TwinEstimate, grey: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics (set, time) of sets of frames (set, time, y, x) in grey values, with the fit's levels and material."""
    values = problem.values(torch.from_numpy(estimate.fit.z)[None])
    low, high = float(values["level_low"][0]), float(values["level_high"][0])
    field = problem.process.field_at(torch.from_numpy((grey - low) / (high - low)))
    camera = problem.camera
    pixel = camera.block * camera.grid.spacing
    grid = camera_for(camera.pixels, pixel, camera.grid.boundary).grid
    material = {name: values[name].expand(len(field)) for name in problem.priors}
    energy = torch.full(field.shape[:2], torch.nan, dtype=torch.float64)
    found = evaluate_qois(process_named(problem.process.name).build(grid, material), Frames(field, energy))
    return {
        s.name: (1.0 + problem.process.grey_share(found[s.name]) if s.signed else found[s.name]).numpy()
        for s in problem.process.statistics
    }
