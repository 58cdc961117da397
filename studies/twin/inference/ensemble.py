"""The posterior ensemble around the most probable fit: half of the likelihood linearised, half by ES-MDA.

The start has thousands of unknowns, the material a handful. The information of the frames on the material, with the
start free to adapt to it, is the Schur complement of the Hessian, taken row by row: fix one parameter a little off, let
the start adapt (:mod:`studies.twin.inference.tangent`), see what is left. The same runs give the sensitivities of the
frames that no change of the start can compensate; frames projected on them are as many numbers as there are parameters,
and sufficient to first order (Alsing and Wandelt 2018, doi:10.1093/mnrasl/sly029; 2019, MNRAS 488:5093, for nuisance
parameters). Half of the likelihood, linearised, draws the ensemble; pyesmda's ES-MDA (Emerick and Reynolds 2013,
doi:10.1016/j.cageo.2012.03.011) does the other half with the members' own nonlinear runs: tempering, which is exact
where the problem is linear.

Deviations of the start at given parameters come from perturbing frames and prior and solving again (randomise, then
optimise); see :mod:`studies.twin.inference.deviations` for how members get theirs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import covmats
import numpy as np
import pyesmda
import torch

from studies.twin.inference.deviations import CHUNK, mixed_deviations, run_members, whole_deviations
from studies.twin.inference.tangent import CLOSE, MOST_BLOCKS, Tangent
from studies.twin.inference.variational import VariationalFit, VariationalProblem

#: Samples of the start's deviations: of a whole specimen, and of a window at most, where members do not mix them.
SAMPLES, WINDOW_SAMPLES = 6, 16
#: Step of a parameter, standard deviations of its prior.
STEP = 0.04
#: Directions with less than this much information, in units of the prior's, are left to the prior.
_LEAST_INFORMATION = 0.02
#: Times that a member whose run diverges is moved halfway to the fit; the last time all the way.
HALVINGS = 5


@dataclass
class Posterior:
    """Members."""

    z: np.ndarray  #: float64 (member, name)
    starts: torch.Tensor  #: float32 (member, component, F), coefficients on the window's internal grid
    lasts: torch.Tensor  #: float32 (member, component, F), states at the last frame
    predicted: torch.Tensor  #: float32 (member, time, pixel y, pixel x), grey values without noise
    covariance: np.ndarray  #: float64 (name, name), of z, linearised
    lost: int = 0  #: how many members diverged and were moved towards the fit until they did not


@dataclass
class LinearisedFit:
    """A fit and the runs around it."""

    variational: VariationalProblem
    fit: VariationalFit
    information: np.ndarray  #: (name, name) of the frames alone, the start adapting
    adapted: torch.Tensor  #: (name, component, F) change of the increments for a unit change of z
    sensitivity: torch.Tensor  #: (name, time, pixel y, pixel x) of the frames, likewise
    deviations: torch.Tensor  #: (sample, component, F) of the increments at given z
    rest: torch.Tensor  #: (component, F) from the fit's increments to the minimum at its z
    rest_seen: torch.Tensor  #: (time, pixel y, pixel x) its change of the frames
    inflation: float = 1.0  #: factor of the noise's variance

    def widened(self, inflation: float) -> LinearisedFit:
        information, deviations = self.information / inflation, self.deviations * inflation**0.5
        return replace(self, information=information, deviations=deviations, inflation=inflation)

    def start_at(self, z: np.ndarray) -> torch.Tensor:
        """Coefficients (member, component, F) of the fit's start, adapted to each z (member, name)."""
        moved = torch.einsum("mn,ncf->mcf", torch.from_numpy(z - self.fit.z).float(), self.adapted)
        return self.variational.begin(self.fit.increments + moved)

    def polished(self) -> LinearisedFit:
        """The fit after one Gauss-Newton step for the start and the material together.

        L-BFGS settles the start within tens of iterations, but converges slowly where material and start trade off. The
        step is taken only where it lowers the cost.
        """
        variational, fit = self.variational, self.fit
        residual = torch.from_numpy(fit.predicted).float() - variational.data + self.rest_seen
        weighted = (variational.weight * self.sensitivity).double()
        slope = torch.einsum("ntyx,tyx->n", weighted, residual.double()).numpy()
        at_rest = fit.increments + self.rest
        slope += torch.einsum("ncf,cf->n", self.adapted.double(), at_rest.double()).numpy()
        step = np.linalg.solve(np.eye(len(fit.z)) + self.information, -(slope + fit.z))
        along = torch.einsum("n,ncf->cf", torch.from_numpy(step).float(), self.adapted) + self.rest
        for share in (1.0, 0.5, 0.2):
            z, w = variational.minimise(
                torch.from_numpy(fit.z + share * step)[None], fit.increments[None] + share * along, 0
            )
            if float(variational.last_cost[0]) < fit.cost:
                return replace(self, fit=variational.fit_at(z, w, fit.calls))
        return self


