"""The posterior ensemble around the most probable fit: half of the likelihood linearised, half by ES-MDA.

Half of the likelihood, linearised (:mod:`studies.twin.inference.linearised_fit`), draws the ensemble; pyesmda's ES-MDA
(Emerick and Reynolds 2013, doi:10.1016/j.cageo.2012.03.011) does the other half with the members' own nonlinear runs:
tempering, which is exact where the problem is linear. Frames projected on the sensitivities that no change of the start
can compensate are as many numbers as there are parameters, and sufficient to first order (Alsing and Wandelt 2018,
doi:10.1093/mnrasl/sly029; 2019, MNRAS 488:5093, for nuisance parameters).

Starts of the members: :mod:`studies.twin.inference.deviations`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import covmats
import numpy as np
import pyesmda
import torch

from studies.twin.inference.deviations import member_starts, run_members
from studies.twin.inference.linearised_fit import LinearisedFit
from studies.twin.inference.variational import CHUNK

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
    starts = member_starts(around, z, rng)
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
