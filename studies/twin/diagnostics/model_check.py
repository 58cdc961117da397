"""Does the model explain the frames? A posterior-predictive test of statistics, and a look at the residuals.

Gelman, Meng and Stern (1996), Statistica Sinica 6:733. Statistics of the observed frames are compared with those of
frames that the members would have shown, noise, mask and all. What a right model may still miss (numerics, an
imperfect camera) is allowed for, so that a flag means another process and not the third digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from solvers import CahnHilliard, Frames, GrainGrowth
from solvers.qois import evaluate_qois
from studies.twin.inference.estimate import TwinEstimate
from studies.twin.inference.variational import AssimilationProblem
from studies.twin.observations.frames import ObservedFrames

#: Structured residuals above this share of the grey range are no matter of numerics: a twentieth.
STRUCTURED_LIMIT = 0.05
#: A statistic this many standard deviations off.
DEVIATION_LIMIT = 5.0
#: Share of a statistic that a right model may be off.
ALLOWANCE = {"mean": 0.01, "domain_size": 0.05, "interface_density": 0.05, "grain_count": 0.1}
#: Members that are compared.
REPLICATES = 24


@dataclass(frozen=True)
class ModelCheck:
    """The verdict.

    Attributes:
        flagged: whether the process looks wrong.
        reasons: why, one line each; empty if not flagged.
        structured: see :class:`studies.twin.inference.residuals.Residuals`.
        deviations: statistic -> largest deviation over the frames, standard deviations.
    """

    flagged: bool
    reasons: list[str]
    structured: float
    deviations: dict[str, float]


def check_model(problem: AssimilationProblem, frames: ObservedFrames, estimate: TwinEstimate, seed: int) -> ModelCheck:
    """Compare observed frames with the posterior's.

    Args:
        seed: of the replicates' noise.
    """
    rng = np.random.default_rng([seed, len(frames.times), 3])
    deviations = _deviations(problem, frames, estimate, rng) if len(frames.times) > 1 else {}
    structured = estimate.residuals.structured
    reasons = []
    if structured > STRUCTURED_LIMIT:
        reasons.append(
            f"neighbouring pixels share residuals of {structured:.1%} of the grey range, allowed {STRUCTURED_LIMIT:.0%}"
        )
    for name, value in deviations.items():
        if value > DEVIATION_LIMIT:
            reasons.append(f"{name} of the frames is {value:.1f} standard deviations off, allowed {DEVIATION_LIMIT:g}")
    return ModelCheck(bool(reasons), reasons, structured, deviations)


def _deviations(
    problem: AssimilationProblem, frames: ObservedFrames, estimate: TwinEstimate, rng: np.random.Generator
) -> dict[str, float]:
    predicted = estimate.posterior.predicted[:REPLICATES].double().numpy()
    replicates = predicted + _roughness(problem, estimate) * rng.standard_normal(predicted.shape)
    # What the camera did not see is the same everywhere and says nothing.
    hidden = ~frames.seen
    fill = estimate.fit.predicted[hidden]
    replicates[:, hidden] = fill
    observed = frames.grey.copy()
    observed[hidden] = fill
    all_frames = np.concatenate([observed[None], replicates])
    found = statistics(problem, estimate, all_frames)
    deviations = {}
    for name, values in found.items():
        centre, spread = values[1:].mean(0), values[1:].std(0, ddof=1)
        allowed = np.hypot(spread, ALLOWANCE[name] * np.abs(centre))
        # Not the first frame: its state is estimated freely, has not relaxed yet, and says nothing of the process.
        deviations[name] = float(np.abs((values[0] - centre) / np.maximum(allowed, 1e-12))[1:].max())
    return deviations


def _roughness(problem: AssimilationProblem, estimate: TwinEstimate) -> float:
    """Standard deviation, grey values, of what single pixels have to themselves: noise, or what no neighbour shares of
    the residuals where that is more. Statistics of slopes see both alike.
    """
    residuals = estimate.residuals
    own = float(np.nanmean(residuals.rms**2)) - residuals.structured**2
    return max(problem.grey.noise, problem.grey.span * max(own, 0.0) ** 0.5)


def statistics(problem: AssimilationProblem, estimate: TwinEstimate, grey: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics (set, time) of sets of frames (set, time, y, x) in grey values, with the fit's levels and material."""
    from studies.twin.observations.frames import camera_for

    values = problem.values(torch.from_numpy(estimate.fit.z)[None])
    low, high = float(values["level_low"][0]), float(values["level_high"][0])
    share = torch.from_numpy((grey - low) / (high - low))
    camera = problem.camera
    pixel = camera.block * camera.grid.spacing
    grid = camera_for(camera.pixels, pixel, camera.grid.boundary).grid
    kappa = float(values["kappa"][0])
    energy = torch.full(share.shape[:2], torch.nan, dtype=torch.float64)
    if problem.process == "cahn_hilliard":
        found = evaluate_qois(CahnHilliard(grid, kappa=kappa), Frames(2.0 * share - 1.0, energy))
        names = ["mean", "domain_size", "interface_density"]
        # A mean near 0 has no per cent: it is judged against the distance of the phases.
        found["mean"] = 1.0 + 0.5 * (found["mean"] + 1.0)
    else:
        gamma = float(values["gamma"][0])
        found = evaluate_qois(GrainGrowth(grid, kappa=kappa, gamma=gamma), Frames(share, energy))
        names = ["mean", "interface_density"]
    return {name: found[name].numpy() for name in names}