def linearise(
    variational: VariationalProblem, fit: VariationalFit, rng: np.random.Generator, samples: int = SAMPLES
) -> LinearisedFit:
    """Perturb each parameter, and the frames ``samples`` times, around a fit; let the start adapt."""
    count = len(fit.z)
    z, w = torch.from_numpy(fit.z), fit.increments
    change = _slopes(variational, z, w)
    tangent = Tangent(variational, z, w)
    residual = torch.from_numpy(fit.predicted).float() - variational.data
    noise = torch.from_numpy(rng.standard_normal((samples, *variational.data.shape)).astype(np.float32))
    pulled = tangent.transposed(
        torch.cat([variational.weight * residual[None], variational.weight * change, variational.weight.sqrt() * noise])
    )
    right = torch.cat([-(pulled[:1] + w), -pulled[1 : 1 + count], pulled[1 + count :]])
    right[1 + count :] += torch.from_numpy(rng.standard_normal((samples, *w.shape)).astype(np.float32))
    found = tangent.solve(right, MOST_BLOCKS, CLOSE)
    with torch.no_grad():
        shown = tangent.frames(found)
    adapted, sensitivity = found[1 : 1 + count], change + shown[1 : 1 + count]
    # The Gauss-Newton form of the Schur complement: change of the frames, and the prior's cost of the adapted start. An
    # error in the adaptation enters squared.
    weighted = (variational.weight * sensitivity).double()
    information = torch.einsum("ntyx,mtyx->nm", weighted, sensitivity.double())
    information += torch.einsum("ncf,mcf->nm", adapted.double(), adapted.double())
    return LinearisedFit(
        variational, fit, information.numpy(), adapted, sensitivity, found[1 + count :], found[0], shown[0]
    )


