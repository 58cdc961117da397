"""Starts of the members: the fit's, adapted to each material, with deviations from a few samples of its posterior.

Of a whole specimen each member mixes the samples by smooth random weights, so that 64 members do not share a subspace
of a few (Bishop, Whitaker and Lei 2017, doi:10.1175/MWR-D-17-0102.1, on modulated ensembles).

Around a window the start has far more unknowns than frames determine. Samples are large there, and agree with the
frames only because their parts balance each other: mixed, they no longer do, and the forecast spreads several times as
far as it is off. So there a member takes one sample as it is, and another member the same with the opposite sign.
Deviations that large are not linear, and most of all dissolve domains: a member is then brought to the frames that its
sample shows when linearised, by steps of Gauss and Newton with the linearised window of the fit.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from solvers.grids.grid import Grid
from studies.twin.inference.linearised_fit import LinearisedFit
from studies.twin.inference.tangent import Tangent
from studies.twin.inference.variational import CHUNK, VariationalProblem
from studies.twin.observations.frames import Camera

#: Samples of the start's deviations: of a whole specimen, and of a window at most, where members do not mix them.
SAMPLES, WINDOW_SAMPLES = 6, 16
#: Length over which a member mixes deviations alike, cells.
MIXING_LENGTH = 6.0
#: Steps of Gauss and Newton for each member; their blocks of search directions at most, and residual, as those of
#: :data:`studies.twin.inference.tangent.MOST_BLOCKS`: what one step leaves the next one takes.
ROUNDS, ROUGHLY = 2, (8, 0.3)


def sample_count(camera: Camera, members: int) -> int:
    """How many samples of the start's deviations the members need."""
    return min(WINDOW_SAMPLES, (members + 1) // 2) if camera.open else SAMPLES


def member_starts(around: LinearisedFit, z: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Coefficients of starts (member, component, F) at z (member, name), inside bounds; see the module."""
    varied = whole_deviations if around.variational.problem.camera.open else mixed_deviations
    return varied(around, z, rng)


def run_members(
    variational: VariationalProblem, z: np.ndarray, starts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (member, time, pixel y, pixel x) and last states (member, component, F) of starts at z (member, name)."""
    with torch.no_grad():
        found = [
            variational.predict(torch.from_numpy(z[i : i + CHUNK]), starts[i : i + CHUNK])
            for i in range(0, len(z), CHUNK)
        ]
    return torch.cat([grey for grey, _ in found]), torch.cat([last for _, last in found])


def mixed_deviations(around: LinearisedFit, z: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Coefficients of starts (member, component, F) whose deviations are mixed locally, inside bounds."""
    variational = around.variational
    basis, process = variational.window.basis, variational.problem.process
    fields = basis.inverse(variational.increments(around.deviations))
    starts = []
    for part in range(0, len(z), CHUNK):
        own = z[part : part + CHUNK]
        centre = basis.inverse(around.start_at(own))
        weights = mixing_weights(rng, len(own), len(fields), basis.shape, variational.problem.camera.grid)
        deviation = torch.einsum("msyx,scyx->mcyx", weights, fields)
        if process.conserves_mean:
            # Local weights mix regions in different shares, which makes the mean far less certain than the samples'.
            normal = torch.from_numpy(rng.standard_normal(len(own))).float()
            mean = fields.mean((-3, -2, -1)).square().mean().sqrt() * normal
            deviation = deviation - deviation.mean((-2, -1), keepdim=True) + mean[:, None, None, None]
        varied = process.model.unbiased(centre + deviation, centre, fields)
        starts.append(basis.forward(process.model.limited(varied)))
    return torch.cat(starts)


def mixing_weights(
    rng: np.random.Generator, members: int, samples: int, shape: tuple[int, ...], grid: Grid
) -> torch.Tensor:
    """Smooth random weights (member, sample, *shape) float32; in each cell their squares add up to 1."""
    coarse = [max(2, round(n * grid.shape[0] / shape[0] / MIXING_LENGTH)) for n in shape]
    draws = rng.standard_normal((members, samples, *coarse)).astype(np.float32)
    factors = [n / c for n, c in zip(shape, coarse, strict=True)]
    mode = "grid-wrap" if grid.boundary == "periodic" else "reflect"
    smooth = ndimage.zoom(draws, (1, 1, *factors), order=1, mode=mode, grid_mode=True)
    weights = torch.from_numpy(smooth)
    return weights / weights.square().sum(1, keepdim=True).sqrt().clamp_min(1e-6)


def whole_deviations(around: LinearisedFit, z: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Coefficients of starts (member, component, F) that deviate by whole samples and show what those show, linearised.

    Each round moves every start by the step of Gauss and Newton for what its frames miss.
    """
    variational, fit = around.variational, around.fit
    weights = torch.from_numpy(pair_weights(rng, len(z), len(around.deviations)))
    change = torch.einsum("ms,scf->mcf", weights, around.deviations)
    tangent = Tangent(variational, torch.from_numpy(fit.z), fit.increments)
    with torch.no_grad():
        shown = torch.cat([tangent.frames(part) for part in around.deviations.split(tangent.rows_at_once)])
    wanted = torch.from_numpy(fit.predicted).float() + torch.einsum("ms,styx->mtyx", weights, shown)
    wanted += torch.einsum("mn,ntyx->mtyx", torch.from_numpy(z - fit.z).float(), around.sensitivity)
    fields = variational.window.basis.inverse(variational.increments(around.deviations))
    starts = _started(around, z, change, fields)
    for _ in range(ROUNDS):
        predicted, _ = run_members(variational, z, starts)
        # A run that diverges says nothing.
        missed = torch.nan_to_num(variational.weight * (wanted - predicted), nan=0.0, posinf=0.0, neginf=0.0)
        change = change + tangent.solve(tangent.transposed(missed), *ROUGHLY)
        starts = _started(around, z, change, fields)
    return starts


def pair_weights(rng: np.random.Generator, members: int, samples: int) -> np.ndarray:
    """Weights (member, sample) float32 of members in pairs of opposite signs: a sample each while there are any.

    Further pairs mix all samples with random weights, the same in all cells, whose squares add up to 1.
    """
    half = (members + 1) // 2
    further = rng.standard_normal((max(0, half - samples), samples))
    further /= np.linalg.norm(further, axis=1, keepdims=True)
    rows = np.concatenate([np.eye(samples)[:half], further])
    return np.concatenate([rows, -rows])[:members].astype(np.float32)


def _started(around: LinearisedFit, z: np.ndarray, change: torch.Tensor, fields: torch.Tensor) -> torch.Tensor:
    """Coefficients of starts (member, component, F), inside bounds, from changes of the whitened increments.

    ``fields`` (sample, component, *shape) are the deviations at the cells.
    """
    variational = around.variational
    basis, model = variational.window.basis, variational.problem.process.model
    starts = []
    for part in range(0, len(z), CHUNK):
        centre = basis.inverse(around.start_at(z[part : part + CHUNK]))
        varied = centre + basis.inverse(variational.increments(change[part : part + CHUNK]))
        starts.append(basis.forward(model.limited(model.unbiased(varied, centre, fields))))
    return torch.cat(starts)