def _slopes(variational: VariationalProblem, z: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Derivatives of the frames (name, time, pixel y, pixel x) with respect to z at a given start, by differences."""
    count = len(z)
    offsets = STEP * torch.cat([torch.eye(count, dtype=torch.float64), -torch.eye(count, dtype=torch.float64)])
    with torch.no_grad():
        predicted, _ = variational.predict(z + offsets, variational.begin(w[None]).expand(2 * count, -1, -1))
    return (predicted[:count] - predicted[count:]) / (2.0 * STEP)


def draw(
    around: LinearisedFit,
    members: int,
    steps: int,
    seed: int,
    doubt: np.ndarray | float = 0.0,
    wider: float = 1.0,
    outside: np.ndarray | float = 0.0,
) -> Posterior:
    """The ensemble, by ``steps`` of ES-MDA.

    Args:
        doubt: deviation (name,) of z that the frames' noise does not explain.
        wider: factor of the deviations of z that the noise explains.
        outside: deviation (name,) of z to which starts do not adapt: they would have to change too much.
    """
    rng = np.random.default_rng(seed)
    count = len(around.fit.z)
    eye = np.eye(count)
    apart = np.broadcast_to(doubt, (count,))
    covariance = wider**2 * np.linalg.inv(eye + around.information) + np.outer(apart, apart)
    # The linearised half: the prior and the likelihood to the power 1/2.
    half = np.linalg.inv(eye + 0.5 * around.information)
    mean = half @ (0.5 * (eye + around.information) @ around.fit.z)
    z = mean + _standard(rng, members, count) @ np.linalg.cholesky(half).T
    if count:
        z = _second_half(around, z, steps, rng)
        # Perturbations and gain of few members shift their mean by a third of a deviation (32 members; 128: an
        # eighth), always to the same side: the members give the spread, the fit the mean.
        z = around.fit.z + wider * (z - z.mean(0))
        z += _standard(rng, members, 1) * apart
    varied = whole_deviations if around.variational.problem.camera.open else mixed_deviations
    starts = varied(around, z, rng)
    if np.any(outside):
        z = z + _standard(rng, members, 1) * outside
        covariance = covariance + np.outer(outside, outside)
    return _finite(around, z, starts, covariance)


def _finite(around: LinearisedFit, z: np.ndarray, starts: torch.Tensor, covariance: np.ndarray) -> Posterior:
    """Members and their runs; those that diverge are moved towards the fit until they do not."""
    fit, fitted_start = around.fit, around.variational.begin(around.fit.increments[None])
    predicted, lasts = run_members(around.variational, z, starts)
    lost = ~torch.isfinite(lasts).flatten(1).all(1)
    count = int(lost.sum())
    for halving in range(HALVINGS):
        if not lost.any():
            break
        # The window's steps suit the fit: a member too far from it may leave their stable range.
        share = 0.5 if halving + 1 < HALVINGS else 1.0
        z[lost.numpy()] += share * (fit.z - z[lost.numpy()])
        starts[lost] += share * (fitted_start - starts[lost])
        predicted[lost], lasts[lost] = run_members(around.variational, z[lost.numpy()], starts[lost])
        lost = ~torch.isfinite(lasts).flatten(1).all(1)
    return Posterior(z, starts, lasts, predicted, covariance, count)


def _standard(rng: np.random.Generator, members: int, count: int) -> np.ndarray:
    """Normal draws (member, name) whose sample mean is 0 and whose sample covariance is the unit matrix."""
    draws = rng.standard_normal((members, count))
    draws -= draws.mean(0)
    if not count:
        return draws
    factor = np.linalg.cholesky(draws.T @ draws / (members - 1))
    return np.linalg.solve(factor, draws.T).T


def _second_half(around: LinearisedFit, z: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """The other half of the likelihood by ES-MDA on compressed frames: z (member, name)."""
    variational, fit = around.variational, around.fit
    values, vectors = np.linalg.eigh(around.information)
    informed = values > _LEAST_INFORMATION
    if not informed.any():
        return z
    project = vectors[:, informed].T / np.sqrt(values[informed])[:, None]
    weighted = (variational.weight * around.sensitivity).double() / around.inflation
    centre = torch.from_numpy(fit.predicted)

    def compressed(frames: torch.Tensor) -> np.ndarray:
        score = torch.einsum("ntyx,mtyx->mn", weighted, frames.double() - centre)
        return score.numpy() @ project.T

    def forward(members: np.ndarray) -> np.ndarray:
        found = []
        for part in range(0, members.shape[1], CHUNK):
            own = members[:, part : part + CHUNK].T
            with torch.no_grad():
                predicted, _ = variational.predict(torch.from_numpy(own.copy()), around.start_at(own))
            scores = compressed(predicted)
            # A member that diverges gets its linearised frames: one NaN would spoil the gain of all.
            linear = (own - fit.z) @ (project @ around.information).T
            found.append(np.where(np.isfinite(scores).all(1, keepdims=True), scores, linear))
        return np.concatenate(found).T

    return _esmda(z, compressed(variational.data[None])[0], forward, steps, rng)


def _esmda(
    z: np.ndarray,
    observed: np.ndarray,
    forward: Callable[[np.ndarray], np.ndarray],
    steps: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Members (member, name) updated by half of the likelihood of unit-variance data, ``forward`` on (name, member)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        update = pyesmda.ESMDA(
            obs=observed,
            m_init=z.T.copy(),
            cov_obs=covmats.CovViaDiagonal(np.ones(len(observed))),
            forward_model=forward,
            n_assimilations=steps,
            # The inverse factors add up to 1/2.
            cov_obs_inflation_factors=[2.0 * steps] * steps,
            inversion_type=pyesmda.ESMDAInversionType.NAIVE,
            random_state=rng,
            is_forecast_for_last_assimilation=False,
            is_parallel_analyse_step=False,
        )
        update.solve()
    return np.ascontiguousarray(update.m_posterior.T)
